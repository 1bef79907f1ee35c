"""Asking Go what an engine makes of an image: `unpack.go`, built once, and asked line by line."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def has_go() -> bool:
    """Whether there is a Go compiler here."""
    return shutil.which("go") is not None


def build(folder: Path) -> Path:
    """The program, made in a folder."""
    program = folder / "unpack"
    subprocess.run(["go", "build", "-o", program, Path(__file__).with_name("unpack.go")], check=True)
    return program


class Engine:
    """A running program. It ends with this process, or when it is left as a context."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, layers: Sequence[bytes]) -> Any:
        """What an engine makes of an image, by its layers."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"layers": [encode(layer) for layer in layers]}).encode() + b"\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode()
