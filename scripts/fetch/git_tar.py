"""The files of git trees as one archive: the same bytes every time, and nothing in it that leads out of its folder."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scripts.fetch.git import Repository
from scripts.files import open_atomic

_MODES = {"100644": 0o644, "100755": 0o755, "100664": 0o644}
_LINK, _SUBMODULE = "120000", "160000"


@dataclass(frozen=True)
class Entry:
    """A file, a link or a submodule of a tree: git's mode and object id, and the path in the archive."""

    mode: str
    object_id: str
    path: str

    @property
    def is_submodule(self) -> bool:
        return self.mode == _SUBMODULE

    @classmethod
    def parse(cls, line: str, prefix: str) -> Entry:
        """A line of `git ls-tree`, for a tree that is laid under `prefix`. Raises ValueError for one that is unsafe."""
        head, _, name = line.partition("\t")
        mode, _, object_id = head.split(" ")
        path = PurePosixPath(name)
        if not name or path.is_absolute() or {"..", ".git"} & {part.lower() for part in path.parts} or "\n" in name:
            raise ValueError(f"the path {name!r} is not safe")
        if mode not in {*_MODES, _LINK, _SUBMODULE}:
            raise ValueError(f"{name!r} has the mode {mode}")
        return cls(mode, object_id, prefix + name)


def write_tree(repository: Repository, entries: Sequence[Entry], archive: Path) -> None:
    """Write the files as an uncompressed archive, in order of their paths, without times or owners.

    Raises Missing where one of them is not in the repository; then there is no archive.
    """
    ordered = sorted(entries, key=lambda entry: entry.path)
    with open_atomic(archive) as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        blobs = repository.read_blobs([entry.object_id for entry in ordered])
        for entry, data in zip(ordered, blobs, strict=True):
            info = tarfile.TarInfo(entry.path)
            if entry.mode == _LINK:
                info.type, info.linkname = tarfile.SYMTYPE, data.decode("utf-8", "surrogateescape")
                tar.addfile(info)
            else:
                info.size, info.mode = len(data), _MODES[entry.mode]
                tar.addfile(info, io.BytesIO(data))
