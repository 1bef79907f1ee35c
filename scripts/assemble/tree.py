"""The files of an image, as they go into a layer: where, what kind, and a way to their bytes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

Kind = Literal["file", "directory", "symlink"]
Data = bytes | bytearray
PLAIN, EXECUTABLE = 0o644, 0o755
WHITEOUT = ".wh."  # a name that begins so deletes files of the layers below
_LONGEST_NAME = 255  # bytes of a name in a folder, on any file system that an engine unpacks to


def _nothing() -> Data:
    return b""


@dataclass(frozen=True)
class Entry:
    """A file, directory or symbolic link of an image.

    `path` is relative to the image's root (`opt/venv/bin/vllm`), `mode` its permissions, `target` what a link holds,
    `size` a file's bytes. `digest` is the file's hash as RECORD spells it (`sha256=…`, base64 for URLs), or empty
    where nobody took it. `content` gives the bytes, as often as it is asked.
    """

    path: str
    mode: int
    kind: Kind = "file"
    target: str = ""
    size: int = 0
    digest: str = ""
    content: Callable[[], Data] = field(default=_nothing, repr=False, compare=False)

    def read(self) -> Data:
        """A file's bytes. Raises Undecided where they are not what the archive they come from says."""
        return self.content()


def make_file(path: str, data: Data, mode: int = PLAIN) -> Entry:
    """A file whose bytes are at hand."""
    return Entry(path, mode, "file", "", len(data), record_digest(data), lambda: data)


def make_directory(path: str, mode: int = EXECUTABLE) -> Entry:
    """A directory."""
    return Entry(path, mode, "directory")


def make_symlink(path: str, target: str) -> Entry:
    """A symbolic link to `target`."""
    return Entry(path, 0o777, "symlink", target)


def record_digest(data: Data, algorithm: str = "sha256") -> str:
    """A hash as RECORD spells it."""
    digest = hashlib.new(algorithm, data).digest()
    return f"{algorithm}={base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def bytecode_path(source: str, python: str) -> str:
    """Where Python X.Y looks for a module's byte code: `a/b.py` gives `a/__pycache__/b.cpython-311.pyc`."""
    path = PurePosixPath(source)
    return str(path.parent / "__pycache__" / f"{path.stem}.cpython-{python.replace('.', '')}.pyc")


def path_fault(path: str) -> str:
    """What is wrong with a path of an image or archive, or nothing: the empty string."""
    if "\\" in path or any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in path):
        return "has a backslash or a control character"
    if path.startswith("/"):
        return "is absolute"
    for part in path.split("/"):
        if part in ("", ".", ".."):
            return f"has a part `{part}`"
        if part.startswith(WHITEOUT):
            return f"begins a name with `{WHITEOUT}`, which deletes files of other layers"
        try:
            size = len(part.encode())
        except UnicodeEncodeError:
            return "is not Unicode"
        if size > _LONGEST_NAME:
            return f"has a name of more than {_LONGEST_NAME} bytes"
    return ""


def parents(path: str) -> list[str]:
    """The directories above a path, outermost first."""
    found = []
    end = path.find("/")
    while end >= 0:
        found.append(path[:end])
        end = path.find("/", end + 1)
    return found
