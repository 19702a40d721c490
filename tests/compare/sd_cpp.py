#!/usr/bin/env python3
"""Seconds of one picture: vksteer beside stable-diffusion.cpp's Vulkan and CPU backends, in one run, on the same
weights, driver and machine.

    python3.12 -m venv ENV && ENV/bin/pip install cyllama-vulkan==0.7.0 numpy pillow
    ENV/bin/python tests/compare/sd_cpp.py VKSTEER FOLDER [--size 256] [--only vulkan] [--fast]

(cyllama-vulkan brings stable-diffusion.cpp built, for Python 3.12 or newer.) FOLDER: SD-Turbo's layout with random
weights, written where it is missing: 2.6 GB, and once more in one file. Both programs make the same pictures: one
step, no guidance, the same noise and tokens; how far the pictures differ is printed too. The first picture of each,
in which kernels are compiled, stands apart (a CPU driver may take half an hour for the other program's, and Mesa's
keeps them for later runs); of the others the medians stand, as each program says them, and in brackets the processor
time of all cores. VK_DRIVER_FILES chooses the driver of both.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "golden")]
import full_size
import tokens

STAGES = ("text", "step", "decoder")
OURS = {stage: rf"debug: {stage}: ([\d.]+) s$" for stage in STAGES}
THEIRS = {stage: rf"{words} completed, taking ([\d.]+)s" for stage, words in
          zip(STAGES, ("get_learned_condition", "sampling", "decode_first_stage"))}
SEED = 42
BOS = 49406  # and EOS behind it
PROMPTS = ["a b c", "x y z", "k l m", "r s t"]  # words of one letter are the same tokens in both vocabularies


def prepare(folder):
    """Writes the folder if there is none, and in it the one file for stable-diffusion.cpp, last."""
    if single(folder).exists():
        return
    if folder.exists() and any(folder.iterdir()):
        sys.exit(f"{folder}: was not written by this script: give an empty or new folder")
    full_size.write("sd-turbo", folder, full_size.Weights(1))
    # The other program has CLIP's tokens built in: letters as here, but these two at the end, and padding with "!".
    tokens.write(folder / "tokenizer", 77, pad="!")
    path = folder / "tokenizer" / "vocab.json"
    words = [w for w in json.loads(path.read_text()) if w not in ("<|startoftext|>", "<|endoftext|>")]
    words += [f"<unused{i}>" for i in range(BOS - len(words))] + ["<|startoftext|>", "<|endoftext|>"]
    path.write_text(json.dumps({w: i for i, w in enumerate(words)}, ensure_ascii=False))
    join([(part, next((folder / name).glob("*.safetensors"))) for part, name in
          (("unet", "unet"), ("vae", "vae"), ("te", "text_encoder"))], single(folder))


def single(folder):
    return folder / "single.safetensors"


def join(parts, path):
    """One file of several, each with a word before its names: stable-diffusion.cpp reads those of diffusers so."""
    header, at, rests = {}, 0, []
    for word, source in parts:
        with open(source, "rb") as file:
            size, = struct.unpack("<Q", file.read(8))
            tensors = json.loads(file.read(size))
        tensors.pop("__metadata__", None)
        for name, tensor in tensors.items():
            header[f"{word}.{name}"] = dict(tensor, data_offsets=[at + x for x in tensor["data_offsets"]])
        at += source.stat().st_size - 8 - size
        rests.append((source, 8 + size))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for source, begin in rests:
            with open(source, "rb") as file:
                file.seek(begin)
                shutil.copyfileobj(file, out, 1 << 24)


def theirs(folder, backend, size, count, fast, out):
    """Runs in a process of its own."""
    from cyllama.sd import Prediction, SampleMethod, Scheduler, SDContext, SDContextParams, set_log_callback
    set_log_callback(lambda _level, text: print(text, end="", flush=True))
    params = SDContextParams()
    params.model_path = str(single(folder))
    params.backend = backend
    params.n_threads = os.cpu_count()
    params.prediction = Prediction.EPS
    params.auto_fit = False
    params.eager_load = True
    if fast:
        params.diffusion_flash_attn = params.diffusion_conv_direct = params.vae_conv_direct = True
    context = SDContext(params)
    for i, prompt in enumerate(PROMPTS[:count]):
        print("begin", flush=True)
        images = context.generate(prompt=prompt, width=size, height=size, seed=SEED, sample_steps=1, cfg_scale=1.0,
                                  sample_method=SampleMethod.EULER, scheduler=Scheduler.DISCRETE)
        images[0].save(f"{out}/{i}.png")


def processor_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_memory(pid):
    return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) / 2**20


def measure(name, command, patterns, environment):
    """What the program says of its stages, (seconds, processor seconds): of the first picture, medians of the others;
    and the peak GiB."""
    seconds = {stage: [] for stage in STAGES}
    last, peak, said = 0.0, 0.0, []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env=environment) as process:
        for line in process.stdout:
            said.append(line)
            now = processor_seconds(process.pid)
            for stage, pattern in patterns.items():
                if found := re.search(pattern, line):
                    seconds[stage].append((float(found[1]), now - last))
                    print(f"{name}: {stage} {found[1]} s", file=sys.stderr)
                    peak = peak_memory(process.pid)
            if line.startswith("begin") or any(re.search(pattern, line) for pattern in patterns.values()):
                last = now
    if process.returncode != 0 or not all(len(rows) > 1 for rows in seconds.values()):
        print("".join(said[-30:]) + f"{name}: exit {process.returncode}, stages {seconds}", file=sys.stderr)
        return None
    first = [sum(rows[0][i] for rows in seconds.values()) for i in (0, 1)]
    stages = {stage: [statistics.median(column) for column in zip(*rows[1:])] for stage, rows in seconds.items()}
    return stages | {"picture": [sum(x) for x in zip(*stages.values())], "first picture": first}, peak


def difference(a, b):
    import numpy
    from PIL import Image
    x, y = (numpy.asarray(Image.open(path).convert("RGB")).astype(float) for path in (a, b))
    if min(x.std(), y.std()) < 2:
        return "one is blank"
    mean = numpy.mean((x - y) ** 2)
    return f"{numpy.abs(x - y).max():.0f}/255 at most, {10 * numpy.log10(255 ** 2 / max(mean, 1e-9)):.1f} dB"


def print_table(rows):
    columns = [*STAGES, "picture", "first picture"]
    print("| | " + " | ".join(columns) + " | peak memory |\n|---|" + "---|" * (len(columns) + 1))
    for name, (parts, peak) in rows.items():
        cells = [f"{wall:.2f} s ({cpu:.2f})" for wall, cpu in (parts[c] for c in columns)]
        print(f"| {name} | " + " | ".join(cells) + f" | {peak:.1f} GiB |")
    ours = rows.get("vksteer", [{}])[0]
    for name, (parts, _) in rows.items():
        if ours and name != "vksteer":
            cells = [f"{parts[c][0] / ours[c][0]:.2f} ({parts[c][1] / max(ours[c][1], .01):.2f})" for c in columns]
            print(f"| vksteer's speed over {name} | " + " | ".join(cells) + " | |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vksteer")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--size", type=int, default=512, help="pixels of width and height")
    parser.add_argument("--pictures", type=int, default=2, choices=range(2, len(PROMPTS) + 1))
    parser.add_argument("--only", choices=["vulkan", "cpu"], help="one backend of stable-diffusion.cpp")
    parser.add_argument("--fast", action="store_true", help="with its flash attention and direct convolutions")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        theirs(options.folder, options.run[0], options.size, options.pictures, options.fast, options.run[1])
        return
    prepare(options.folder)
    environment = dict(os.environ)
    environment.setdefault("GGML_VK_VISIBLE_DEVICES", "0")  # otherwise CPU drivers are passed by
    environment.setdefault("VKSTEER_DISABLE", "awake")  # whose spinning would count as work
    rows, size, count = {}, str(options.size), options.pictures
    ours = [options.vksteer, "apply", "-v", "-m", options.folder, "-W", size, "-H", size, "--steps", "1",
            "--cfg-scale", "1", "-s", str(SEED)]
    others = [sys.executable, __file__, options.vksteer, options.folder, "--size", size, "--pictures", str(count)]
    with tempfile.TemporaryDirectory() as out:
        prompts = pathlib.Path(out) / "prompts.txt"
        prompts.write_text("\n".join(PROMPTS[:count]) + "\n")
        rows["vksteer"] = measure("vksteer", ours + ["--prompts", prompts, "-o", f"{out}/%d.png"], OURS, environment)
        for name, backend in (("Vulkan", "vulkan0"), ("CPU", "cpu")):
            if options.only not in (None, name.lower()):
                continue
            folder = pathlib.Path(out) / backend
            folder.mkdir()
            name = f"stable-diffusion.cpp, {name}"
            rows[name] = measure(name, others + ["--run", backend, folder] + ["--fast"] * options.fast, THEIRS,
                                 environment)
            if rows["vksteer"] and rows[name]:
                print(f"pictures of vksteer and {name}: " + "; ".join(
                    difference(f"{out}/{i}.png", folder / f"{i}.png") for i in range(count)), flush=True)
    print_table({name: row for name, row in rows.items() if row})
    sys.exit(0 if all(rows.values()) else 1)


if __name__ == "__main__":
    main()
