"""Writes tests/golden/data/lora: LoRA files for the tiny models, in the layouts that people use, and what diffusers
and PEFT make of the weights with them.

    python lora.py

NAME.safetensors (or .bin) is the LoRA; NAME.fused.safetensors holds, under PART.PARAMETER, every `STRIDE`th value of
each weight that `fuse_lora` at `STRENGTH` has changed. A weight that it has not changed is not there.
"""

import json
import pathlib
import shutil

import diffusers
import peft
import torch
import transformers
from safetensors.torch import save_file

from checkpoints import original

ROOT = pathlib.Path(__file__).parent / "data"
DATA = ROOT / "lora"
STRENGTH, STRIDE = 0.7, 5
PARTS = ("unet", "text_encoder", "text_encoder_2")
UNET = ("to_q", "to_v", "to_out.0", "proj_in", "proj", "net.2", "conv1", "conv2", "conv_shortcut", "time_emb_proj",
        "conv",
        "conv_in", "conv_out", "linear_1")
TEXT = ("q_proj", "out_proj", "fc1")


def load(name):
    pipeline = diffusers.DiffusionPipeline.from_pretrained(ROOT / name, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def chosen(pipeline):
    """Part, name and module of the layers that get a LoRA; of every kind some, but not all."""
    for part in PARTS:
        module = getattr(pipeline, part, None)
        ends = UNET if part == "unet" else TEXT
        for i, (name, layer) in enumerate(module.named_modules() if module else ()):
            linear = isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d))
            if linear and name.endswith(ends) and (i % 3 or part != "unet"):
                yield part, name, layer


def pair(layer, rank, generator):
    """Random factors, with the axes that PEFT gives them."""
    def random(*shape):
        return torch.randn(*shape, generator=generator) * 0.2
    if isinstance(layer, torch.nn.Linear):
        return random(rank, layer.in_features), random(layer.out_features, rank)
    return random(rank, *layer.weight.shape[1:]), random(layer.out_channels, rank, 1, 1)


def write(name, model, state, **metadata):
    """The LoRA, and the weights that it gives."""
    path = DATA / (name if name.endswith(".bin") else f"{name}.safetensors")
    if path.suffix == ".bin":
        torch.save(state, path)
    else:
        save_file(state, path, {"format": "pt", **metadata})
    pipeline = load(model)
    before = {f"{part}.{k}": v.clone() for part in PARTS if hasattr(pipeline, part)
              for k, v in getattr(pipeline, part).state_dict().items()}
    pipeline.load_lora_weights(DATA, weight_name=path.name, adapter_name="a")
    pipeline.fuse_lora(components=[p for p in PARTS if hasattr(pipeline, p)], lora_scale=STRENGTH)
    pipeline.unload_lora_weights()
    after = {f"{part}.{k}": v for part in PARTS if hasattr(pipeline, part)
             for k, v in getattr(pipeline, part).state_dict().items()}
    assert before.keys() == after.keys()
    fused = {k: v.flatten()[::STRIDE].clone() for k, v in after.items() if not torch.equal(v, before[k])}
    save_file(fused, DATA / f"{path.stem}.fused.safetensors")
    print(f"{name}: {len(state)} tensors, {len(fused)} weights changed")
    return len(fused)


def diffusers_layout():
    """Names of diffusers and PEFT, with ranks and alphas in the metadata."""
    generator, pipeline, state = torch.Generator().manual_seed(1), load("sd1"), {}
    count = 0
    patterns = {"unet": {"conv_in": 7.0, "attn1.to_q": 1.5}}
    config = {}
    for part in ("unet", "text_encoder"):
        rank_of = {}
        for p, name, layer in chosen(pipeline):
            if p != part:
                continue
            rank_of[name] = 2 if name.endswith("conv1") else 3
            state[f"{part}.{name}.lora_A.weight"], state[f"{part}.{name}.lora_B.weight"] = pair(layer, rank_of[name],
                                                                                              generator)
            count += 1
        config |= {f"{part}.r": 3, f"{part}.lora_alpha": 5.0, f"{part}.target_modules": sorted(rank_of),
                   f"{part}.rank_pattern": {k: v for k, v in rank_of.items() if v != 3},
                   f"{part}.alpha_pattern": patterns.get(part, {}), f"{part}.peft_type": "LORA"}
    assert write("sd1-diffusers", "sd1", state, lora_adapter_metadata=json.dumps(config)) == count


def old_layout():
    """Attention processors of early diffusers, as torch.save writes them."""
    generator, pipeline, state = torch.Generator().manual_seed(2), load("sd1"), {}
    for part, name, layer in chosen(pipeline):
        if part == "unet" and name.endswith(("to_q", "to_v", "to_out.0")):
            attention, _, which = name.removesuffix(".0").rpartition(".")
            down, up = pair(layer, 2, generator)
            state[f"unet.{attention}.processor.{which}_lora.down.weight"] = down
            state[f"unet.{attention}.processor.{which}_lora.up.weight"] = up
    assert write("sd1-old.bin", "sd1", state) == len(state) // 2


def kohya_layout(name, model, first, layers):
    """Underscores and alphas, half precision; with `layers` the UNet's original names.

    The alpha is one for all layers: where they differ diffusers takes the commonest for those of attention, which is
    not what the programs that write such files mean.
    """
    generator, pipeline, state = torch.Generator().manual_seed(3), load(model), {}
    prefix = {"unet": "lora_unet_", "text_encoder": first, "text_encoder_2": "lora_te2_"}
    names = [name for name, _ in pipeline.unet.named_modules()]
    for i, (part, module, layer) in enumerate(chosen(pipeline)):
        rank = 1 + i % 5
        down, up = pair(layer, rank, generator)
        if part == "unet" and layers:
            module = original(module, layers, names)
        elif part != "unet":
            module = "text_model." + module.removeprefix("text_model.")
        stem = prefix[part] + module.replace(".", "_")
        state |= {f"{stem}.lora_down.weight": down.half(), f"{stem}.lora_up.weight": up.half(),
                  f"{stem}.alpha": torch.tensor(2.5).half()}
    assert write(name, model, state) == len(state) // 3


def language(name, seed, count, **config):
    """What PEFT saves of a language model, with ranks and alphas of their own, and what it merges."""
    generator = torch.Generator().manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_pretrained(ROOT / "language" / name, dtype=torch.float32)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model = peft.get_peft_model(model, peft.LoraConfig(r=3, lora_alpha=5, **config))
    model.peft_config["default"].base_model_name_or_path = name
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "lora_" in key:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    folder = DATA / f"{name}-peft"
    model.save_pretrained(folder, save_embedding_layers=False)  # nor look for them elsewhere
    (folder / "README.md").unlink()
    path = folder / "adapter_config.json"
    saved = json.loads(path.read_text())
    path.write_text(json.dumps(saved | {"target_modules": sorted(saved["target_modules"])}, indent=2, sort_keys=True))
    for module in model.modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            module.scale_layer(STRENGTH)
    after = model.merge_and_unload().state_dict()
    fused = {f"model.{k}": v.flatten()[::STRIDE].clone() for k, v in after.items() if not torch.equal(v, before[k])}
    assert len(fused) == count, (name, len(fused))
    save_file(fused, DATA / f"{name}-peft.fused.safetensors")


def languages():
    """Linear layers; those of a model whose GGUF file is quantised, and has the rows of heads in another order; and
    GPT-2's, which lie the other way round in one of the two files."""
    language("llama", 4, 6, target_modules=["q_proj", "v_proj", "down_proj"], use_rslora=True,
             rank_pattern={"layers.1.self_attn.q_proj": 2}, alpha_pattern={"down_proj": 1.5})
    language("linear", 5, 8, target_modules=["q_proj", "k_proj", "o_proj", "up_proj"])
    language("gpt2", 6, 6, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)


def main():
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(parents=True)
    diffusers_layout()
    old_layout()
    kohya_layout("half-kohya", "half", "lora_te_", None)
    kohya_layout("xl-kohya", "xl", "lora_te1_", 1)
    languages()
    for path in DATA.rglob("*.*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


if __name__ == "__main__":
    main()
