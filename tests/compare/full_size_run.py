#!/usr/bin/env python3
"""Runs a model of full size and says what each stage takes: time, GFLOP/s, device memory beside the plan, own memory.

    python3 full_size_run.py VKSTEER FOLDER [--picture] [--train SIZE]

FOLDER is a diffusers folder, such as full_size.py writes with --random. --picture: a picture at the model's own size
and steps (where it takes a minute, the first, with what the driver compiles). --train: a LinEAS step at
`unet.*norm.*`, batch 1, of pictures of SIZE pixels; its time holds the compiling. On a machine that does other work
too, read processor time. Linux alone tells a process's memory. Python's standard library alone.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import tempfile
import threading
import time

MIB = 1 << 20


def own_memory(pid):
    """Bytes that the process holds, without mapped files."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    kib = [int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:"))]
    return 1024 * sum(kib)


def run(*command):
    """The program's JSON, the seconds at which it said something, and the most memory that it held."""
    said, most, start = [], [0], time.monotonic()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    env = dict(os.environ, VKSTEER_DISABLE=os.environ.get("VKSTEER_DISABLE", "awake"))  # whose spinning is no work
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, env=env)

    def listen():
        for line in process.stderr:
            said.append((time.monotonic() - start, line.strip()))
            print(f"    {said[-1][0]:7.1f} s  {said[-1][1]}", flush=True)

    def watch():
        while process.poll() is None:
            most[0] = max(most[0], own_memory(process.pid))
            time.sleep(0.1)

    threads = [threading.Thread(target=work) for work in (listen, watch)]
    for thread in threads:
        thread.start()
    out = process.stdout.read()
    for thread in threads:
        thread.join()
    if process.wait():
        raise SystemExit(f"{command[1]} ended with {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{command[1]}: {time.monotonic() - start:.1f} s, {after.ru_utime - before.ru_utime:.1f} s of "
          f"processor time and {after.ru_stime - before.ru_stime:.1f} s in the system", flush=True)
    return json.loads(out), said, most[0]


def picture(vksteer, folder):
    bench, _said, most = run(vksteer, "bench", "apply", "-m", folder, "--json")
    print(f"{bench['device']}, {bench['driver']}")
    print("| stage | seconds | GFLOP/s | device memory, MiB | planned | off | loaded in, s |\n"
          "|---|---|---|---|---|---|---|")
    device = 0
    for row in bench["results"]:
        line = f"| {row['what']} | {row['ms'] / 1e3:.2f} | {row['gflops']:.1f} |"
        if "planned_bytes" in row:
            planned, took = row["planned_bytes"], row["device_bytes"]
            device += took
            line += (f" {took / MIB:.1f} | {planned / MIB:.1f} | {100 * (took / planned - 1):+.1f} % | "
                     f"{row['load_seconds']:.1f} |")
        print(line + ("" if "planned_bytes" in row else " | | | |"))
    print(f"the process held {most / MIB:.0f} MiB at most; {device / MIB:.0f} MiB are those of the stages")


def train(vksteer, folder, size):
    with tempfile.TemporaryDirectory() as work:
        names = [pathlib.Path(work, name) for name in ("source.txt", "target.txt", "out.safetensors")]
        names[0].write_text("a photo of a cat\n")
        names[1].write_text("a drawing of a cat\n")
        both = ("--sites", "unet.*norm.*", "--batch", 1, "--json", "-W", size, "-H", size)
        plan, _said, _most = run(vksteer, "info", "-m", folder, "--plan", *both)
        result, said, most = run(vksteer, "train", "-m", folder, "--source", names[0], "--target", names[1],
                                 "-o", names[2], "--steps", 1, "--refit", 0, "--force", *both)
    plan, seconds, peak = plan["plan"], result["seconds"], result["device_peak_bytes"]
    again = any("--recompute" in line for _at, line in said)
    planned = plan["train_recompute_peak_bytes" if again else "train_peak_bytes"]
    prompts = min((at for at, line in said if line.startswith("vksteer: prompts")), default=0)
    end = max(at for at, _line in said)
    print(f"a LinEAS step, batch 1, {size} x {size}{', recomputing' if again else ''}: {seconds:.1f} s, "
          f"{plan['train_flop'] / seconds / 1e9:.1f} GFLOP/s; before it {end - seconds - prompts:.1f} s of prompts, "
          f"weights and targets")
    print(f"device memory {peak / MIB:.1f} MiB at most, planned {planned / MIB:.1f} "
          f"({100 * (peak / planned - 1):+.1f} %); the process held {most / MIB:.0f} MiB at most")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vksteer", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--picture", action="store_true")
    parser.add_argument("--train", type=int, metavar="SIZE")
    options = parser.parse_args()
    if options.picture:
        picture(options.vksteer, options.folder)
    if options.train:
        train(options.vksteer, options.folder, options.train)


if __name__ == "__main__":
    main()
