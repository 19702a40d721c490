"""A matrix product of 1024 cubed: OpenBLAS through NumPy beside `vksteer bench matmul` on the same cores.

    python tests/compare/sgemm.py --vksteer build/cli/vksteer [--rounds 9] [--shapes]

The two take turns. Prints GFLOP/s and ratios of every round and their medians, forward and input gradient. The bench
is stopped once it has the square products; with --shapes it runs to its end, and the mean over the built-in model's
own products and convolutions, weighted by work, is printed as well. Says which library NumPy has, and warns where it
is not OpenBLAS.
"""
import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time

import numpy as np

SIZE = 1024
FLOP = 2 * SIZE ** 3


def library():
    """What NumPy was built with, and how many threads it takes where threadpoolctl is there to say."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    name = blas.get("openblas configuration") or f"{blas['name']} {blas.get('version', '')}"
    if "openblas" not in f"{blas['name']} {name}".lower():
        print(f"warning: NumPy has {blas['name']}, not OpenBLAS: these are not README's ratios")
    try:
        import threadpoolctl
    except ImportError:
        threads = os.environ.get("OPENBLAS_NUM_THREADS") or f"as many as it likes of {os.cpu_count()}"
    else:
        pools = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
        threads = ", ".join(f"{pool['num_threads']} ({pool.get('architecture', '?')})" for pool in pools) or "?"
    return f"{' '.join(name.split())}; threads: {threads}"


def openblas(repeat):
    """GFLOP/s of the median product, the first two left out."""
    random = np.random.default_rng(1)
    a, b = (random.standard_normal((SIZE, SIZE), dtype=np.float32) for _ in range(2))
    out = np.empty_like(a)
    times = []
    for _ in range(repeat + 2):
        start = time.perf_counter()
        np.matmul(a, b, out=out)
        times.append(time.perf_counter() - start)
    return FLOP / statistics.median(times[2:]) / 1e9


def vksteer(program, shapes):
    """GFLOP/s by row: `matmul` and `matmul_dx` of the square product, and `mean` with --shapes; and the device."""
    command = [program, "bench", "matmul", "-q"]
    if shapes:
        bench = json.loads(subprocess.run([*command, "--json"], check=True, capture_output=True, text=True).stdout)
        rows = {row["name"]: row["gflops"] for row in bench["results"] if row.get("what") == f"{SIZE} cubed"}
        # The model's rows alone: a row stands for `count` weights of its shape.
        model = [row for row in bench["results"] if not row.get("what", "").endswith(" cubed") and row["ms"] > 0]
        work = sum(2.0 * row["m"] * row["n"] * row["k"] * row["count"] for row in model)
        rows["mean"] = work / sum(row["ms"] * row["count"] for row in model) / 1e6
        return rows, f"{bench['device']}, {bench['driver']}"
    rows = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        device = process.stdout.readline().strip()
        for line in process.stdout:
            words = line.split()
            if line.rstrip().endswith(f"{SIZE} cubed"):
                rows[words[0]] = float(words[words.index("GFLOP/s") - 1])
            if len(rows) == 2:
                process.send_signal(signal.SIGINT)  # it stops where the command line's Ctrl-C does
                break
        process.stdout.read()
    if len(rows) < 2:
        sys.exit(f"{program} measured no product of {SIZE} cubed")
    return rows, device


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vksteer", default="build/cli/vksteer")
    parser.add_argument("--rounds", type=int, default=9,
                        help="the two take turns so often, since machines have moods")
    parser.add_argument("--repeat", type=int, default=15,
                        help="OpenBLAS's products a round, of which the median counts")
    parser.add_argument("--shapes", action="store_true", help="the whole bench: the built-in model's shapes as well")
    args = parser.parse_args()
    print("NumPy  ", library())
    rounds = []
    for _ in range(args.rounds):
        theirs = openblas(args.repeat)
        ours, device = vksteer(args.vksteer, args.shapes)
        rounds.append({"OpenBLAS": theirs, **ours})
        print(f"OpenBLAS {theirs:6.1f}", *(f"{name} {value:6.1f}, ratio {value / theirs:.2f}"
                                           for name, value in ours.items()), sep="; ", flush=True)
    print("device ", device)
    for name in rounds[0]:
        value = statistics.median(one[name] for one in rounds)
        ratio = statistics.median(one[name] / one["OpenBLAS"] for one in rounds)
        beside = "" if name == "OpenBLAS" else f", {ratio:.2f} of OpenBLAS's"
        print(f"median  {name:10} {value:6.1f} GFLOP/s{beside}")


if __name__ == "__main__":
    main()
