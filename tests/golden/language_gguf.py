"""Writes a model of transformers as a GGUF file, in the form that llama.cpp gives its architecture."""

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

ARCHITECTURES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma2": "gemma2", "gemma3_text": "gemma3",
                 "gpt2": "gpt2"}
# In turn, for the matrices of a quantised file.
TYPES = [Type.Q8_0, Type.Q5_1, Type.Q4_1, Type.Q5_0]
TRANSPOSED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # GPT-2's Conv1D


# Of the tiny tokenizer: a blank is "\u0120", as in every vocabulary of bytes.
MERGES = [("t", "h"), ("th", "e"), ("a", "n"), ("an", "d"), ("i", "n"), ("o", "n"), ("e", "r"), ("\u0120", "the"),
          ("\u0120", "on")]
WORDS = ["<s>", "</s>", "<pad>", "<unk>", *map(chr, range(ord("a"), ord("z") + 1)), "\u0120", *map("".join, MERGES)]


def pair_rows(x, heads):
    """The two halves of a head that rotate together, side by side: the llama architecture's queries and keys."""
    return x.reshape(heads, 2, x.shape[0] // heads // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def llama3_factors(rope, dim):
    """What each frequency is divided by (the tensor rope_freqs)."""
    freqs = rope["rope_theta"] ** -(np.arange(0, dim, 2) / dim)
    waves, old = 2 * np.pi / freqs, rope["original_max_position_embeddings"]
    smooth = (old / waves - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
    smooth = smooth.clip(0, 1)
    return (1 / ((1 - smooth) / rope["factor"] + smooth)).astype(np.float32)


def types_of(model, quantised):
    """The type of every matrix."""
    names = [n for n, p in model.named_parameters() if p.ndim == 2]
    return {n: TYPES[i % len(TYPES)] if quantised else Type.F32 for i, n in enumerate(names)}


def quantise(model, kind):
    """Rounds the matrices to what their blocks hold."""
    import torch
    kinds = types_of(model, True)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 2:
                x = p.T if kind == "gpt2" and name.endswith(TRANSPOSED) else p
                packed = gguf.quantize(np.ascontiguousarray(x.numpy()), kinds[name])
                x.copy_(torch.from_numpy(gguf.dequantize(packed, kinds[name])))


def add_tokenizer(writer):
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(WORDS)
    writer.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.UNKNOWN] +
                           [gguf.TokenType.NORMAL] * (len(WORDS) - 4))
    writer.add_token_merges([" ".join(pair) for pair in MERGES])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(3)
    writer.add_add_bos_token(True)


def metadata(writer, config, kind):
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    if kind == "gpt2":
        writer.add_feed_forward_length(config.n_inner)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if head * config.num_attention_heads != config.hidden_size:
        writer.add_key_length(head)
        writer.add_value_length(head)
    rope = config.rope_parameters.get("full_attention", config.rope_parameters)
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if kind.startswith("gemma"):
        writer.add_sliding_window(config.sliding_window)
    if kind == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if kind == "gemma3_text":
        writer.add_float32("gemma3.rope.freq_base_swa", config.rope_parameters["sliding_attention"]["rope_theta"])
    if rope["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_factors(rope, head))


def write(model, kind, path, quantised, tokenizer):
    import torch
    architecture = ARCHITECTURES[kind]
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    metadata(writer, config, kind)
    if tokenizer:
        add_tokenizer(writer)
    else:
        writer.add_token_list([f"<{i}>" for i in range(config.vocab_size)])
    keys = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}
    table = gguf.get_tensor_name_map(keys[architecture], config.num_hidden_layers)
    kinds = types_of(model, quantised)
    for name, p in model.named_parameters():
        module, suffix = name.rsplit(".", 1)
        x = p.detach().float().numpy()
        if kind == "gpt2" and name.endswith(TRANSPOSED):
            x = np.ascontiguousarray(x.T)
        if architecture == "llama" and module.endswith(("q_proj", "k_proj")):
            x = pair_rows(x, config.num_attention_heads if module.endswith("q_proj") else config.num_key_value_heads)
        if kind.startswith("gemma") and module.endswith("norm"):
            x = x + 1
        stored = Type.BF16 if p.dtype == torch.bfloat16 and x.ndim == 2 else kinds.get(name, Type.F32)
        writer.add_tensor(f"{table.get_name(module)}.{suffix}", gguf.quantize(np.ascontiguousarray(x), stored),
                          raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
