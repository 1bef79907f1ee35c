"""Debian packages made of nothing but the standard library: an ar archive of two tars."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ESSENTIAL = "Package: some\nEssential: yes\n"


def make_deb(
    path: Path, members: Sequence[tuple[str, str | bytes]], control: str = ESSENTIAL, compression: str = "xz"
) -> Path:
    """A package whose data holds these members: `name/`, and `name` with its bytes, `→ target` or `= other name`."""
    data = io.BytesIO()
    mode: Any = f"w:{compression}"
    with tarfile.open(fileobj=data, mode=mode, format=tarfile.GNU_FORMAT) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name.rstrip("/"))
            info.mtime, info.mode = 1000, 0o644
            if name.endswith("/"):
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(content, str):
                kind, _, info.linkname = content.partition(" ")
                info.type = {"→": tarfile.SYMTYPE, "=": tarfile.LNKTYPE}[kind]
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    description = io.BytesIO()
    with tarfile.open(fileobj=description, mode="w:gz") as tar:
        info = tarfile.TarInfo("./control")
        info.size = len(control.encode())
        tar.addfile(info, io.BytesIO(control.encode()))
    suffix = f".{compression}" if compression else ""
    parts = [
        ("debian-binary", b"2.0\n"),
        ("control.tar.gz", description.getvalue()),
        (f"data.tar{suffix}", data.getvalue()),
    ]
    blob = b"!<arch>\n"
    for name, content in parts:
        blob += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        blob += content + b"\n" * (len(content) % 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(blob)
    return path
