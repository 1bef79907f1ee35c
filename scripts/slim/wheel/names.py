"""What a wheel is called: in its file name, its folders and its METADATA; and what it is called once it is slimmed."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

_VERSION_LINE = re.compile(rb"^(Version:[ \t]*)(\S+)", re.MULTILINE | re.IGNORECASE)
_FOLDERS = (".dist-info/", ".data/")
_SIGNATURES = ("RECORD.jws", "RECORD.p7s")  # of the old RECORD, which a new one makes void


def tag_version(version: str, compute: str) -> str:
    """The version with the target as its local part: `2.10.0+sm120`, `2.13.0+cu130.sm120`."""
    return f"{version}{'.' if '+' in version else '+'}sm{compute.replace('.', '')}"


@dataclass(frozen=True)
class WheelNames:
    """A wheel's file name, its version as the names in it spell it, and what it is called once it is slimmed."""

    file: str
    stem: str
    compute: str

    @classmethod
    def parse(cls, file: str, members: Collection[str], compute: str) -> WheelNames:
        """Find the one `.dist-info` folder. Raises ValueError where there is none, or a new name is taken already."""
        stems = {name.split("/")[0].removesuffix(".dist-info") for name in members if ".dist-info/" in name}
        try:
            parse_wheel_filename(file)
        except InvalidWheelFilename as error:
            raise ValueError(str(error)) from error
        if len(stems) != 1 or not all("-" in stem for stem in stems):
            raise ValueError("it has not one .dist-info folder")
        names = cls(file, stems.pop(), compute)
        renamed = [names.rename(member) for member in members]
        taken = tuple(names.rename(f"{names.stem}{suffix}") for suffix in _FOLDERS)
        if len(set(renamed)) != len(renamed) or any(member.startswith(taken) for member in members):
            raise ValueError("it has a folder already that the new wheel's own would be called")
        return names

    @property
    def info(self) -> str:
        return f"{self.stem}.dist-info/"

    @property
    def new_file(self) -> str:
        name, version, rest = self.file.split("-", 2)
        return f"{name}-{tag_version(version, self.compute)}-{rest}"

    def rename(self, member: str) -> str:
        """What a member is called in the new wheel."""
        for suffix in _FOLDERS:
            if member.startswith(self.stem + suffix):
                name, _, version = self.stem.rpartition("-")
                return f"{name}-{tag_version(version, self.compute)}{member[len(self.stem) :]}"
        return member

    def is_signature(self, member: str) -> bool:
        return member in {self.info + name for name in _SIGNATURES}


def retag_metadata(metadata: bytes, compute: str) -> bytes:
    """METADATA with the new version. Raises ValueError where it has not exactly one."""
    end = re.search(rb"\r?\n\r?\n", metadata)
    head = metadata[: end.start()] if end else metadata
    if len(_VERSION_LINE.findall(head)) != 1:
        raise ValueError("METADATA has not one version")
    tagged = _VERSION_LINE.sub(lambda line: line[1] + tag_version(line[2].decode(), compute).encode(), head)
    return tagged + metadata[len(head) :]
