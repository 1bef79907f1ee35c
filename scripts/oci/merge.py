"""Layers laid over each other: which of the things kept an image's file system has in the end, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, Union

from scripts.errors import Undecided
from scripts.oci.layer import Found, Layer, Link, Mark, What

# As many as Linux follows, and then some: beyond this, links lead in a circle.
_MOST_LINKS = 255
# Ten times what the largest known image takes; what links through links make out of a small one ends here.
_MOST_STEPS = 1 << 28

Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True)
class _Leaf(Generic[Kept]):
    """A thing kept or a symbolic link, and the number of the layer that put it there."""

    layer: int
    what: Found[Kept] | Link


_Folder = dict[str, Union[_Leaf[Kept], "_Folder[Kept]"]]


def merge_layers(layers: Sequence[Layer[Kept]], place: str, rename: Callable[[Kept, str], Kept]) -> list[Kept]:
    """What is kept of an image, sorted by path, from its layers with the lowest first; `rename` gives it its last path.

    As on overlayfs, which engines keep images on: a layer's own symbolic links to folders are followed, so that a path
    is the real one; but where a layer writes into a folder that is a link in a lower layer (`lib` on a merged /usr),
    it gets a folder there, and the link is gone. Raises Undecided, with `place`, for links in a circle.
    """
    tree = _Tree[Kept](place)
    for number, layer in enumerate(layers):
        for path, what in layer.entries:
            tree.apply(number, path, what)
    return [rename(kept, path) for path, kept in sorted(tree.kept(), key=lambda item: item[0])]


class _Tree(Generic[Kept]):
    """The file system as far as it matters: what is kept, symbolic links, and the folders on the way to them."""

    def __init__(self, place: str) -> None:
        self._root: _Folder[Kept] = {}
        self._place = place
        self._steps = 0

    def apply(self, layer: int, path: str, what: What[Kept]) -> None:
        """Do what an engine does when it unpacks this entry of this layer."""
        if what == "opaque":
            self._remove_lower(self._find(self._resolve(path, layer)), layer)
            return
        above, _, base = path.rpartition("/")
        parent = self._resolve(above, layer)
        if isinstance(what, Link) and what.hard:
            what = self._follow_hard_link(what)
        if isinstance(what, (Found, Link)):
            self._make(parent)[base] = _Leaf(layer, what)
            return
        folder = self._find(parent)
        if folder is not None and base in folder:
            self._displace(folder, base, layer, what)

    def _displace(self, folder: _Folder[Kept], base: str, layer: int, what: Mark) -> None:
        """Remove what a file, a directory or a whiteout leaves nothing of; a directory joins one that is there."""
        found = folder[base]
        if what == "whiteout" and isinstance(found, dict):
            self._remove_lower(found, layer)
        elif what == "whiteout" and isinstance(found, _Leaf) and found.layer == layer:
            return
        elif what != "directory" or isinstance(found, _Leaf):
            del folder[base]

    def kept(self) -> Iterator[tuple[str, Kept]]:
        """Everything that is there in the end, by its real path, in no order."""
        folders = [("", self._root)]
        while folders:
            above, folder = folders.pop()
            for name, item in folder.items():
                if isinstance(item, dict):
                    folders.append((f"{above}{name}/", item))
                elif isinstance(item.what, Found):
                    yield f"{above}{name}", item.what.what

    def _follow_hard_link(self, link: Link) -> Found[Kept] | Link | Mark:
        """What is under another name from now on; only its folder's links are followed, not the file itself."""
        above, _, base = link.target.rpartition("/")
        folder = self._find(self._resolve(above, None))
        found = folder.get(base) if folder is not None else None
        return found.what if isinstance(found, _Leaf) else "file"

    def _resolve(self, path: str, layer: int | None) -> list[str]:
        """The parts of a folder's real path for a layer that writes there, with nothing of lower ones in its way.

        For no layer, nothing is changed and every link is followed. None leads out of the root.
        """
        left = path.split("/")[::-1] if path else []
        parts: list[str] = []
        folders: list[_Folder[Kept] | None] = [self._root]  # one more than parts; None where nothing in it matters
        followed = 0
        while left:
            part = left.pop()
            self._count(1)
            if part == "..":
                parts, folders = parts[:-1], folders[: len(parts) or 1]
                continue
            if part in ("", "."):
                continue
            here = folders[-1]
            item = here.get(part) if here is not None else None
            if isinstance(item, _Leaf) and isinstance(item.what, Link) and layer in (None, item.layer):
                followed += 1
                if followed > _MOST_LINKS:
                    raise self._error(f"symbolic links lead in a circle at /{path}")
                if item.what.target.startswith("/"):
                    parts, folders = [], [self._root]
                left += item.what.target.split("/")[::-1]
                self._count(len(item.what.target))
                continue
            if isinstance(item, _Leaf) and here is not None and layer is not None:
                if item.layer == layer:
                    raise self._error(f"/{path} is used as a folder, and a part of it is none")
                del here[part]
            parts.append(part)
            folders.append(item if isinstance(item, dict) else None)
        return parts

    def _find(self, parts: Sequence[str]) -> _Folder[Kept] | None:
        item: _Folder[Kept] | _Leaf[Kept] | None = self._root
        for part in parts:
            item = item.get(part) if isinstance(item, dict) else None
        return item if isinstance(item, dict) else None

    def _make(self, parts: Sequence[str]) -> _Folder[Kept]:
        """The folder at a real path, made where it is missing."""
        folder = self._root
        for part in parts:
            item = folder.setdefault(part, {})
            assert isinstance(item, dict), "what was in the way of this path is gone"
            folder = item
        return folder

    def _remove_lower(self, folder: _Folder[Kept] | None, layer: int) -> None:
        """Remove what lower layers put into a folder and the folders in it."""
        folders = [folder] if folder is not None else []
        while folders:
            current = folders.pop()
            self._count(len(current) + 1)
            for name, item in list(current.items()):
                if isinstance(item, dict):
                    folders.append(item)
                elif item.layer < layer:
                    del current[name]

    def _count(self, steps: int) -> None:
        self._steps += steps
        if self._steps > _MOST_STEPS:
            raise self._error("its layers take more steps to merge than any image that is meant to be used")

    def _error(self, cause: str) -> Undecided:
        return Undecided(f"not an image that can be read: {cause}", self._place, "build or pull the image again")
