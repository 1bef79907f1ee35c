"""What was found in layers, kept by the digest of their plain bytes: another image with the same layer reads it here.

A layer is kept whole and in its order, for what it does to others depends on them: a plain file hides a library of a
lower layer, a directory takes the place of a link. A path alone is a plain file, one that ends with `/` a directory;
anything else is a list of its path, its kind, and what belongs to it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from scripts.audit.library import VERSION as READER
from scripts.audit.library import Library, dump_libraries, load_libraries
from scripts.files import parse_json, write_atomic
from scripts.oci.layer import Found, Layer, Link, Mark, What

VERSION = [2, READER]  # of this form, and of what is read out of a library


@dataclass(frozen=True)
class LibraryShelf:
    """A folder with one file for each layer; what is damaged there, or of another version, is not there."""

    folder: Path

    def recall(self, diff_id: str) -> Layer[Library] | None:
        """The layer whose plain bytes have this digest, or None."""
        try:
            kept = parse_json(self._path(diff_id).read_bytes())
            entries = kept["entries"]
            if kept["version"] != VERSION or kept["diff_id"] != diff_id or kept["check"] != _check(entries):
                return None
            return Layer([_load(value) for value in entries], diff_id)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def keep(self, layer: Layer[Library]) -> None:
        """Keep a layer. Raises Undecided on a full disk."""
        entries = [_dump(path, what) for path, what in layer.entries]
        kept = {"version": VERSION, "diff_id": layer.diff_id, "check": _check(entries), "entries": entries}
        write_atomic(self._path(layer.diff_id), _dump_json(kept))

    def _path(self, diff_id: str) -> Path:
        return self.folder / f"{diff_id.removeprefix('sha256:')}.json"


def _dump_json(value: Any) -> bytes:
    """As ASCII: a name that is no UTF-8 comes back as it was."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _check(entries: list[Any]) -> str:
    return hashlib.sha256(_dump_json(entries)).hexdigest()


def _dump(path: str, what: What[Library]) -> str | list[Any]:
    if what == "file":
        return path
    if what == "directory":
        return f"{path}/"
    if isinstance(what, Found):
        return [path, "library", *dump_libraries([what.what])]
    if isinstance(what, Link):
        return [path, "hard" if what.hard else "link", what.target]
    return [path, what]


def _load(value: Any) -> tuple[str, What[Library]]:
    if isinstance(value, str):
        return (value[:-1], "directory") if value.endswith("/") else (value, "file")
    path, kind, *rest = value
    if kind in get_args(Mark) and not rest:
        return path, kind
    [only] = rest
    readers: dict[str, Callable[[Any], What[Library]]] = {
        "library": lambda item: Found(load_libraries([item])[0]),
        "link": Link,
        "hard": lambda item: Link(item, hard=True),
    }
    return path, readers[kind](only)
