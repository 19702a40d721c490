# Texts by a language model.
need a.safetensors plain.txt rare.txt from.txt speak.safetensors

write() { "$vksteer" apply -q -m "$llama" --max-tokens 12 "$@"; }
check "write a text" bash -c \
    "'$vksteer' apply -q -m '$llama' -p 'the cat' --temp 0 --max-tokens 12 >cat.txt && [ \$(wc -c <cat.txt) -gt 1 ]"
check "the same text from standard input" bash -c \
    "echo 'the cat' | '$vksteer' apply -q -m '$llama' -p - --temp 0 --max-tokens 12 |
    cmp - cat.txt"
check "a text from a GGUF file" bash -c \
    "'$vksteer' apply -q -m '$llama/model.gguf' -p 'the cat' --max-tokens 12 | grep -q ."
check "texts of a file, two seeds each" bash -c \
    "'$vksteer' apply -q -m '$llama' --prompts plain.txt -b 2 -s 7 --temp 1.2 --max-tokens 12 \
    --json >some.json &&
    python3 -c 'import json; assert [t[\"seed\"] for t in json.load(open(\"some.json\"))] == [7, 8] * 4'"
company() # each of those texts by itself
{
    local n=0 prompt
    while read -r prompt; do
        write -p "$prompt" -b 2 -s 7 --temp 1.2 --json >one.json && python3 - $n <<'END' || return 1
import json, sys
n = int(sys.argv[1])
assert json.load(open("one.json")) == json.load(open("some.json"))[2 * n:2 * n + 2]
END
        n=$((n + 1))
    done <plain.txt
}
check "are those of each alone" company
check "and of another seed others" bash -c \
    "'$vksteer' apply -q -m '$llama' --prompts plain.txt -b 2 -s 8 --temp 1.2 --max-tokens 12 \
    --json >other.json && ! cmp -s some.json other.json"
check "texts into a file" bash -c \
    "'$vksteer' apply -q -m '$llama' --prompts plain.txt -b 2 -s 7 --temp 1.2 --max-tokens 12 -o some.jsonl |
    cmp - <(echo some.jsonl) && python3 -c 'import json
assert [json.loads(l) for l in open(\"some.jsonl\")] == json.load(open(\"some.json\"))' && [ ! -e some.jsonl.part ]"
check "a text at every strength" bash -c \
    "'$vksteer' apply -q -m '$llama' -p 'the cat' --temp 0 --max-tokens 12 --steer speak.safetensors \
    --sweep 0:40:3 --json >sweep.json && python3 - <<'END'
import json
texts = json.load(open('sweep.json'))
assert [t['strength'] for t in texts] == [0, 20, 40]
assert texts[0]['text'] == open('cat.txt').read()[:-1] and texts[2]['text'] != texts[0]['text']
END"
check "several texts have heads" bash -c \
    "'$vksteer' apply -q -m '$llama' --prompts plain.txt --temp 0 --max-tokens 5 | grep -c '^== ' | grep -qx 4"
check "the context's end" bash -c \
    "'$vksteer' apply -q -m '$llama' -p 'the cat' --temp 0 --max-tokens 500 --json >long.json && python3 - <<'END'
import json
text = json.load(open('long.json'))[0]
assert text['ended'] or text['prompt_tokens'] + text['tokens'] == 64
END"
stop_texts() # leaves nothing
{
    "$vksteer" apply -q -m "$llama" -p "the cat" -b 1000 -o stopped.jsonl &
    local job=$!
    sleep 2
    kill -INT $job && wait $job
    [ $? = 130 ] && ! ls stopped.jsonl* >/dev/null 2>&1
}
check "stop texts by Ctrl-C" stop_texts
check "train at averages" speak -o avg.safetensors --position avg
cp avg.safetensors "$made"  # which is read, too
refused "text by averages" 1 "average" "$vksteer" apply -q -m "$llama" -p x --steer avg.safetensors -o never.jsonl
refused "a picture's size for a text" 2 "is for pictures" "$vksteer" apply -q -m "$llama" -p x -W 64 -o never.jsonl
check "keys and values in fp16" bash -c \
    "'$vksteer' apply -q -m '$llama' -p 'the cat' --temp 0 --max-tokens 12 --cache fp16 | cmp - cat.txt"
refused "another cache" 2 "give fp32 or fp16" "$vksteer" apply -q -m "$llama" -p x --cache int8 -o never.jsonl
refused "a cache for a picture" 2 "is for texts" "$vksteer" apply -q -p x --cache fp16 -o never.png
refused "a text's length for a picture" 2 "is for texts" "$vksteer" apply -q -p x --max-tokens 5 -o never.png
refused "a share that is none" 2 "top-p" "$vksteer" apply -q -m "$llama" -p x --top-p 1.5 -o never.jsonl
refused "no token at all" 2 "max-tokens" "$vksteer" apply -q -m "$llama" -p x --max-tokens 0 -o never.jsonl
refused "a prompt beyond the context" 1 "shorten" "$vksteer" apply -q -m "$llama" \
    -p "$(printf 'the cat %.0s' {1..60})" -o never.jsonl
refused "an empty prompt" 1 "no prompt" bash -c "printf '' | '$vksteer' apply -q -m '$llama' -p - -o never.jsonl"
refused "a folder that is not there, for texts" 1 "nowhere" "$vksteer" apply -q -m "$llama" -p x -o nowhere/x.jsonl
refused "a full disk, for texts" 1 "standard output\|disk" bash \
    -c "'$vksteer' apply -q -m '$llama' -p x --json >/dev/full"
refused "a text with a picture's steering" 1 "another model\|this model" "$vksteer" apply -q -m "$llama" -p x \
    --steer a.safetensors -o never.jsonl
refused "a language model's steering on pictures" 1 "another model\|this model" "$vksteer" apply -q -p x \
    --steer speak.safetensors -o never.png
cp -r "$llama" mute && rm mute/tokenizer.json
refused "a text without a tokenizer" 1 "tokenizer" "$vksteer" apply -q -m ./mute -p x -o never.jsonl

# In chats.
refused "a chat without a template" 1 "no chat template" "$vksteer" apply -q -m "$llama" -p x --chat
refused "a system message without a chat" 2 "\-\-chat" "$vksteer" apply -q -m "$llama" -p x --system y
refused "a chat with pictures" 2 "\-\-chat is for texts" "$vksteer" apply -q -p x --chat
cp -r "$llama" chatty
echo '{"bos_token": "<s>", "eos_token": "</s>"}' >chatty/tokenizer_config.json
echo '{{ messages }}' >chatty/chat_template.jinja
refused "a template of no known family" 1 "no family" "$vksteer" apply -q -m ./chatty -p x --chat
printf "{{ bos_token + '[INST] ' }} '<<SYS>>\n'" >chatty/chat_template.jinja
talk() { "$vksteer" apply -q -m ./chatty -p 'the sun' --max-tokens 8 --temp 0 --json "$@"; }
same() { python3 -c "
import json, sys
a, b = (json.load(open(f))[0] for f in sys.argv[1:])
assert (a['text'], a['prompt_tokens']) == (b['text'], b['prompt_tokens']), (a, b)" "$@"; }
talk --chat --system 'on' >chat.json
"$vksteer" apply -q -m ./chatty -p '[INST] <<SYS>>
on
<</SYS>>

the sun [/INST]' --max-tokens 8 --temp 0 --json >bare.json
check "a chat is what its template says, begun once" same chat.json bare.json
check "eval of chats" bash -c \
    "'$vksteer' eval -q -m ./chatty --prompts from.txt --chat --max-tokens 4 | grep -q distinct-2"
