"""Inputs that are nearly right: bytes, JSON and TOML, changed in a few places. The same `random`, the same input."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from random import Random
from typing import Any

LARGEST = 1 << 18  # bytes of an input: what costs much from little is what is looked for
Span = tuple[int, int]

_NUMBERS = [0, 1, 2, 10, 127, 128, 255, 256, 512, 4096, (1 << 15) - 1, 1 << 15, (1 << 16) - 1, 1 << 16]
_NUMBERS += [(1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
_ODD_TEXTS = [
    *["", " ", ".", "..", "/", "../../x", "a/b", "C:\\x", "-", "0", "-1", "00", "1e9", "true", "None", "latest"],
    *[
        "\0",
        "\n",
        "\r",
        "\x1b[2J",
        "\u202e",
        "\u2028",
        "\x7f",
        "\ud800",
        "\U0010ffff",
        "é",
        "١٢",
        "Ⅷ",
        "\ufeff",
        "\xa0",
    ],
    *["::error::no", "##[error]no", "%0A", "`", "|", "<b>", "&amp;", "$(x)", "{}", "%s", '"', "'", "\\", "[x](y)"],
    *["sha256:", f"sha256:{'0' * 64}", f"sha256:{'0' * 63}", f"sha512:{'0' * 128}", "0" * 64, "https://", "x" * 300],
    *["12", "12.10", "120", "9.0a", "2026-13-45T99:99:99Z", "9999-12-31T23:59:59Z", "linux/amd64", "x" * 5000],
]
# What the writers of JSON and TOML cannot write, by the text that stands for it until it is written.
_RAW = {
    "@deep@": "[" * 3000 + "]" * 3000,
    "@tables@": '{"a":' * 1500 + "1" + "}" * 1500,
    "@digits@": "9" * 5000,
    "@large@": "1" + "0" * 400,
    "@huge@": "1e999",
    "@minus@": "-0",
    "@date@": "1979-05-27T07:32:00Z",
    "@half@": '"\\ud800"',
    "@bare@": "nan",
}
_ODD_VALUES: list[Any] = [None, True, False, [], {}, [[]], [None], {"": None}, math.nan, math.inf, 0.5, -1, -0.0, *_RAW]
_KEY = re.compile(r'[{,]\s*("[^"\\]*"\s*:)')
_DIGITS = re.compile(rb"[0-9]+")


def mutate_bytes(random: Random, data: bytes, others: Sequence[bytes], hot: Sequence[Span] = ()) -> bytes:
    """Some bytes changed in one place or a few; `hot` are spans in which most of the changes are made."""
    body = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 5))):
        start, end = random.choice(hot) if hot and random.random() < 0.8 else (0, len(body))
        place = random.randrange(start, max(start + 1, min(end, len(body))))
        random.choice(_STEPS)(random, body, min(place, len(body)), others)
    return bytes(body[:LARGEST])


def _flip(random: Random, body: bytearray, place: int, others: Sequence[bytes]) -> None:
    if place < len(body):
        body[place] ^= 1 << random.randrange(8)


def _set(random: Random, body: bytearray, place: int, others: Sequence[bytes]) -> None:
    if place < len(body):
        body[place] = random.choice((0, 1, 0x20, 0x2F, 0x7F, 0x80, 0xFF, random.randrange(256)))


def _number(random: Random, body: bytearray, place: int, others: Sequence[bytes]) -> None:
    width = random.choice((1, 2, 4, 4, 8, 8))
    place -= place % width if random.random() < 0.7 else 0
    value = random.choice((*_NUMBERS, len(body))) + random.choice((0, 0, 0, -1, 1, 8, -8))
    data = (value % (1 << (8 * width))).to_bytes(width, random.choice(("little", "little", "big")))
    body[place : place + width] = data[: max(0, len(body) - place)]


def _digits(random: Random, body: bytearray, place: int, others: Sequence[bytes]) -> None:
    """Another number in the place of one that is written in digits."""
    if found := _DIGITS.search(body, place):
        text = str(random.choice(_NUMBERS)).encode()
        same = text[: len(found[0])].rjust(len(found[0]), b"0")
        body[found.start() : found.end()] = same if random.random() < 0.5 else text


def _cut(random: Random, body: bytearray, place: int, others: Sequence[bytes]) -> None:
    if random.random() < 0.3:
        del body[place:]
    else:
        del body[place : place + random.choice((1, 2, 8, 64, 512))]


def _insert(random: Random, body: bytearray, place: int, others: Sequence[bytes]) -> None:
    size = random.choice((1, 2, 4, 8, 16, 64, 512, 4096))
    body[place:place] = random.choice((bytes(size), b"\xff" * size, random.randbytes(size), b" " * size, b"[" * size))


def _repeat(random: Random, body: bytearray, place: int, others: Sequence[bytes]) -> None:
    span = bytes(body[place : place + random.choice((1, 8, 46, 64, 512))])
    body[place:place] = span * random.choice((1, 1, 2, 16, 256))


def _splice(random: Random, body: bytearray, place: int, others: Sequence[bytes]) -> None:
    other = random.choice(others) if others else bytes(body)
    start = random.randrange(len(other) + 1)
    size = random.choice((8, 64, 512, len(other)))
    body[place : place + random.choice((0, size))] = other[start : start + size]


def _copy(random: Random, body: bytearray, place: int, others: Sequence[bytes]) -> None:
    """A span written over another one."""
    size = random.choice((2, 4, 8, 16, 64))
    start = random.randrange(len(body) + 1)
    body[place : place + size] = body[start : start + size]


_Step = Callable[[Random, bytearray, int, Sequence[bytes]], None]
_STEPS: tuple[_Step, ...] = (_flip, _set, _number, _number, _digits, _cut, _insert, _repeat, _splice, _copy)


def mutate_text(random: Random, text: str) -> str:
    """A text with something odd in it, or in its place."""
    odd = random.choice(_ODD_TEXTS)
    place = random.randrange(len(text) + 1)
    how = random.random()
    if how < 0.4:
        return odd
    if how < 0.7:
        return text[:place] + odd + text[place:]
    if how < 0.85:
        return text[:place]
    return text * random.choice((2, 3, 50)) if len(text) < 1000 else text[place:]


def mutate_value(random: Random, value: Any) -> Any:
    """A JSON value, changed where it stands in a place or a few; what comes back is the changed one."""
    top = [value]
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 6))):
        holder, key = _pick(random, top)
        _change(random, holder, key, top)
    return top[0]


def _pick(random: Random, top: list[Any]) -> tuple[Any, Any]:
    holder: Any = top
    key: Any = 0
    while isinstance(value := holder[key], dict | list) and value and random.random() < 0.85:
        holder, key = value, random.choice([*value]) if isinstance(value, dict) else random.randrange(len(value))
    return holder, key


def _change(random: Random, holder: Any, key: Any, top: list[Any]) -> None:
    value, how = holder[key], random.random()
    if how < 0.15 and holder is not top:
        del holder[key]
    elif how < 0.3 and isinstance(holder, dict):
        holder[mutate_text(random, key)] = holder.pop(key) if random.random() < 0.5 else value
    elif how < 0.3 and holder is not top:
        holder[key:key] = [value] * random.choice((1, 1, 2, 40))
    elif how < 0.55 and isinstance(value, str):
        holder[key] = mutate_text(random, value)
    elif how < 0.55 and isinstance(value, int):
        holder[key] = random.choice((value + 1, value - 1, -value, *_NUMBERS, -(1 << 63)))
    elif how < 0.65:
        holder[key] = random.choice(([value], {"": value}, [value, value], str(value)[:1000]))
    elif how < 0.75 and isinstance(other := _peek(random, top), str | int | float | bool | None):
        holder[key] = other
    elif how < 0.85:
        holder[key] = random.choice(_ODD_TEXTS)
    else:
        holder[key] = deepcopy(random.choice(_ODD_VALUES))


def _peek(random: Random, top: list[Any]) -> Any:
    holder, key = _pick(random, top)
    return holder[key]


def mutate_json(random: Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """A JSON document changed as a value, perhaps with a key twice then; of what is none, the bytes."""
    try:
        value = mutate_value(random, json.loads(data))
        return write_json(random, value, others, indent=random.choice((None, None, 1)))
    except (ValueError, RecursionError):
        return mutate_bytes(random, data, others)


def write_json(random: Random, value: Any, others: Sequence[bytes] = (), *, indent: int | None = None) -> bytes:
    """A value as JSON, now and then with a mistake in it."""
    text = _put_raw(json.dumps(value, indent=indent, sort_keys=indent is not None, ensure_ascii=random.random() < 0.5))
    if random.random() < 0.1 and (keys := [*_KEY.finditer(text)]):
        twice = random.choice(keys)
        text = f"{text[: twice.start(1)]}{twice[1]} {random.choice(('null', '1', '[]'))}, {text[twice.start(1) :]}"
    data = text.encode("utf-8", "surrogatepass")
    return mutate_bytes(random, data, others) if random.random() < 0.1 else data[:LARGEST]


def write_toml(value: dict[str, Any]) -> str:
    """A table as TOML: each of its keys on a line, whatever is in it on the same one."""
    lines = (f"{json.dumps(key, ensure_ascii=False)} = {_inline(each)}" for key, each in value.items())
    return _put_raw("\n".join(lines)) + "\n"


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{json.dumps(key, ensure_ascii=False)} = {_inline(v)}" for key, v in value.items()) + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def _put_raw(text: str) -> str:
    if "@" in text:
        for token, raw in _RAW.items():
            text = text.replace(f'"{token}"', raw)
    return text
