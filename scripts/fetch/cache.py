"""The cache: files named by the SHA-256 of their bytes, shared by every checkout of this user."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.errors import Undecided
from scripts.files import content_id, naming_disk_full, sha256_file
from scripts.locks import SAY_EVERY_S, hold
from scripts.model import LockedFile, LockedTree


@dataclass(frozen=True)
class Cache:
    """A folder of immutable files. A name appears only after its bytes were hashed, so a name is proof enough."""

    root: Path

    def path(self, sha256: str) -> Path:
        return self.root / "sha256" / sha256[:2] / sha256

    def tree(self, tree: LockedTree) -> Path:
        """Where a git tree lies, as an archive of its files; which of its submodules are in it is part of the name."""
        chosen = "" if tree.submodules is None else f"-{content_id(list(tree.submodules))[:8]}"
        return self.root / "git" / f"{tree.commit}{chosen}.tar"

    def part(self, sha256: str) -> Path:
        """Where a download of this file stands half-way; it is kept when interrupted, to be resumed."""
        return self.root / "partial" / sha256

    def holds(self, file: LockedFile) -> bool:
        """Whether the file is here. Its size is compared too: a damaged disk is noticed where that costs nothing."""
        try:
            return self.path(file.sha256).stat().st_size == file.size or not file.size
        except OSError:
            return False

    def accept(self, sha256: str) -> str:
        """Hash the finished part and give it its name. Returns the hash found; on any other the part is deleted."""
        part = self.part(sha256)
        found = sha256_file(part)
        if found != sha256:
            part.unlink()
            return found
        path = self.path(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        part.chmod(0o444)
        part.replace(path)
        return found

    def take(self, file: Path) -> str:
        """Move a file that was made here to its place, and return its hash. It may come from another file system."""
        sha256 = sha256_file(file)
        path = self.path(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{sha256}.{os.getpid()}")
        with naming_disk_full(part):
            shutil.move(file, part)
        part.chmod(0o444)
        part.replace(path)
        return sha256

    @contextmanager
    def claim(self, sha256: str) -> Iterator[None]:
        """Hold a file's download for this process; another one waits here, and then finds the file present."""
        # One lock for all files of a prefix, never deleted: deleting a lock that somebody waits for would break it.
        lock = self.root / "locks" / sha256[:2]
        mend = "mend its permissions, or point XDG_CACHE_HOME elsewhere"
        try:
            (self.root / "partial").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Undecided(f"the cache cannot be written to: {error.strerror}", str(self.root), mend) from error
        # Files of one prefix wait for each other within one run, too: that is nothing to talk about.
        with hold(lock, "another download into the cache", quiet_s=SAY_EVERY_S, mend=mend):
            yield


@contextmanager
def lay_out_named(cache: Cache, files: Sequence[LockedFile]) -> Iterator[Path]:
    """A temporary folder in which cached files have their own names, for tools that read names."""
    with tempfile.TemporaryDirectory(prefix="hallmark-") as folder:
        for file in files:
            (Path(folder) / file.file).symlink_to(cache.path(file.sha256))
        yield Path(folder)
