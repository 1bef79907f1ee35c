"""Layers laid over each other: which of the things kept an image's file system has in the end, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar, Union

from scripts.errors import Undecided
from scripts.oci.layer import Found, Layer, Link, Mark, What
from scripts.oci.tar import spell

# As many as engines follow: beyond this, links lead in a circle.
MOST_LINKS = 255
# Three times what the largest known image takes; what links through links make out of a small one ends here.
MOST_STEPS = 1 << 26
# Three times what the largest known image has; a name of four bytes can make one, which takes a hundred times as many.
MOST_FOLDERS = 1 << 18

Kept = TypeVar("Kept")
_Item = Union["_Folder[Kept]", Found[Kept], Link, Mark]  # of the marks, a plain file or a whiteout


_Place = tuple["_Folder[Kept] | None", "_Folder[Kept] | None"]  # one folder in this layer, and in those beneath it


@dataclass(slots=True)
class _Folder(Generic[Kept]):
    """A folder; `opaque` where nothing of lower layers shows in it."""

    items: dict[str, _Item[Kept]] = field(default_factory=dict)
    opaque: bool = False


def merge_layers(layers: Sequence[Layer[Kept]], place: str, rename: Callable[[Kept, str], Kept]) -> list[Kept]:
    """What is kept of an image, sorted by path, from its layers with the lowest first; `rename` gives it its last path.

    As on overlayfs, which engines keep images on: each layer is unpacked into a folder of its own, where its own
    symbolic links are followed and nothing is seen of lower layers; then it is laid over these. Raises Undecided, with
    `place`, for links in a circle, and for what engines do not agree on.
    """
    steps = _Steps(place)
    merged = _Folder[Kept]()
    for layer in layers:
        unpacked = _Unpacked(merged, steps)
        for path, what in layer.entries:
            unpacked.put(path, what)
        _lay_over(merged, unpacked.root, steps)
    return [rename(kept, spell(path)) for path, kept in sorted(_walk(merged), key=lambda item: item[0])]


class _Steps:
    """Counts what merging takes."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._taken = 0
        self._folders = 0

    def count_folder(self) -> None:
        self._folders += 1
        if self._folders > MOST_FOLDERS:
            raise self.error(f"more than {MOST_FOLDERS} folders in its layers")

    def count(self, steps: int) -> None:
        self._taken += steps
        if self._taken > MOST_STEPS:
            raise self.error("its layers take more steps to merge than any image that is meant to be used")

    def error(self, cause: str) -> Undecided:
        return Undecided(f"not an image that can be read: {cause}", self._place, "build or pull the image again")


class _Unpacked(Generic[Kept]):
    """The folder that one layer is unpacked into; `lower` is what its hard links may lead to besides."""

    def __init__(self, lower: _Folder[Kept], steps: _Steps) -> None:
        self.root = _Folder[Kept]()
        self._lower = lower
        self._steps = steps

    def put(self, path: str, what: What[Kept]) -> None:
        """Do what an engine does when it unpacks this entry."""
        if what == "opaque":
            if path:  # overlayfs looks for the mark everywhere but on the root
                self._make(self._resolve(path)).opaque = True
            return
        above, _, base = path.rpartition("/")
        parent = self._resolve(above)
        if what == "global":
            return self._check_global(parent, base)
        if isinstance(what, Link) and what.hard:
            what = self._follow_hard_link(what)
        folder = self._make(parent)
        found = folder.items.get(base)
        if what == "directory":
            if not isinstance(found, _Folder):  # a new one hides nothing: what a file or a whiteout hid before it shows
                self._steps.count_folder()
                folder.items[base] = _Folder[Kept]()
        elif what == "whiteout" and isinstance(found, _Folder):
            found.opaque = True
        elif what != "whiteout" or found is None:  # it does not remove what its own layer has
            folder.items[base] = what

    def _check_global(self, parent: Sequence[str], base: str) -> None:
        """A global header's name: containerd makes its folder, removes a file of that name, and obeys a whiteout."""
        folder = self._find(parent)
        if base.startswith(".wh.") or folder is None or base in folder.items:
            raise self._steps.error(f"a global header with the name of a file ({base!r}): engines do not agree on it")

    def _resolve(self, path: str) -> list[str]:
        """The parts of a folder's real path in this layer. None leads out of the root."""
        left = path.split("/")[::-1] if path else []
        parts: list[str] = []
        folders: list[_Folder[Kept] | None] = [self.root]  # one more than parts; None where there is none yet
        followed = 0
        while left:
            part = left.pop()
            self._steps.count(1)
            if part == "..":
                parts, folders = parts[:-1], folders[: len(parts) or 1]
                continue
            here = folders[-1]
            item = here.items.get(part) if here is not None else None
            if isinstance(item, Link):
                followed += 1
                self._push_target(item, left, path, followed)
                if item.target.startswith("/"):
                    parts, folders = [], [self.root]
                continue
            if isinstance(item, Found) or item == "file":
                raise self._steps.error(f"/{spell(path)} is used as a folder, and a part of it is none")
            parts.append(part)
            folders.append(item if isinstance(item, _Folder) else None)
        return parts

    def _push_target(self, link: Link, left: list[str], path: str, followed: int) -> None:
        """Put what a link leads to in front of what is left of a path."""
        if followed > MOST_LINKS:
            raise self._steps.error(f"symbolic links lead in a circle at /{spell(path)}")
        if left and left[-1] == "..":
            # containerd takes both parts away before it looks at either; the kernel goes up from where the link leads.
            raise self._steps.error(f"a link to `..` of a link, at /{spell(path)}: engines do not agree on it")
        self._steps.count(len(link.target))
        left += [part for part in link.target.split("/")[::-1] if part not in ("", ".")]

    def _find(self, parts: Sequence[str]) -> _Folder[Kept] | None:
        item: _Item[Kept] | None = self.root
        for part in parts:
            item = item.items.get(part) if isinstance(item, _Folder) else None
        return item if isinstance(item, _Folder) else None

    def _make(self, parts: Sequence[str]) -> _Folder[Kept]:
        """The folder at a real path, made where it is missing; one in place of a whiteout shows nothing beneath."""
        folder = self.root
        for part in parts:
            item = folder.items.get(part)
            if not isinstance(item, _Folder):
                self._steps.count_folder()
                item = _Folder[Kept](opaque=item == "whiteout")
                folder.items[part] = item
            folder = item
        return folder

    def _follow_hard_link(self, link: Link) -> Found[Kept] | Link | Mark:
        """What is under another name from now on; links on the way are followed, and not the file itself.

        Engines on overlayfs look in the layer alone; where a lower layer's file is meant, others find it.
        """
        left = [part for part in link.target.split("/")[::-1] if part not in ("", ".")]
        here: list[_Place[Kept]] = [(self.root, self._lower)]
        followed = 0
        while left:
            part = left.pop()
            self._steps.count(1)
            if part == "..":
                here = here[:-1] or here
                continue
            own, lower = self._look(here[-1], part)
            item = own if own is not None else lower
            if isinstance(item, Link) and not left and link.target.endswith("/"):
                raise self._steps.error("a hard link to a link, written as a folder: engines do not agree on it")
            if isinstance(item, Link) and left:
                followed += 1
                self._push_target(item, left, link.target, followed)
                here = [(self.root, self._lower)] if item.target.startswith("/") else here
                continue
            if not left:
                return item if isinstance(item, (Found, Link)) else "file"
            here.append((own if isinstance(own, _Folder) else None, lower if isinstance(lower, _Folder) else None))
        return "file"

    def _look(self, place: _Place[Kept], name: str) -> tuple[_Item[Kept] | None, _Item[Kept] | None]:
        """What is under a name in a folder of this layer, and in the one beneath it as far as that shows."""
        upper, lower = place
        own = upper.items.get(name) if upper is not None else None
        shows = lower is not None and not (upper is not None and upper.opaque)
        beneath = lower.items.get(name) if lower is not None and shows else None
        if own is None or (isinstance(own, _Folder) and not own.opaque and isinstance(beneath, _Folder)):
            return own, beneath
        return own, None


def _lay_over(lower: _Folder[Kept], upper: _Folder[Kept], steps: _Steps) -> None:
    """Change lower layers into what shows of them under another one, and that one with them."""
    pairs = [(lower, upper)]
    while pairs:
        below, above = pairs.pop()
        for name, item in above.items.items():
            steps.count(1)
            found = below.items.pop(name, None)
            if isinstance(item, _Folder):
                kept = found if isinstance(found, _Folder) and not item.opaque else _Folder[Kept]()
                below.items[name] = kept
                pairs.append((kept, item))
            elif isinstance(item, (Found, Link)):
                below.items[name] = item


def _walk(root: _Folder[Kept]) -> Iterator[tuple[str, Kept]]:
    """Everything kept, by its real path, in no order."""
    folders = [("", root)]
    while folders:
        above, folder = folders.pop()
        for name, item in folder.items.items():
            if isinstance(item, _Folder):
                folders.append((f"{above}{name}/", item))
            elif isinstance(item, Found):
                yield f"{above}{name}", item.what
