"""Whether two folders hold the same golden files; names those that differ.

    python same.py FOLDER OTHER

safetensors files are compared by what is in them: the library writes metadata in an order of its own each time.
"""

import json
import pathlib
import sys


def content(path):
    data = path.read_bytes()
    if path.suffix != ".safetensors":
        return data
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def files(folder):
    return {p.relative_to(folder) for part in ("data", "tokenizer")
            for p in (folder / part).rglob("*") if p.is_file()}


one, other = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
names = files(one) | files(other)
differ = [n for n in sorted(names) if not ((one / n).is_file() and (other / n).is_file() and
                                           content(one / n) == content(other / n))]
for name in differ:
    print("FAIL golden file", name)
print(len(names), "files,", len(differ), "differ")
sys.exit(bool(differ) or not names)
