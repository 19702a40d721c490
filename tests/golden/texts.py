"""Varied texts for tokenizers, the same for the same seed: what golden files and comparisons are made from."""

import random
import unicodedata

WORDS = """a an the of on in at by with and or to from under over red blue green yellow small large old new photo
don't can't it's they're we've I'm you'll he'd DON'T IT'S They'Re tokenization unbelievable internationalization
antidisestablishmentarianism the theory of relativity supercalifragilistic hello world Hello World HELLO WORLD
e.g. i.e. U.S.A. Mr. Dr. 3rd 21st x86_64 C++ C# F# node.js snake_case camelCase PascalCase kebab-case""".split()
FOREIGN = """naïve café über straße Ελλάδα κόσμος ΣΊΣΥΦΟΣ Привет мир Ёлка 你好 世界 こんにちは カタカナ 안녕하세요 한국어 שלום
עולם مرحبا بالعالم नमस्ते दुनिया สวัสดี ภาษาไทย Việt Nam Đà Nẵng İstanbul ısı Ångström ﬁancé ﬂow ½ ² Ⅳ ① Ⓐ ǅ ß ẞ ŉ ΐ
বাংলা தமிழ் తెలుగు ಕನ್ನಡ മലയാളം ગુજરાતી ਪੰਜਾਬੀ සිංහල မြန်မာ ខ្មែរ ລາວ ქართული Հայերեն አማርኛ ᏣᎳᎩ ᠮᠣᠩᠭᠣᠯ བོད་ཡིག
𝓗𝓮𝓵𝓵𝓸 𐍈𐍃 𠀀𠀁 ٠١٢٣ ०१२३ ๐๑๒ ４５６ 東京都 日本語の文章です。 我今天能为你做什么""".split()
EMOJI = "😀 😂 ❤️ 👍🏽 👨‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇯🇵 ☕ ✈️ 1️⃣ #️⃣ ♥ ★ ☃ 🍕 🐈‍⬛ 🫠 © ™ → 👩🏿‍🚀 🧑‍🤝‍🧑".split()
CODE = ["for (int i = 0; i < n; i++) {\n    a[i] += b[i] * 2.5e-3f;\n}", "def f(x):\n\treturn f\"{x!r:>10}\"\n",
        "<html><body>&nbsp;</body></html>", "SELECT * FROM t WHERE id != 'x' -- comment", "a=b&&c||!d",
        "C:\\path\\file.txt",
        "https://example.org/?q=1&r=a%20b#frag", "#include <stdio.h>\r\n\r\nint main(void)\r\n{\r\n}",
        "x = [1, 2, 3];;;",
        "{\"key\": [1.5, -2e10, null, true]}", "    if x:\n        y()\n\n\n        z()",
        "'s't're've'm'll'd 'S'T'RE'VE",
        "\\begin{equation} \\alpha^2 + \\beta_3 \\end{equation}", "/* ---------- */ // ======",
        "$HOME/.bashrc; ls -la | grep x"]
SPACES = [" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\u3000", "\u2028", "\u0085", "\u1680", "\v", "\f",
          "     ", "\r"]
ODD = ["\u200b", "\u200d", "\ufeff", "\u00ad", "\u180e", "\u2060", "\u0000", "\u0001", "\u001f", "\u007f", "\ufffd",
       "\uffff",
       "\U0010ffff", "\ue000", "\u0301", "\u0345", "\u0308\u0301", "e\u0301", "A\u030a", "\u1100\u1161\u11a8",
       "\uac00",
       "\u2126", "\u212b", "\uf900", "\u0958", "\u0130", "\u0131", "q\u0323\u0307", "q\u0307\u0323", "\u0f71\u0f72",
       "\u017f", "'\u017f", "\u212a", "\u2581", "\u2581\u2581", "_", "\u0120", "\u010a", "\u203f", "\u2019s",
       "\u0149"]
BROKEN = [b"\x80", b"\xff", b"\xc3", b"\xe2\x82", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80",
          b"\xf0\x82\x82\xac",
          b"\xf0\x9f\x98", b"\xe0\x80", b"\xfe\xfe", b"\xf0\x9f", b"\xc3\x28",
          b"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41"]
RANGES = [(0x20, 0x7f), (0x20, 0x7f), (0xa0, 0x250), (0x250, 0x530), (0x590, 0x700), (0x900, 0xe80), (0x1000, 0x1400),
          (0x1e00, 0x2000), (0x2000, 0x2c00), (0x3000, 0x3200), (0x4e00, 0x9fa0), (0xa000, 0xabff), (0xac00, 0xd7a4),
          (0xf900, 0xffe0), (0x10300, 0x10400), (0x1d400, 0x1d800), (0x1f300, 0x1f650), (0, 0x20), (0x20000, 0x20100)]


def random_character(rng):
    """One that is assigned, so that the Unicode versions of all sides know it."""
    low, high = rng.choice(RANGES)
    while True:
        c = chr(rng.randrange(low, high))
        if unicodedata.category(c) not in ("Cn", "Cs"):
            return c


def fixed():
    """Texts that are there in every set."""
    for text in ["", " ", "  ", "   ", "\n", "\n\n", "\t", " \n \n ", "a", " a", "a ", "  a  ", "1234567890",
                 "12345678901234",
                 "3.14159 1,000,000", "a" * 300, " " * 300, "\n" * 100, "\t" * 70, "!" * 100, "=" * 65, "-" * 129,
                 "0" * 50,
                 "don''t ''s '", "hello!!! world!?!", "'s 't 're 'S 'LL", " ".join(WORDS), "\r\n" * 20, " \n" * 20,
                 "a\u0300" * 40]:
        yield text.encode()
    for text in WORDS + FOREIGN + EMOJI + CODE + ODD + SPACES:
        yield text.encode()
        yield f"a{text}b {text} c  {text}".encode()
    for raw in BROKEN:
        yield raw
        yield b"ok " + raw + b" a" + raw


def around(token, rng):
    """A special token in a text: plain, doubled, cut, in spaces."""
    return rng.choice([token, token + token, f" {token} ", f"a{token}b", f"word {token}  word", token[:-1], token[1:],
                       f"\n{token}\n",
                       f"  {token}", f"{token}  ", token.upper(), token.lower()])


def texts(count, seed, special=(), tokens=()):
    """`count` byte strings. special: texts of added tokens; tokens: texts of vocabulary entries."""
    rng, made = random.Random(seed), 0
    for text in fixed():
        if made < count:
            yield text
            made += 1
    pieces = [lambda: rng.choice(WORDS), lambda: rng.choice(WORDS), lambda: rng.choice(FOREIGN),
              lambda: rng.choice(EMOJI),
              lambda: rng.choice(ODD), lambda: rng.choice(SPACES) * rng.randrange(1, 5), lambda: rng.choice(CODE),
              lambda: " " * rng.choice([1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 40, 100]),
              lambda: "\n" * rng.randrange(1, 9),
              lambda: str(rng.randrange(10**rng.randrange(1, 12))),
              lambda: rng.choice("'s 't 're 've 'm 'll 'd 'S 'Ve".split()),
              lambda: random_character(rng),
              lambda: "".join(random_character(rng) for _ in range(rng.randrange(1, 6))),
              lambda: "".join(rng.choice("!?.,;:-_()[]{}<>|/\\'\"@#$%^&*~`+=") for _ in range(rng.randrange(1, 8))),
              lambda: random_character(rng) * rng.randrange(2, 30)]
    if special:
        pieces.append(lambda: around(rng.choice(special), rng))
    if tokens:
        pieces += [lambda: rng.choice(tokens),
                   lambda: "".join(rng.choice(tokens) for _ in range(rng.randrange(2, 5)))]
    while made < count:
        kind, n = rng.randrange(12), rng.randrange(1, 10)
        if kind < 2:
            text = rng.choice([str, str.upper, str.title])(" ".join(rng.choice(WORDS) for _ in range(n)))
        elif kind < 7:
            text = rng.choice(["", " "]).join(rng.choice(pieces)() for _ in range(n))
        elif kind < 9:
            text = "".join(random_character(rng) for _ in range(n * 2))
        else:
            text = "".join(rng.choice(pieces)() for _ in range(n * 2))
        raw = text.encode("utf-8", "replace")
        if kind == 11:
            at = rng.randrange(len(raw) + 1)
            broken = rng.choice([rng.choice(BROKEN), bytes(rng.randrange(256) for _ in range(3))])
            raw = raw[:at] + broken + raw[at + rng.randrange(2):]
        yield raw
        made += 1
