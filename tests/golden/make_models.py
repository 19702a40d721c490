"""Writes tests/golden/data: tiny diffusers folders and what diffusers and transformers compute with them.

    python make_models.py [name ...]
    python make_models.py --folder FOLDER OUT.safetensors

Each folder is a diffusers model of random weights (configs.py). `expected.safetensors` beside it holds the inputs
(`input.*`), the output of every module that can be hooked (record.py), thinned to every stride-th value of its
channels-last order (record.stride_for), the distances by which mutations move them (`mutation.*`), and the picture of
the whole pipeline at one step (`output.image`). pictures.py adds what diffusers' own pipelines paint. data/schedulers
is what schedulers.py writes. The second form records any diffusers folder, for
`test_golden --folder FOLDER OUT.safetensors`. The versions are pinned in requirements.txt.
"""

import json
import pathlib
import shutil
import sys

import diffusers
import torch
import transformers
from safetensors.torch import load_file, save_file

import configs
import pictures
import schedulers
import tokens
from randomise import assert_attention, randomise
from record import Recorder, channels_last, thin

DATA = pathlib.Path(__file__).parent / "data"
BATCH = 2
TOLERANCE = 1e-3


def relative(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


def moved(before, after):
    """How far a mutation moves the compared outputs: the largest distance at any site."""
    return max(relative(after[name], before[name]) for name in before)


def run(prefix, module, call):
    recorder = Recorder(prefix, module, BATCH)
    with torch.no_grad():
        output = call()
    return output, recorder.finish()


def build(fixture):
    """The modules by their folders, text encoders first, with random parameters."""
    modules = {"text_encoder": transformers.CLIPTextModel(transformers.CLIPTextConfig(**fixture["text_encoder"]))}
    if "text_encoder_2" in fixture:
        config = transformers.CLIPTextConfig(**fixture["text_encoder_2"])
        modules["text_encoder_2"] = transformers.CLIPTextModelWithProjection(config)
    modules["unet"] = diffusers.UNet2DConditionModel(**fixture["unet"])
    modules["vae"] = getattr(diffusers, fixture["vae"][0])(**fixture["vae"][1])
    for i, module in enumerate(modules.values()):
        randomise(module, 100 * fixture["seed"] + i, fixture.get("sharpness", 1.6))
        if fixture.get("half"):
            module.half().float()
        module.eval()
    return modules


def token_ids(config, generator):
    """Start, words, end, padding: a different number of words in each sample."""
    length = config["max_position_embeddings"]
    ids = torch.full((BATCH, length), config["pad_token_id"])
    for b in range(BATCH):
        words = length - 3 - 2 * b
        ids[b, 0] = config["bos_token_id"]
        ids[b, 1:1 + words] = torch.randint(0, config["vocab_size"] - 2, (words,), generator=generator)
        ids[b, 1 + words] = config["eos_token_id"]
    return ids


def record_text(prefix, text, ids, check, out):
    result, values = run(prefix, text, lambda: text(ids, output_hidden_states=True))
    shares = assert_attention(values, lambda _name: text.config.num_attention_heads, True) if check else []
    # Without the causal mask: an all-zeros bias in its place.
    module = sys.modules[type(text).__module__]
    masker, module.create_causal_mask = module.create_causal_mask, \
        lambda **_kwargs: torch.zeros(1, 1, ids.shape[1], ids.shape[1])
    _, unmasked = run(prefix, text, lambda: text(ids))
    module.create_causal_mask = masker
    out[f"mutation.{prefix}.causal_mask"] = torch.tensor([moved(values, unmasked)])
    if hasattr(result, "pooler_output"):
        out[f"output.{prefix}.pooled"] = thin(result.pooler_output)
    return result, values, shares


def record_unet(unet, sample, timestep, context, more, check, out):
    result, values = run("unet", unet, lambda: unet(sample, timestep, context, **more).sample)

    def heads_of(name):
        return unet.get_submodule(name.removeprefix("unet.").removesuffix(".to_q")).heads

    shares = assert_attention(values, heads_of, False) if check else []
    changes = {"context": (timestep, torch.zeros_like(context), more), "timestep": (0.0, context, more)}
    if "timestep_cond" in more:
        changes["guidance"] = timestep, context, {**more, "timestep_cond": torch.zeros_like(more["timestep_cond"])}
    if "added_cond_kwargs" in more:
        for key in ("text_embeds", "time_ids"):
            added = dict(more["added_cond_kwargs"])
            added[key] = torch.zeros_like(added[key])
            changes[key] = timestep, context, {**more, "added_cond_kwargs": added}
    for name, (t, c, m) in changes.items():
        changed = run("unet", unet, lambda: unet(sample, t, c, **m))[1]
        out[f"mutation.unet.{name}"] = torch.tensor([moved(values, changed)])
    return result, values, shares


def record_vae(vae, latents, generator, check, out):
    """Both halves; returns the picture and the sites."""
    image, values = run("vae", vae, lambda: vae.decode(latents).sample)
    picture = torch.rand(image.shape, generator=generator) * 2 - 1
    encoded, more = run("vae", vae, lambda: vae.encode(picture))
    values.update(more)
    shares = assert_attention(values, lambda _name: 1, False) if check else []
    out["input.encoder"] = channels_last(picture)
    if hasattr(encoded, "latent_dist"):
        out["output.vae.mode"] = thin(encoded.latent_dist.mode())
    return image, values, shares


def rename(path, names):
    """Gives the tensors of a file the names that older versions gave them."""
    save_file({names(k): v for k, v in load_file(path).items()}, path, {"format": "pt"})


def old_attention(name):
    for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
        name = name.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
    return name


def save_parts(folder, fixture, modules, scheduler):
    for name, module in modules.items():
        if fixture.get("half"):
            module = module.half()
        module.save_pretrained(folder / name, max_shard_size=fixture.get("shards", "1GB"))
    scheduler.save_pretrained(folder / "scheduler")
    if fixture.get("legacy_prefix"):  # as checkpoints before transformers 5 are written
        rename(folder / "text_encoder" / "model.safetensors", lambda name: f"text_model.{name}")
    if fixture.get("old_attention"):  # and before diffusers 0.17
        rename(folder / "vae" / "diffusion_pytorch_model.safetensors", old_attention)
    xl = "text_encoder_2" in modules
    index = {"_class_name": "StableDiffusionXLPipeline" if xl else "StableDiffusionPipeline",
             "_diffusers_version": diffusers.__version__, "scheduler": ["diffusers", fixture["scheduler"][0]]}
    for name, module in modules.items():
        library = "transformers" if name.startswith("text") else "diffusers"
        index[name] = [library, type(module).__name__]
        if library == "transformers":
            tokenizer = name.replace("text_encoder", "tokenizer")
            index[tokenizer] = ["transformers", "CLIPTokenizer"]
            # The second tokenizer of SDXL pads with another token.
            pad = {"pad": "!"} if tokenizer == "tokenizer_2" else {}
            size = tokens.write(folder / tokenizer, fixture[name]["max_position_embeddings"], **pad)
            assert size == configs.VOCABULARY
    (folder / "model_index.json").write_text(json.dumps(index, indent=1) + "\n")
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def conditions(modules, ids, guidance, latents, check, out):
    """Text, and what the UNet reads beside it, as the pipelines of diffusers prepare it."""
    values, shares, results = {}, [], []
    for prefix in (name for name in modules if name.startswith("text")):
        result, sites, entropy = record_text(prefix, modules[prefix], ids, check, out)
        results.append(result)
        values.update(sites)
        shares += entropy
    more = {}
    if len(results) == 1:
        context = results[0].last_hidden_state
    else:
        context = torch.cat([r.hidden_states[-2] for r in results], -1)
        factor = 2 ** (len(modules["vae"].config.block_out_channels) - 1)
        size = [factor * n for n in latents]
        sizes = torch.tensor([size + [0, 0] + size] * BATCH)
        more = {"added_cond_kwargs": {"text_embeds": results[1].text_embeds, "time_ids": sizes}}
        out["input.text_embeds"] = results[1].text_embeds
    if modules["unet"].config.time_cond_proj_dim:
        embed = diffusers.StableDiffusionPipeline.get_guidance_scale_embedding
        w = torch.full((BATCH,), guidance - 1)
        more["timestep_cond"] = embed(None, w, modules["unet"].config.time_cond_proj_dim)
    out["input.guidance"] = torch.tensor([guidance])
    out["input.context"] = context
    return context, more, values, shares


def expected(modules, scheduler, ids, latents, guidance, generator, check):
    """Inputs and outputs of one step of the whole pipeline; with `check` the fixture must prove something."""
    unet, vae, out = modules["unet"], modules["vae"], {}
    scheduler.set_timesteps(1)
    context, more, values, shares = conditions(modules, ids, guidance, latents, check, out)

    noise = torch.randn(BATCH, unet.config.in_channels, *latents, generator=generator)
    sample = noise * scheduler.init_noise_sigma
    timestep = scheduler.timesteps[0]
    scaled = scheduler.scale_model_input(sample, timestep)
    output, unet_values, unet_shares = record_unet(unet, scaled, timestep, context, more, check, out)

    shift = vae.config.shift_factor if isinstance(vae, diffusers.AutoencoderKL) else None
    decoder_in = scheduler.step(output, timestep, sample).prev_sample / vae.config.scaling_factor + (shift or 0)
    image, vae_values, vae_shares = record_vae(vae, decoder_in, generator, check, out)

    for sites in (values, unet_values, vae_values):
        out.update({site: thin(value) for site, value in sites.items()})
    out["input.ids"] = ids.int()
    out["input.noise"] = channels_last(noise)
    out["input.sample"] = channels_last(scaled)
    out["input.timestep"] = torch.tensor([float(timestep)])
    out["input.decoder"] = channels_last(decoder_in)
    out["output.image"] = channels_last(image)
    for key, value in out.items():
        if check and key.startswith("mutation."):
            assert value.item() > 20 * TOLERANCE, f"{key} moves the outputs by {value.item():.4f} only"
    return {k: v.contiguous() for k, v in out.items()}, shares + unet_shares + vae_shares


def make(name, fixture):
    folder = DATA / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(fixture["seed"])
    modules = build(fixture)
    scheduler = getattr(diffusers, fixture["scheduler"][0])(**fixture["scheduler"][1])
    ids = token_ids(fixture["text_encoder"], generator)
    out, shares = expected(modules, scheduler, ids, fixture["latents"], fixture.get("guidance", 1.0), generator, True)
    save_file(out, folder / "expected.safetensors")
    save_parts(folder, fixture, modules, scheduler)
    pictures.record(folder, fixture)
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    print(f"{name}: {len(out)} tensors, {size / 1024:.0f} KiB, entropy {min(shares):.2f} to {max(shares):.2f}, "
          f"|image| up to {out['output.image'].abs().max().item():.2f}")


def record_folder(folder, path):
    """The same for any diffusers folder, with fp32 arithmetic on its weights as they are."""
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    names = [n for n in ("text_encoder", "text_encoder_2", "unet", "vae") if getattr(pipeline, n, None) is not None]
    modules = {n: getattr(pipeline, n).eval() for n in names}
    tokenizer = pipeline.tokenizer
    ids = tokenizer(["a red apple", "ink drawing of a cat and a dog"], padding="max_length", truncation=True,
                    max_length=tokenizer.model_max_length, return_tensors="pt").input_ids
    size = modules["unet"].config.sample_size
    out, _ = expected(modules, pipeline.scheduler, ids, (size, size), 1.0, torch.Generator().manual_seed(0), False)
    save_file(out, path)
    print(f"{path}: {len(out)} tensors")


def main():
    if sys.argv[1:2] == ["--folder"]:
        return record_folder(*sys.argv[2:])
    wanted = sys.argv[1:] or [*configs.FIXTURES, "schedulers"]
    for name in wanted:
        schedulers.make(DATA / name) if name == "schedulers" else make(name, configs.FIXTURES[name])
    total = sum(f.stat().st_size for f in DATA.rglob("*") if f.is_file())
    print(f"data: {total / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
