"""The tiny language models: a Hugging Face folder of random weights each, and for most a GGUF file of the same.

They differ in architecture, heads, biases, odd widths, ties, rotary scaling, windows, file types and in the old and
new spelling of configurations, so that nothing in the C builder can lean on a published size. Rotary bases are small:
the texts are short, and every pair of channels must turn.
"""

VOCABULARY = 40
LENGTH = 11


def rotary(heads, kv_heads, hidden, inner, layers, **more):
    config = dict(vocab_size=VOCABULARY, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
                  num_attention_heads=heads, num_key_value_heads=kv_heads, max_position_embeddings=64,
                  bos_token_id=0, eos_token_id=1, pad_token_id=2)
    return {**config, **more}


def theta(base, **more):
    return {"rope_type": "default", "rope_theta": base, **more}


MODELS = {
    # Grouped heads, heads wider than width / heads, all biases, an untied head, shards, a tokenizer.
    "llama": dict(
        seed=41, kind="llama", shards="24KB", tokenizer=True,
        config=rotary(4, 2, 20, 26, 2, head_dim=6, attention_bias=True, mlp_bias=True, rms_norm_eps=1e-5,
                      rope_parameters=theta(50.0))),
    # Rotary scaling of Llama 3 with all its three branches, one key head, a tied head, bfloat16.
    "llama3": dict(
        seed=42, kind="llama", half=True, sharpness=1.3,
        config=rotary(3, 1, 24, 22, 2, tie_word_embeddings=True, rms_norm_eps=1e-6,
                      rope_parameters=theta(200.0, rope_type="llama3", factor=8.0, low_freq_factor=1.0,
                                            high_freq_factor=3.0, original_max_position_embeddings=24))),
    # Linear scaling in the old spelling, every head its own keys, quantised blocks in the GGUF file.
    "linear": dict(
        seed=43, kind="llama", old_rope=True, quantised=True,
        config=rotary(2, 2, 32, 64, 2, tie_word_embeddings=True, rms_norm_eps=1e-5, attention_bias=True,
                      rope_parameters=theta(30.0, rope_type="linear", factor=2.5))),
    "qwen2": dict(
        seed=44, kind="qwen2",
        config=rotary(6, 2, 24, 30, 2, tie_word_embeddings=True, rope_parameters=theta(60.0))),
    # Sliding windows from the second layer on: GGUF files of this family cannot say so.
    "window": dict(
        seed=45, kind="qwen2", no_gguf=True, sharpness=1.3,
        config=rotary(2, 1, 12, 14, 3, use_sliding_window=True, sliding_window=4, max_window_layers=1,
                      rope_parameters=theta(60.0))),
    "qwen3": dict(
        seed=46, kind="qwen3", sharpness=1.2,
        config=rotary(4, 2, 20, 24, 2, head_dim=8, rope_parameters=theta(60.0))),
    "gemma2": dict(
        seed=47, kind="gemma2", sharpness=3.0,
        config=rotary(4, 2, 16, 24, 3, head_dim=6, sliding_window=4, query_pre_attn_scalar=6,
                      attn_logit_softcapping=3.0, final_logit_softcapping=4.0, rope_parameters=theta(80.0))),
    # Two rotary bases, the global one scaled.
    "gemma3": dict(
        seed=48, kind="gemma3_text", sharpness=1.5,
        config=rotary(4, 1, 20, 24, 7, head_dim=6, sliding_window=5, query_pre_attn_scalar=6,
                      rope_parameters={"sliding_attention": theta(20.0),
                                       "full_attention": theta(90.0, rope_type="linear", factor=3.0)})),
    "gpt2": dict(
        seed=49, kind="gpt2", quantised=True,
        config=dict(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=24, n_inner=64,
                    bos_token_id=0, eos_token_id=1, layer_norm_epsilon=1e-4)),
}
