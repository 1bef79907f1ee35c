"""Two layouts of what should be one image: equal, or the files in which they differ."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any, BinaryIO

from zstandard import ZstdDecompressor

from scripts.build.layout import Layout


def compare_layouts(ours: Layout, other: Layout) -> list[str]:
    """One line for each difference: of configuration keys, and of files with what it is that differs in them."""
    if ours.digest == other.digest:
        return []
    lines = list(_compare_objects("configuration", ours.read_config(), other.read_config()))
    for number, (left, right) in enumerate(zip_longest(ours.layers, other.layers), 1):
        if left is None or right is None:
            lines.append(f"layer {number}: only in {'the new' if left is None else 'the old'} image")
        elif left.digest != right.digest:
            found = list(_compare_layers(ours.blob_path(left.digest), other.blob_path(right.digest)))
            lines += [f"layer {number}: {line}" for line in found or ["same files, compressed differently"]]
    return lines or ["the manifests differ in their annotations or media types alone"]


def _compare_objects(name: str, left: dict[str, Any], right: dict[str, Any]) -> Iterator[str]:
    # The layers' own hashes follow from their files, which are compared below.
    for key in sorted((left.keys() | right.keys()) - {"rootfs"}):
        if left.get(key) != right.get(key):
            yield f"{name}: {key}: {left.get(key)!r} became {right.get(key)!r}"


def _compare_layers(left: Path, right: Path) -> Iterator[str]:
    old, new = _read_entries(left), _read_entries(right)
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            yield f"/{name}: gone"
        elif name not in old:
            yield f"/{name}: new"
        elif old[name] != new[name]:
            keys = [key for key in old[name] if old[name][key] != new[name][key]]
            yield f"/{name}: " + ", ".join(f"{key} {_show(old[name][key])} → {_show(new[name][key])}" for key in keys)
    if list(old) != list(new) and old.keys() == new.keys():
        yield "the same files in another order"


def _read_entries(path: Path) -> dict[str, dict[str, Any]]:
    entries = {}
    with path.open("rb") as blob, _decompress(blob) as plain, _open(plain) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isreg() else None
            entries[member.name] = {
                "type": member.type.decode(),
                "mode": oct(member.mode),
                "owner": f"{member.uid}:{member.gid}",
                "mtime": member.mtime,
                "size": member.size,
                "target": member.linkname,
                "content": hashlib.file_digest(stream, "sha256").hexdigest() if stream else "",  # type: ignore[arg-type]
            }
    return entries


def _decompress(blob: BinaryIO) -> IO[bytes]:
    start = blob.read(2)
    blob.seek(0)
    return gzip.open(blob) if start == b"\x1f\x8b" else ZstdDecompressor().stream_reader(blob)  # type: ignore[return-value]


def _open(stream: IO[bytes]) -> tarfile.TarFile:
    return tarfile.open(fileobj=stream, mode="r|")


def _show(value: object) -> str:
    text = str(value)
    return text[:12] if len(text) == 64 else text
