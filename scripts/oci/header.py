"""The blocks and records that describe a tar's entries, read as Go's archive/tar reads them, strictly.

Go is the measure because engines unpack with it. Everything that it refuses is refused here (`TarDamage`), and what it
takes is taken for the same.
"""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

BLOCK = 512
SPARSE_MORE = 504  # where a block of an old GNU sparse map says whether another one follows

_NUMBERS = ((100, 108), (108, 116), (116, 124), (124, 136), (136, 148))  # mode, uid, gid, size, mtime
_FIELDS = {100: "mode", 108: "uid", 116: "gid", 124: "size", 136: "mtime"}
_DEVICES = ((329, 337), (337, 345))
_STAR_TIMES = ((476, 488), (488, 500))
_GNU_TIMES = ((345, 357), (357, 369))
_OCTAL = re.compile(rb"[0-7]+")
# Of the five numbers together, and of what is there where there is nothing, as nearly all tars have it.
_USUAL = re.compile(rb"([0-7]{7})\0([0-7]{7})\0([0-7]{7})\0([0-7]{11})\0([0-7]{11})\0")
_USUAL_SUM = re.compile(rb"([0-7]{6})\0 ")
_NO_DEVICES = (bytes(16), b"0000000\0" * 2)
_NO_TIMES = bytes(24)
_WHOLE = re.compile(r"[+-]?0*([0-9]{1,19})", re.ASCII)
_RECORD = re.compile(rb"\+?0*([0-9]{1,7}) ([^=\0]+)=")
_TIME = re.compile(r"[+-]?[0-9]{1,18}(?:\.[0-9]*)?", re.ASCII)
_FRACTION = re.compile(r"[0-9]*", re.ASCII)
_NAMES = ("path", "linkpath", "uname", "gname")
_SPARSE_MAP, _SPARSE_OFFSET, _SPARSE_LENGTH = "GNU.sparse.map", "GNU.sparse.offset", "GNU.sparse.numbytes"
_LIMIT = 1 << 63


class TarDamage(ValueError):
    """What makes a header unreadable, in a few words."""


class TarHeader(NamedTuple):
    """A header block. `kind` is its type's one byte; `is_gnu` and `has_more` are about old GNU sparse files."""

    kind: bytes
    name: str
    target: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    is_gnu: bool
    has_more: bool


def parse_header(block: bytes) -> TarHeader:
    """A block that is not empty. Raises TarDamage where it is no header."""
    _check_sum(block)
    if usual := _USUAL.match(block, 100):
        mode, uid, gid, size, mtime = [int(digits, 8) for digits in usual.groups()]
    else:
        mode, uid, gid, size, mtime = [_number(block[start:end], start) for start, end in _NUMBERS]
    magic = block[257:263]
    is_star = magic == b"ustar\0" and block[508:512] == b"tar\0"
    is_gnu = block[257:265] == b"ustar  \0"
    if magic == b"ustar\0" or is_gnu:
        for start, end in (() if block[329:345] in _NO_DEVICES else _DEVICES) + (_STAR_TIMES if is_star else ()):
            _number(block[start:end], start)
    prefix = b""
    if magic == b"ustar\0":
        prefix = block[345 : 476 if is_star else 500]
    elif (
        is_gnu and block[345:369] != _NO_TIMES and not _has_gnu_times(block)
    ):  # Go once wrote a prefix where GNU has times, and still reads it
        prefix = block[345:500].partition(b"\0")[0]
        prefix = prefix if prefix.isascii() else b""
    name, above = read_text(block[:100]), read_text(prefix) if prefix and prefix[0] else ""
    return TarHeader(
        block[156:157],
        f"{above}/{name}" if above else name,
        read_text(block[157:257]) if block[157] else "",
        mode,
        uid,
        gid,
        size,
        mtime,
        is_gnu,
        block[482] > 0,
    )


def read_records(data: bytes) -> dict[str, str]:
    """The attributes of a pax header: each is its length, a space, key=value and a newline; of two, the later counts.

    Raises TarDamage where one of them is anything else.
    """
    found: dict[str, str] = {}
    sparse: list[str] = []
    start = 0
    while start < len(data):
        record = _RECORD.match(data, start)
        end = start + int(record[1]) if record else 0
        if record is None or not record.end() < end <= len(data) or data[end - 1] != ord("\n"):
            raise TarDamage("an entry's attributes cannot be read")
        key = record[2].decode("utf-8", "surrogateescape")
        value = data[record.end() : end - 1].decode("utf-8", "surrogateescape")
        if key in _NAMES and "\0" in value:
            raise TarDamage(f"an entry's {key} has a NUL")
        if key in (_SPARSE_OFFSET, _SPARSE_LENGTH):
            if key != (_SPARSE_LENGTH if len(sparse) % 2 else _SPARSE_OFFSET) or "," in value:
                raise TarDamage("a sparse file's map cannot be read")
            sparse.append(value)
        else:
            found[key] = value
        start = end
    if sparse:
        found[_SPARSE_MAP] = ",".join(sparse)
    return found


def parse_whole(text: str) -> int:
    """A whole number of a pax record, of 64 bits. Raises TarDamage for anything else."""
    match = _WHOLE.fullmatch(text)
    number = int(match[1]) * (-1 if text.startswith("-") else 1) if match else _LIMIT
    if not -_LIMIT <= number < _LIMIT:
        raise TarDamage("not a whole number of 64 bits")
    return number


def read_time(text: str) -> float:
    """Seconds of a pax record, perhaps with a fraction. Raises TarDamage for anything else."""
    if _TIME.fullmatch(text):
        return float(text)
    whole, point, fraction = text.partition(".")
    if not _FRACTION.fullmatch(fraction):
        raise TarDamage("not a time")
    seconds = parse_whole(whole)
    return float(f"{whole}.{fraction[:9]}") if point and fraction else seconds


def read_text(data: bytes) -> str:
    """A name up to its NUL."""
    return data.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _check_sum(block: bytes) -> None:
    """A header's bytes add up, its own field taken for spaces; or they do with signed bytes, as old Sun tars have it.

    Raises TarDamage where they do not.
    """
    total = _add(block[:256]) + _add(block[256:]) - _add(block[148:156]) + 8 * ord(" ")
    usual = _USUAL_SUM.match(block, 148)
    expected = int(usual[1], 8) if usual else _octal(block[148:156])
    if expected != total:
        high = sum(byte > 127 for byte in block[:148] + block[156:])
        if expected != total - 256 * high:
            raise TarDamage("no tar entry")


def _add(data: bytes) -> int:
    """The sum of up to 256 bytes: Adler's checksum has it, plus one, and is twenty times as fast as `sum`."""
    return (zlib.adler32(data) & 0xFFFF) - 1


def _octal(field: bytes) -> int:
    """A number in octal between spaces and NULs, 0 where there is none; -1 for what is no number."""
    digits = field.strip(b" \0").partition(b"\0")[0]
    if not digits:
        return 0
    return int(digits, 8) if _OCTAL.fullmatch(digits) else -1


def _number(field: bytes, start: int) -> int:
    """A number in octal, or in base 256 where the first bit is set; the next one is that one's sign."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        value -= (1 << (8 * len(field) - 1)) if field[0] & 0x40 else 0
        fits = -_LIMIT <= value < _LIMIT
    else:
        value = _octal(field)
        fits = value >= 0
    if not fits:
        raise TarDamage(f"an entry's {_FIELDS.get(start, 'device or time')} is not a number")
    return value


def _has_gnu_times(block: bytes) -> bool:
    try:
        for start, end in _GNU_TIMES:
            if block[start]:
                _number(block[start:end], start)
    except TarDamage:
        return False
    return True
