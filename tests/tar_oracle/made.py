"""Images of layers that readers of tars could take for different things, each made from a number."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

BLOCK = 512
_FOLDERS = ["", "", "lib", "lib", "usr/lib", "a", ".wh..wh.plnk", ".wh..wh.aufs", "link"]
_BASES = ["x.so", "y.so", "a", "lib", "b", "link", "usr", "caf\xe9.so"]
_MARKS = [".wh.", ".wh.", ".wh.", ".wh..wh.", ""]
_TARGETS = ["lib", "usr/lib", "/usr/lib", "../lib", "../../usr/lib", "a", "x.so", "lib/x.so", "./lib/"]
_HARD = ["lib/x.so", "x.so", "./usr/lib/x.so", "/y.so", "link/x.so", "../x.so", "lib/../x.so", "a", "x.so/", "link/"]
_KINDS = ["0"] * 90 + ["5"] * 25 + ["2"] * 20 + ["1"] * 8 + ["\0"] * 16 + ["3", "4", "6", "6", "6", "6", "7", "S", "V"]
_RECORDS = [
    *[("path", "a name")] * 10,
    *[("linkpath", "a target")] * 3,
    *[("size", text) for text in ("", "0", "+0")],
    *[("mtime", text) for text in ("1.5", "-2", "1.", "")],
    *[("uid", text) for text in ("0", "+7", "")],
    ("comment", "anything"),
    ("empty", ""),
    ("GNU.sparse.name", "lib/x.so"),
    ("GNU.sparse.major", "2"),
    ("SCHILY.xattr.user.x", "1\0"),
]
_ODD_RECORDS = [
    ("path", "a name"),
    *[("size", text) for text in ("18", "19", "512", "-1", "x", "0_0", "99999999999999999999")],
    *[("mtime", text) for text in (".5", "1e9", "x")],
    *[("atime", text) for text in ("1.5", "x")],
    *[("uid", text) for text in ("1.0", "99999999999999999999")],
    ("uname", "a\0b"),
    *[("GNU.sparse.major", text) for text in "01"],
    *[("GNU.sparse.minor", text) for text in "01"],
    ("GNU.sparse.size", "0"),
    ("GNU.sparse.numblocks", "0"),
    ("GNU.sparse.map", "0,0"),
    ("GNU.sparse.offset", "0"),
    ("GNU.sparse.numbytes", "0"),
]
_FORMS = ["ustar"] * 6 + ["gnu"] * 4 + ["v7"] * 2 + ["star"]


@dataclass(frozen=True)
class _Written:
    """An entry as it is going to be written."""

    kind: str
    name: str
    target: str
    content: bytes


def make_image(number: int) -> list[bytes]:
    """The layers of one image, the lowest first: mostly well-formed, and odd in a few places."""
    random = Random(number)
    return [_make_layer(random) for _ in range(random.choice([1, 1, 2, 2, 3]))]


def _make_layer(random: Random) -> bytes:
    parts = []
    names: list[str] = []
    for _ in range(random.randint(1, 7)):
        while random.random() < 0.25:
            parts.append(_make_extension(random))
        parts.append(_make_entry(random, names))
    if random.random() < 0.05:
        parts.append(_make_extension(random))
    ends = [bytes(1024)] * 60 + [b"", bytes(512), bytes(512) + b"x" * 512, bytes(700), bytes(10240), bytes(1024) + b"x"]
    layer = b"".join(parts) + random.choice(ends)
    if random.random() < 0.005:
        layer = layer[: random.randrange(len(layer) + 1)]
    return layer


def _make_name(random: Random) -> str:
    if random.random() < 0.01:
        return random.choice(["", ".", "/", "..", "./", ".wh.", ".wh..", "a/.wh...", ".wh..wh..opq", "../../x.so"])
    folder, base = random.choice(_FOLDERS), random.choice(_BASES)
    if random.random() < 0.2:
        mark = random.choice(_MARKS)
        base = f"{mark}{base}" if mark else ".wh..wh..opq"
    name = f"{folder}/{base}" if folder else base
    if random.random() < 0.15:
        name = random.choice(["./", "/", "../", "lib/../", ".//"]) + name
    return name + ("/" if random.random() < 0.06 else "")


def _make_entry(random: Random, names: list[str]) -> bytes:
    """An entry; `names` are those of the files before it, which hard links lead to."""
    kind = random.choice(_KINDS)
    name = _make_name(random)
    target = random.choice(_HARD if kind == "1" else _TARGETS) if kind in "12" or random.random() < 0.05 else ""
    content = b""
    if kind in "0\0" or (kind in "7SV" and random.random() < 0.5):
        content = b"%d" % random.getrandbits(60) * random.choice([0, 1, 1, 30, 60])
    size = len(content)
    if kind not in "0\0" and random.random() < 0.15:
        size = random.choice([1, 511, 512, 4096])  # of what has no content
    padding = -len(content) % BLOCK
    if random.random() < 0.005:
        padding = random.randrange(padding + 1)
    if kind == "1" and names and random.random() < 0.9:
        target = random.choice(names)
    if kind == "0":
        names.append(name)
    header = make_header(random, _Written(kind, name, target, content), size)
    return header + content + bytes(padding)


def make_header(random: Random, entry: _Written, size: int) -> bytes:
    """A header block of one of the formats that there are, its numbers written in one of the ways that there are."""
    form = random.choice(_FORMS)
    block = bytearray(BLOCK)

    def put(start: int, length: int, data: bytes) -> None:
        block[start : start + length] = data[:length].ljust(length, b"\0")

    put(0, 100, entry.name.encode("latin-1"))
    put(100, 8, b"0000644")
    put(108, 8, b"0000000")
    put(116, 8, random.choice([b"0000000", b"     0 ", b"", b"\x80" + bytes(7)]))
    put(124, 12, _number(random, size))
    put(136, 12, random.choice([b"00000000000", b"14000000000 ", b"\xff" * 12, b" 1234 ", b""]))
    put(156, 1, entry.kind.encode("latin-1"))
    put(157, 100, entry.target.encode("latin-1"))
    if form != "v7":
        put(257, 8, b"ustar  \0" if form == "gnu" else random.choice([b"ustar\x0000", b"ustar\x0000", b"ustar\0  "]))
        if random.random() < 0.1:
            put(329, 8, random.choice([b"0000001"] * 20 + [b"what", b""]))
    if form == "star":
        put(508, 4, b"tar\0")
    if random.random() < 0.08:
        put(
            345,
            random.choice([12, 30, 131, 155]),
            random.choice([b"lib", b"a", b"usr/lib", b"00000000000", b"caf\xe9"]),
        )
    if form == "gnu" and random.random() < 0.1:
        put(357, 12, b"00000000000")
    if entry.kind == "S" and random.random() < 0.5:
        block[482] = 1
    total = sum(block[:148]) + 8 * 32 + sum(block[156:])
    if random.random() < 0.05:
        total -= 256 * sum(byte > 127 for byte in block[:148] + block[156:])
    if random.random() < 0.004:
        total += 1
    text = random.choice([b"%06o\0 ", b"%06o\0 ", b"%07o\0", b" %o ", b"%o\0"]) % total
    put(148, 8, text)
    return bytes(block)


def _number(random: Random, value: int) -> bytes:
    forms = [b"%011o" % value] * 12 + [b"%o" % value, b"  %o \0" % value, b"\x80" + value.to_bytes(11, "big")]
    if random.random() < 0.003:
        forms = [b"0o%o" % value, b"%o_" % value, b"9", b"\xff" * 12, b"%o\0007" % value, b"\x80" + b"\x7f" * 11, b"-1"]
    return random.choice(forms)


def _make_extension(random: Random) -> bytes:
    kind = random.choice("xxxxxgLLK")
    if kind in "LK":
        name = _make_name(random) if kind == "L" else random.choice(_TARGETS + _HARD)
        data = name.encode("latin-1") + random.choice([b"\0", b"", b"\0rest"])
    else:
        data = b"".join(_make_record(random) for _ in range(random.choice([0, 1, 1, 1, 2, 3])))
    own = random.choice(["PaxHeaders/x", "././@LongLink", "pax_global_header", _make_name(random)])
    header = make_header(random, _Written(kind, own, "", data), len(data))
    return header + data + bytes(-len(data) % BLOCK)


def _make_record(random: Random) -> bytes:
    key, value = random.choice(_RECORDS if random.random() < 0.97 else _ODD_RECORDS)
    if key == "path":
        value = _make_name(random) if random.random() < 0.9 else ""
    elif key == "linkpath":
        value = random.choice(_TARGETS + _HARD)
    body = b" " + key.encode() + b"=" + value.encode("latin-1") + b"\n"
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    text = str(length)
    if random.random() < 0.02:
        text = random.choice([f"0{length + 1}", f"+{length + 1}"])  # a number all the same
    if random.random() < 0.003:
        text = random.choice([str(length + 1), str(length - 1), "3", "", "x"])
    return text.encode() + body
