"""One layer of an image, read as it passes: what a visitor keeps of its files, and what it does to layers beneath it.

Format: https://github.com/opencontainers/image-spec/blob/main/layer.md
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from scripts.files import CHUNK
from scripts.oci.decompress import Plain, naming_damage
from scripts.oci.tar import Source, TarMember, TarReader
from scripts.room import Tally

# Bytes of names kept for one image: some million files, twice the largest known image.
MOST_NAMES = 1 << 28
# Bytes behind the mark that ends a layer: tars are filled up to 10 kB, and what comes there is read for its hash alone.
MOST_BEHIND = 1 << 26

_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
_ENTRY_BYTES = 200
_AT_ONCE = 1 << 12  # bytes of names that are noted together

Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link, or a hard link to another path of the image; the target as it stands in the layer."""

    target: str
    hard: bool = False


@dataclass(frozen=True, slots=True)
class Found(Generic[Kept]):
    """A file that the visitor keeps something of."""

    what: Kept


Mark = Literal["file", "directory", "whiteout", "opaque", "global"]
What = Found[Kept] | Link | Mark
# Given a file's path in the layer, its entry (of the kind "file" or "sparse") and its content: what is kept of it.
Keep = Callable[[str, TarMember, Source], Kept | None]


@dataclass
class Layer(Generic[Kept]):
    """What a layer holds, in its own order, by paths that are relative to the image's root.

    The path of a `whiteout` is what it removes; `opaque` empties its folder; each of what lower layers put there alone.
    `diff_id` is the digest of the layer's plain bytes.
    """

    entries: list[tuple[str, What[Kept]]] = field(default_factory=list)
    diff_id: str = ""


class Names(Tally):
    """Counts what the names of an image's files take in memory: one for all its layers, which threads share."""

    def __init__(self) -> None:
        super().__init__(MOST_NAMES)


def scan_layer(stream: Source, place: str, keep: Keep[Kept], names: Names | None = None) -> Layer[Kept]:
    """Read a layer to its end: a tar, as it is or in gzip or zstd. `keep` reads as much of a file as it wants.

    `names` counts for the whole image; without it, for this layer. Raises Undecided, with `place`, for a layer that is
    cut short, damaged or hostile; what the stream itself raises goes through.
    """
    with reading_layer(stream, place) as (reader, plain):
        entries = _scan(reader, keep, names or Names())
    return Layer(entries, plain.digest)


@contextmanager
def reading_layer(stream: Source, place: str) -> Iterator[tuple[TarReader, Plain]]:
    """A layer's tar, whose entries are to be read to the end; what comes behind them is read when the block ends.

    Raises Undecided, with `place`, as `scan_layer` does.
    """
    with naming_damage(place):
        plain = Plain(stream)
        reader = TarReader(plain, place)
        yield reader, plain
        behind = 0
        while data := plain.read(CHUNK):  # behind the mark; reading on finds damage, and lets the source check itself
            reader.count(len(data))
            behind += len(data)
            if behind > MOST_BEHIND:
                raise reader.error(f"more than {MOST_BEHIND} bytes behind the mark that ends it")
        while stream.read(CHUNK):
            pass
        if not (plain.sure or reader.ended):
            raise reader.error("it ends without a mark")


def normalise(name: str) -> str:
    """A path relative to the root, as engines clean it: `..` does not lead out. Empty for the root itself."""
    return posixpath.normpath(f"/{name}").lstrip("/")


def _scan(reader: TarReader, keep: Keep[Kept], names: Names) -> list[tuple[str, What[Kept]]]:
    entries: list[tuple[str, What[Kept]]] = []
    size = 0
    for member, content in reader:
        path = normalise(member.name)
        size += len(path) + len(member.target) + _ENTRY_BYTES
        if size >= _AT_ONCE:
            if not names.add(size):
                cause = f"names of more files than this program keeps in mind ({MOST_NAMES >> 20} MiB of them)"
                raise reader.error(cause)
            size = 0
        folder, _, base = path.rpartition("/")
        if not path:
            continue  # the root is there, whatever this is
        if member.kind == "global":
            entries.append((path, "global"))
        elif base == _OPAQUE:
            entries.append((folder, "opaque"))
        elif base.startswith(_WHITEOUT):
            hidden = base.removeprefix(_WHITEOUT)
            if hidden in ("", ".", ".."):
                raise reader.error(f"a whiteout of nothing ({member.name!r})")
            entries.append((posixpath.join(folder, hidden), "whiteout"))
        else:
            if member.kind == "unknown":
                raise reader.error(f"an entry of a type that no layer has ({member.name!r})")
            entries.append((path, _read_entry(path, member, content, keep)))
    return entries


def _read_entry(path: str, member: TarMember, content: Source, keep: Keep[Kept]) -> What[Kept]:
    if member.kind in ("file", "sparse"):
        kept = keep(path, member, content)
        return "file" if kept is None else Found(kept)
    if member.kind == "symlink":
        return Link(member.target)
    if member.kind == "hardlink":
        return Link(member.target, hard=True)
    return "directory" if member.kind == "directory" else "file"
