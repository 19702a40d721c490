#!/usr/bin/env python3
"""What the command line's tests ask of pictures, 8-bit RGB as the program writes them. Python's standard library
alone.

    png.py pixels FILE                        a hash of the picture without its texts
    png.py distance A B                       the largest difference of two, in steps of 1/255
    png.py size FILE                          WIDTHxHEIGHT, of a whole PNG
    png.py text FILE KEY                      one of its texts
    png.py shown kitty|iterm|sixel FILE SENT  fails unless what a terminal was sent is the picture
"""
import base64
import hashlib
import re
import struct
import sys
import zlib


def chunks(path):
    """(kind, body) of each part of a file."""
    data, at = open(path, "rb").read(), 8
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        yield kind, data[at + 8:at + 8 + size]
        at += 12 + size


def unpack(path):
    """(width, height, filtered rows) of a file."""
    idat = b""
    for kind, body in chunks(path):
        if kind == b"IHDR":
            width, height = struct.unpack(">II", body[:8])
        idat += body if kind == b"IDAT" else b""
    return width, height, zlib.decompress(idat)


def text(path, wanted):
    """A tEXt or iTXt chunk, neither compressed nor of a language."""
    for kind, body in chunks(path):
        key, _, value = body.partition(b"\0")
        if kind in (b"tEXt", b"iTXt") and key.decode() == wanted:
            return (value if kind == b"tEXt" else value.split(b"\0", 4)[-1]).decode()
    sys.exit(f"{path} has no text {wanted}")


def read(path):
    """(width, height, values): of all rows, one after another."""
    width, height, raw = unpack(path)
    rows, above = [], [0] * (3 * width)
    for y in range(height):
        line, row = raw[y * (3 * width + 1):(y + 1) * (3 * width + 1)], []
        for i, byte in enumerate(line[1:]):
            a, b, c = (row[i - 3] if i > 2 else 0), above[i], (above[i - 3] if i > 2 else 0)
            near = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            row.append((byte + (0, a, b, (a + b) // 2, near)[line[0]]) & 255)
        rows, above = rows + row, row
    return width, height, rows


def size(path):
    width, height, raw = unpack(path)
    assert open(path, "rb").read(8) == b"\x89PNG\r\n\x1a\n" and len(raw) == height * (3 * width + 1)
    return f"{width}x{height}"


def check_kitty(path, text):
    width, height, rows = read(path)
    pieces = re.findall(rb"\x1b_G([^;]*);([^\x1b]*)\x1b\\", text)
    assert b"s=%d,v=%d" % (width, height) in pieces[0][0] and all(len(p) <= 4096 for _, p in pieces)
    assert [k[-3:] for k, _ in pieces] == [b"m=1"] * (len(pieces) - 1) + [b"m=0"]
    assert base64.b64decode(b"".join(p for _, p in pieces)) == bytes(rows)


def check_iterm(path, text):
    assert base64.b64decode(re.search(rb"\x1b\]1337;File=inline=1:([^\a]*)\a", text)[1]) == open(path, "rb").read()


def check_sixel(path, text):
    width, height, rows = read(path)
    body = re.search(rb"\x1bPq([^\x1b]*)\x1b\\", text)[1].decode().replace("\r", "").replace("\n", "")
    colors = {int(n): [round(int(v) * 2.55) for v in rest.split(";")]
              for n, rest in re.findall(r"#(\d+);2;([\d;]+)", body)}
    got, x, top, color = {}, 0, 0, 0
    for word in re.findall(r"#\d+(?:;[\d;]+)?|\$|-|\"[\d;]+|[?-~]", body):
        if word[0] == "#" and ";" not in word:
            color = int(word[1:])
        elif word == "$":
            x = 0
        elif word == "-":
            x, top = 0, top + 6
        elif len(word) == 1 and "?" <= word <= "~":
            for bit in range(6):
                if ord(word) - 63 >> bit & 1:
                    got[top + bit, x] = colors[color]
            x += 1
    assert len(got) == width * height, len(got)
    assert max(abs(v - rows[3 * (y * width + x) + k]) for (y, x), rgb in got.items() for k, v in enumerate(rgb)) <= 26


def main():
    what, *rest = sys.argv[1:]
    if what == "pixels":
        print(hashlib.sha256(unpack(rest[0])[2]).hexdigest())
    elif what == "distance":
        print(max(abs(x - y) for x, y in zip(read(rest[0])[2], read(rest[1])[2])))
    elif what == "size":
        print(size(*rest))
    elif what == "text":
        print(text(*rest))
    else:
        kind, path, sent = rest
        {"kitty": check_kitty, "iterm": check_iterm, "sixel": check_sixel}[kind](path, open(sent, "rb").read())


main()
