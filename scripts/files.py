"""Files that are never half-written, hashes, and the canonical JSON that build identities are made of."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from scripts.errors import Undecided

CHUNK = 1 << 20
_ODD = "backslashreplace"  # of a name that is not UTF-8: as JSON escapes such a letter, so that it is read as it was


def open_plain(path: Path) -> BinaryIO:
    """Open a plain file to read it. Raises OSError, and for a pipe or a device as well: these can keep one waiting."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return os.fdopen(handle, "rb")


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def parse_json(data: bytes | str, *, strict: bool = False) -> Any:
    """A JSON value that others wrote; `strict` takes no NaN and no infinity.

    Raises ValueError for anything else, and for what is nested too deep, or has a number too long, to be read.
    """
    try:
        return json.loads(data, parse_constant=_refuse if strict else None)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def canonical_json(value: Any) -> bytes:
    """The one byte form of a JSON value: sorted keys, no spaces, UTF-8. Hashes of content are taken over this."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", _ODD)


def content_id(value: Any) -> str:
    """The SHA-256 of a value's canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def in_home(path: str) -> Path:
    """A path that begins with `~/`; it stays as it is where nobody of this number is known, and then leads nowhere."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  # a Path's own raises there


@contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """A binary stream (to write, to seek in, to read back) that becomes the file when its block ends without an error.

    Readers see the old bytes or the new, never a part; after an error the new ones are gone. Raises Undecided on a full
    disk, whatever in the block met it.
    """
    with naming_disk_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w+b") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).chmod(0o644)  # mkstemp makes it private; evidence and locks are for everyone to read
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that readers see the old bytes or the new, never a part. Raises Undecided on a full disk."""
    with open_atomic(path) as stream:
        stream.write(data)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    write_atomic(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", _ODD))


@contextmanager
def naming_disk_full(path: Path) -> Iterator[None]:
    """Turn "no space left" and "quota exceeded" into an Undecided that names the place and how much is free."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Undecided(
            f"the disk is full ({format_size(free_bytes(path))} left)",
            str(path.parent),
            "free some space (`nox -s clean` removes what no tag needs), then run the same command again",
        ) from error


def free_bytes(path: Path) -> int:
    """Bytes free on the file system that holds `path`, or would hold it once made."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def format_size(size: float) -> str:
    """A size in bytes for people: `0 B`, `12.0 MB`, `4.98 GB` (powers of ten)."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


def link_or_copy(source: Path, destination: Path) -> None:
    """Give a file a second name without its bytes being written again, where the file system can."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, destination)
    except FileExistsError:
        return
    except OSError:  # another file system, or one without hard links
        with naming_disk_full(destination):
            shutil.copyfile(source, destination)
