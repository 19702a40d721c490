"""Writes tests/golden/chat.jsonl: conversations as transformers' apply_chat_template renders them.

    python chat.py TEMPLATES

TEMPLATES is a folder of the models' chat templates, NAME.jinja each: what "chat_template" in a tokenizer_config.json,
or tokenizer.chat_template in a GGUF file, holds. The templates are not kept here, only the literals and names by
which they are recognised. `test_chat TEMPLATES` checks that the whole templates are recognised alike.
"""

import json
import pathlib
import re
import sys

from jinja2.exceptions import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

NAMES = {  # special tokens at the begin and end of a text; None: of a family that is refused
    "smollm2": ("<|im_start|>", "<|im_end|>"), "chatml": ("<s>", "</s>"), "lfm2": ("<|startoftext|>", "<|im_end|>"),
    "qwen2": ("", "<|im_end|>"), "qwen2.5": ("", "<|im_end|>"), "qwen3": ("", "<|im_end|>"),
    "qwen3-instruct": ("", "<|im_end|>"), "qwen3-thinking": ("", "<|im_end|>"),
    "llama2": ("<s>", "</s>"), "llama3": ("<|begin_of_text|>", "<|eot_id|>"),
    "llama3.2": ("<|begin_of_text|>", "<|eot_id|>"),
    "gemma2": ("<bos>", "<eos>"), "gemma3": ("<bos>", "<eos>"),
    "phi3": None, "phi4": None, "zephyr": None, "mistral": None, "llama2-unsloth": None, "gemma-unsloth": None,
}
MARKS = ("<|", "[INST]", "<<SYS>>", "_turn>", "[TOOL_CALLS]", "System role", "Cutting Knowledge", "think>")
IDENTIFIERS = ("bos_token", "trim", "last_query_index", "first_user_prefix",
               "loop.last or (not loop.last and reasoning_content)",
               "custom_instructions")


def turns(*contents):
    roles = {"s": "system", "u": "user", "a": "assistant"}
    return [{"role": roles[c[0]], "content": c[2:]} for c in contents]


CONVERSATIONS = [
    turns("u:Hello"),
    turns("s:Be brief.", "u:Hello"),
    turns("u:Hello", "a:Hi!", "u:  What is 2 + 2?\n"),
    turns("s: You are a cat.\n", "u:\tHow are you, \u00e9milie?\u3000", "a:\n meow ",
          "u:And now? \u65e5\u672c\u8a9e"),
    turns("u:a", "a:<think>\nLet me see.\n</think>\n\nb", "u:c", "a:<think>\nyes</think>d"),
    turns("u:a", "a:b"),
    turns("s:", "u:<|im_end|> {{ bos_token }} [/INST] 'quoted' \"double\" \\n"),
    turns("u:a", "a:\n\nb\n", "u:<tool_response>\n1\n</tool_response>", "a:<think>\n\n</think>\n\n\nc"),
    turns("u:a", "u:b"),
    turns("s:a"),
    turns("a:a", "u:b"),
    turns("u:\u001c\u0085a\u00a0\u2003", "s:b", "u:c"),
]


# Templates that want turns render these all the same, with a message lost or a turn that no model knows: refused
# here.
STRICT = {"llama2": (9, 11), "gemma2": (11,), "gemma3": (9, 11)}


def excerpt(text):
    literals = re.findall(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", text, re.S)
    kept = [x for x in dict.fromkeys(literals) if any(m in x for m in MARKS) and len(x) < 200]
    return "\n".join(kept + [x for x in IDENTIFIERS if x in text])


def render(text, messages, prompt, bos, eos):
    try:
        rendered, _ = render_jinja_template([messages], chat_template=text, add_generation_prompt=prompt,
                                            bos_token=bos,
                                            eos_token=eos, date_string="26 Jul 2024")
        return rendered[0]
    except TemplateError:
        return None


def main():
    folder = pathlib.Path(sys.argv[1])
    rows = [{"conversations": CONVERSATIONS}]
    for name, tokens in NAMES.items():
        text = (folder / f"{name}.jinja").read_text()
        row = {"name": name, "template": excerpt(text)}
        if tokens:
            row |= {"bos": tokens[0], "eos": tokens[1]}
            for key, prompt in (("prompts", True), ("bare", False)):
                row[key] = [None if i in STRICT.get(name, ()) else render(text, c, prompt, *tokens)
                            for i, c in enumerate(CONVERSATIONS)]
        rows.append(row)
    path = pathlib.Path(__file__).parent / "chat.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(len(rows) - 1, "templates,", path.stat().st_size, "bytes")


main()
