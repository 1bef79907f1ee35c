"""Wheels made by hand, sound and otherwise."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

INFO = "odd_Tools-1.0.dist-info"
DATA = "odd_Tools-1.0.data"
FILE = "odd_Tools-1.0-py3-none-any.whl"
METADATA = b"Metadata-Version: 2.1\nName: odd-tools\nVersion: 1.0\n\nText\n"
WHEEL = b"Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
MOMENT = (2024, 1, 2, 3, 4, 6)
Members = Mapping[str, bytes]


def digest(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def sound(**more: bytes) -> dict[str, bytes]:
    """The members of a small wheel with all that a wheel can have, but RECORD."""
    return {
        "odd/__init__.py": b"def main():\n    return 0\n",
        "odd/deep/data.bin": bytes(range(256)) * 4096 * 2,
        "odd/naïve.txt": b"a name that is not ASCII",
        "odd/empty.py": b"",
        "single.py": b"ANSWER = 42\n",
        f"{DATA}/purelib/pure_extra.py": b"pure = True\n",
        f"{DATA}/platlib/plat_extra.py": b"plat = True\n",
        f"{DATA}/scripts/odd-script": b"#!python\nimport odd\n",
        f"{DATA}/scripts/odd-shell": b"#!/bin/sh\necho odd\n",
        f"{DATA}/headers/odd.h": b"#define ODD 1\n",
        f"{DATA}/data/share/odd/readme.txt": b"read me\n",
        f"{INFO}/METADATA": METADATA,
        f"{INFO}/WHEEL": WHEEL,
        f"{INFO}/entry_points.txt": b"[console_scripts]\nodd = odd:main\n\n[gui_scripts]\n"
        b"odd-gui = odd.deep:Gui.run [x]\n\n[odd.plugins]\none = odd:main\n",
        **more,
    }


def record_of(members: Members, info: str = INFO) -> bytes:
    rows = [(name, digest(data), str(len(data))) for name, data in members.items() if not name.endswith("/")]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([*rows, (f"{info}/RECORD", "", "")])
    return text.getvalue().encode()


def write_wheel(
    folder: Path,
    members: Members | None = None,
    file: str = FILE,
    *,
    record: bytes | None = None,
    modes: Mapping[str, int] | None = None,
    info: str = INFO,
) -> Path:
    """A wheel of these members. RECORD is made for them unless it is given; `b""` leaves it out."""
    members = sound() if members is None else members
    record = record_of(members, info) if record is None else record
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file
    with zipfile.ZipFile(path, "w") as made:
        for name, data in [*members.items(), *([(f"{info}/RECORD", record)] if record else [])]:
            member = zipfile.ZipInfo(name, MOMENT)
            member.compress_type = zipfile.ZIP_DEFLATED
            default = 0o040755 if name.endswith("/") else 0o100755 if "/scripts/" in name else 0o100644
            member.external_attr = (modes or {}).get(name, default) << 16
            made.writestr(member, data)
    return path
