"""What is made of parts that name each other by digest: an image, and what is said of it.

An input is a JSON object of texts by name. In a text, `{digest:NAME}` and `{size:NAME}` stand for those of a part that
comes before it, so that a part may change and still be the one that is meant. A text is the part's bytes as Latin-1.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from random import Random

from scripts.oci.descriptor import digest_of
from tests.fuzz.mutate import mutate_bytes, mutate_json, mutate_text

_SIZE = re.compile(r'"(\{size:[a-z0-9-]+\})"')
_PLACE = re.compile(r"\{(digest|size|hex|base64):([a-z0-9-]+)\}")


def make_parts(data: bytes) -> dict[str, bytes]:
    """The parts of an input by name, each with its places filled in. Of what is no input there are none."""
    try:
        texts = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    made: dict[str, bytes] = {}
    for name, text in texts.items() if isinstance(texts, dict) else ():
        filled = _PLACE.sub(lambda found: _fill(found[1], found[2], made), str(text))
        made[name] = filled.encode("latin-1", "replace")
    return made


def _fill(what: str, name: str, made: Mapping[str, bytes]) -> str:
    data = made.get(name, b"")
    if what == "size":
        return str(len(data))
    if what == "base64":
        return base64.b64encode(data).decode()
    return digest_of(data).removeprefix("sha256:" if what == "hex" else "")


def write_parts(texts: Mapping[str, str | bytes]) -> bytes:
    """Parts as an input."""
    plain = {name: text.decode("latin-1") if isinstance(text, bytes) else text for name, text in texts.items()}
    return json.dumps(plain).encode()


def describe(part: str, media_type: str, **fields: object) -> dict[str, object]:
    """The descriptor of a part, with places for its digest and its size."""
    return {"mediaType": media_type, "digest": f"{{digest:{part}}}", "size": f"{{size:{part}}}", **fields}


def dump(value: object) -> str:
    """A part that is JSON, in which sizes are numbers."""
    return _SIZE.sub(r"\1", json.dumps(value))


def mutate_parts(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """One part changed or two: as a JSON value where it is one, else as bytes."""
    texts: dict[str, str] = json.loads(data)  # what is kept is written by this, and can be read
    for _ in range(random.choice((1, 1, 2))):
        name = random.choice([*texts])
        texts[name] = _mutate_part(random, texts[name], texts)
    if random.random() < 0.02:
        del texts[random.choice([*texts])]
    return json.dumps(texts).encode()


def _mutate_part(random: Random, text: str, texts: Mapping[str, str]) -> str:
    if text[:1] in ("{", "[") and random.random() < 0.85:
        # A size is a number: its place stands there as a text until it is filled in.
        quoted = re.sub(r'(?<!")\{size:([a-z0-9-]+)\}', r'"{size:\1}"', text)
        changed = mutate_json(random, quoted.encode("latin-1", "replace")).decode("latin-1")
        return _SIZE.sub(r"\1", changed)
    if random.random() < 0.1:
        return mutate_text(random, text).encode("latin-1", "replace").decode("latin-1")
    raw = [each.encode("latin-1", "replace") for each in texts.values()]
    return mutate_bytes(random, text.encode("latin-1", "replace"), raw).decode("latin-1")
