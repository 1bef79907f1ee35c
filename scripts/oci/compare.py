"""Two layouts of what should be one image: equal, or the files in which they differ."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any

from scripts.files import CHUNK
from scripts.oci.descriptor import Descriptor
from scripts.oci.layer import normalise, reading_layer
from scripts.oci.layout import Layout, LayoutStore
from scripts.oci.tar import Source, spell

_Pair = tuple[int | None, int | None]  # positions of a layer in the old image and in the new one


@dataclass(frozen=True)
class _Contents:
    """A layer's entries by path, in their order, and the digest of its plain bytes."""

    entries: dict[str, dict[str, Any]]
    diff_id: str


def compare_layouts(ours: Layout, other: Layout) -> list[str]:
    """One line for each difference: of configuration keys, and of files with what it is that differs in them.

    Layers of the same content belong together, wherever they are; what is left over is compared pair by pair. Raises
    BuildFailed or Undecided for a layout that is damaged.
    """
    if ours.digest == other.digest:
        return []
    lines = list(_compare_objects("configuration", ours.read_config(), other.read_config()))
    old, new = ours.layers, other.layers
    pairs = _align(ours.diff_ids, other.diff_ids)
    for left, right in pairs:
        if left is None or right is None:
            lines.append(f"layer {_first(left, right) + 1}: only in the {'new' if left is None else 'old'} image")
        elif old[left].digest != new[right].digest:
            place = f"layer {right + 1}" + (f" ({left + 1} before)" if left != right else "")
            lines += [f"{place}: {line}" for line in _compare_layers(ours, old[left], other, new[right])]
    lines += _find_moved(pairs)
    return lines or ["the manifests differ in their annotations or media types alone"]


def _align(old: tuple[str, ...], new: tuple[str, ...]) -> list[_Pair]:
    """Which layer belongs to which, in the order of the new image.

    First those of one content that kept their order, then those of one content that lost it, then those that stand in
    the same place between others.
    """
    pairs: list[_Pair] = []
    gaps: list[tuple[list[int], list[int]]] = []
    for kind, start, end, new_start, new_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            pairs += zip(range(start, end), range(new_start, new_end), strict=True)
        else:
            gaps.append((list(range(start, end)), list(range(new_start, new_end))))
    lost = [position for gone, _ in gaps for position in gone]
    for _, come in gaps:
        for position in list(come):
            moved = next((number for number in lost if old[number] == new[position]), None)
            if moved is not None:
                lost.remove(moved)
                come.remove(position)
                pairs.append((moved, position))
    for gone, come in gaps:
        pairs += zip_longest([number for number in gone if number in lost], come)
    return sorted(pairs, key=lambda pair: (_first(pair[1], pair[0]), _first(pair[0])))


def _find_moved(pairs: list[_Pair]) -> Iterator[str]:
    """A line for each layer that now comes before one that it came after."""
    highest = -1
    for left, right in pairs:
        if left is None or right is None:
            continue
        if left < highest:
            yield f"layer {right + 1}: moved, it was layer {left + 1} among the same others"
        highest = max(highest, left)


def _first(*positions: int | None) -> int:
    """The first position that is one."""
    return next((position for position in positions if position is not None), -1)


def _compare_objects(name: str, left: dict[str, Any], right: dict[str, Any]) -> Iterator[str]:
    # The layers' own hashes follow from their files, which are compared below.
    for key in sorted((left.keys() | right.keys()) - {"rootfs"}):
        if left.get(key) != right.get(key):
            yield f"{name}: {key}: {left.get(key)!r} became {right.get(key)!r}"


def _compare_layers(ours: Layout, left: Descriptor, other: Layout, right: Descriptor) -> Iterator[str]:
    old, new = _read_contents(ours, left), _read_contents(other, right)
    if old.diff_id == new.diff_id:
        yield "same files, compressed differently"
        return
    found = list(_compare_entries(old.entries, new.entries))
    yield from found or ["the same files, written in another way"]


def _compare_entries(old: dict[str, dict[str, Any]], new: dict[str, dict[str, Any]]) -> Iterator[str]:
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


def _read_contents(layout: Layout, blob: Descriptor) -> _Contents:
    place = f"{layout.folder}, layer {blob.digest}"
    entries = {}
    with LayoutStore(layout.folder).open(blob) as stream, reading_layer(stream, place) as (reader, plain):
        for member, content in reader:
            if member.kind == "global":
                continue
            entries[spell(normalise(member.name))] = {
                "type": member.kind,
                "mode": oct(member.mode),
                "owner": f"{member.uid}:{member.gid}",
                "mtime": member.mtime,
                "size": member.size,
                "target": spell(member.target),
                "content": _hash(content) if member.kind in ("file", "sparse") else "",
            }
    return _Contents(entries, plain.digest)


def _hash(content: Source) -> str:
    hasher = hashlib.sha256()
    while data := content.read(CHUNK):
        hasher.update(data)
    return hasher.hexdigest()


def _show(value: object) -> str:
    text = str(value)
    return text[:12] if len(text) == 64 else text
