"""What is read of an image here, held against what an engine unpacks of it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scripts.errors import Undecided
from scripts.oci.layer import Names, scan_layer
from scripts.oci.merge import merge_layers
from scripts.oci.tar import Source, TarMember, spell
from tests.unit.builders import DATA

CORPUS = DATA / "layers.json"


@dataclass(frozen=True)
class File:
    """A plain file; of a sparse one, nothing is known but that it is there."""

    path: str
    content: bytes | None


def keep_file(path: str, member: TarMember, content: Source) -> File:
    return File(path, None if member.kind == "sparse" else content.read(member.size))


def read_here(layers: Sequence[bytes]) -> dict[str, bytes | None]:
    """The files of an image by their paths. Raises Undecided where it is not read."""
    names = Names()
    scanned = [scan_layer(io.BytesIO(layer), "layer", keep_file, names) for layer in layers]
    merged = merge_layers(scanned, "image", lambda file, path: replace(file, path=path))
    return {file.path: file.content for file in merged}


def compare(layers: Sequence[bytes], answer: Mapping[str, Any]) -> str:
    """How what is read here differs from an engine's answer; nothing where it does not.

    What no engine unpacks may be read or not, and what only one of them unpacks may be refused; of what they unpack
    into different files, nothing may be read.
    """
    try:
        found = read_here(layers)
    except Undecided as error:
        return "" if answer.keys() & {"refused", "disagree", "odd"} else f"refused here: {error.problems[0].cause}"
    if "disagree" in answer:
        return "engines disagree, and it is read here"
    if "refused" in answer:
        return ""
    expected = {
        spell(base64.b64decode(path).decode("utf-8", "surrogateescape")): base64.b64decode(content or "")
        for path, content in answer.get("files") or []
    }
    if found.keys() != expected.keys():
        return (
            f"only here: {sorted(found.keys() - expected.keys())}, only there: {sorted(expected.keys() - found.keys())}"
        )
    other = [path for path, content in found.items() if content not in (None, expected[path])]
    return f"other bytes: {sorted(other)}" if other else ""
