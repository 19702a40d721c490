"""Writes data/gguf: what the gguf Python package makes of GGUF files, for tests/test_gguf.c.

    weights.gguf          metadata of every kind, and for every type of weights that vksteer reads two tensors:
                          TYPE.blocks, well-formed blocks with normal, extreme, subnormal, negative and zero scales,
                          and TYPE.bytes, random bytes, so that scales are infinite and NaN too
    expected.safetensors  the same tensors, unpacked
    gemma.gguf            two norms and another tensor, in Gemma's form (1 + weight); gemma.txt: their fingerprint
    names.txt             an architecture, a tensor, and the module of transformers whose parameter it is
"""

import shutil
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType as Type
from gguf import GGUFValueType as Kind
from safetensors.numpy import save_file

DATA = Path(__file__).parent / "data" / "gguf"
ROWS = 2
# Where the fp16 scales of a block lie, in bytes.
SCALES = {
    Type.F32: [], Type.F16: [], Type.BF16: [], Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2],
    Type.Q8_0: [0], Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208],
}
# Largest, smallest normal, subnormal, smallest subnormal, one, zeros; each of both signs.
EXTREME = np.array([65504, 2.0**-14, 2.0**-14 - 2.0**-24, 2.0**-24, 1, 0], np.float16)
EXTREME = np.concatenate([EXTREME, -EXTREME])


def blocks(kind, rng):
    """ROWS rows of finite blocks: the first dozen with extreme scales, the rest with ordinary ones."""
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    count = {1: 128, 32: 8, 256: 7}[elements] * ROWS
    if elements == 1:
        x = (rng.standard_normal(count) * 10.0 ** rng.integers(-9, 5, count)).astype(np.float32)
        x[: len(EXTREME)] = EXTREME
        return gguf.quantize(x.reshape(ROWS, -1), kind).view(np.uint8).reshape(ROWS, -1)
    raw = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for at, offset in enumerate(SCALES[kind]):
        scales = (rng.standard_normal(count) * 0.01).astype(np.float16)
        extreme = np.roll(EXTREME, 5 * at)
        scales[: len(extreme)] = extreme
        raw[:, offset:offset + 2] = scales.view(np.uint8).reshape(count, 2)
    return raw.reshape(ROWS, -1)


def metadata(writer):
    """A llama-like model as far as its keys go, and one key of every kind."""
    writer.add_name("Golden \u00e9")
    writer.add_context_length(2048)
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_freq_base(50000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(["a", "b", "\u0120c", ""])
    for kind, value in ((Kind.UINT8, 255), (Kind.INT8, -128), (Kind.UINT16, 65535), (Kind.INT16, -32768),
                        (Kind.UINT32, 2**32 - 1), (Kind.INT32, -2**31), (Kind.FLOAT32, -1.5),
                        (Kind.UINT64, 2**64 - 1), (Kind.INT64, -2**63), (Kind.FLOAT64, 1e300), (Kind.BOOL, True),
                        (Kind.STRING, "x\ny")):
        writer.add_key_value(f"test.{kind.name.lower()}", value, kind)
    writer.add_array("test.integers", [1, -2, 3])
    writer.add_array("test.bools", [True, False])
    writer.add_array("test.nested", [[[1, 2], [3]], [[4]]])


def gemma(rng):
    weights = rng.standard_normal((2, 300)).astype(np.float32) / 4
    writer = gguf.GGUFWriter(DATA / "gemma.gguf", "gemma3")
    writer.add_tensor("output_norm.weight", 1 + weights[0])
    writer.add_tensor("blk.0.attn_q_norm.weight", 1 + weights[1])
    writer.add_tensor("token_embd.weight", weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    w = weights.astype(np.float64)
    (DATA / "gemma.txt").write_text(f"norms {w.size} mean {w.mean():.5f} rms {np.sqrt((w * w).mean()):.5f}\n")


SIZES = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 12, "num_attention_heads": 2,
         "num_key_value_heads": 1, "head_dim": 4, "vocab_size": 16}
MODELS = {
    "llama": ("llama", {**SIZES, "attention_bias": True, "mlp_bias": True}), "qwen2": ("qwen2", SIZES),
    "qwen3": ("qwen3", SIZES), "gemma2": ("gemma2", SIZES), "gemma3": ("gemma3_text", SIZES),
    "gpt2": ("gpt2", {"n_embd": 8, "n_layer": 12, "n_head": 2, "vocab_size": 16, "n_positions": 16,
                      "bos_token_id": 0, "eos_token_id": 0}),
}


def names():
    """The first block and one of two digits; the names come from transformers' own models."""
    architectures = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}
    for architecture, (kind, sizes) in MODELS.items():
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(kind, **sizes))
        table = gguf.get_tensor_name_map(architectures[architecture], 12)
        for parameter in model.state_dict():
            module, suffix = parameter.rsplit(".", 1)
            tensor = table.get_name(module)
            if tensor is None:
                assert module == "lm_head", parameter  # tied: the file has no tensor for it
            elif not any(f".{block}." in module for block in range(1, 11)):
                yield f"{architecture} {tensor}.{suffix} {module}\n"


def main():
    rng = np.random.default_rng(2026)
    expected = {}
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(parents=True)
    writer = gguf.GGUFWriter(DATA / "weights.gguf", "llama")
    metadata(writer)
    for kind in SCALES:
        good = blocks(kind, rng)
        wild = rng.integers(0, 256, good.shape, dtype=np.uint8)
        for name, raw in (("blocks", good), ("bytes", wild)):
            writer.add_tensor(f"{kind.name}.{name}", raw, raw_dtype=kind)
            with np.errstate(all="ignore"):
                values = gguf.dequantize(raw, kind)
            assert name == "bytes" or np.isfinite(values).all(), kind
            expected[f"{kind.name}.{name}"] = np.ascontiguousarray(values, np.float32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(expected, DATA / "expected.safetensors")
    gemma(rng)
    (DATA / "names.txt").write_text("".join(names()))
    size = sum(f.stat().st_size for f in DATA.iterdir())
    print(f"gguf: {len(expected)} tensors, {size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
