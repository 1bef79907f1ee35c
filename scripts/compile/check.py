"""Whether a wheel is the one that a compile step was to make: its distribution, its version, and what it declares."""

from __future__ import annotations

import zipfile
from pathlib import Path

from installer.utils import parse_metadata_file
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from scripts.errors import BuildFailed

MEND = "mend the component's build script"


def find_wheel(folder: Path, distribution: str, version: str, place: str) -> tuple[Path, str]:
    """The one wheel in a folder, and its full version. Raises BuildFailed for another distribution or version.

    A local version (`+cu130`) may be added to `version`; `place` is what the error names: the step's log.
    """
    found = sorted(folder.iterdir())
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "nothing"
        raise BuildFailed(f"one wheel was to be made, and there is: {names}", place, MEND)
    wheel = found[0]
    try:
        name, number, _, _ = parse_wheel_filename(wheel.name)
        metadata = _read_metadata(wheel)
    except (InvalidWheelFilename, zipfile.BadZipFile, KeyError, UnicodeDecodeError) as error:
        raise BuildFailed(f"{wheel.name} is no wheel: {error}", place, MEND) from error
    if name != canonicalize_name(distribution) or number.public != Version(version).public:
        raise BuildFailed(f"{distribution} {version} was to be made, and this is {wheel.name}", place, MEND)
    if not _agrees(metadata, name, number):
        raise BuildFailed(f"the metadata in {wheel.name} is of another distribution or version", place, MEND)
    return wheel, str(number)


def _read_metadata(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        inside = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA") and name.count("/") == 1]
        if len(inside) != 1:
            raise KeyError(f"{len(inside)} METADATA files")
        return archive.read(inside[0]).decode()


def _agrees(metadata: str, name: str, version: Version) -> bool:
    message = parse_metadata_file(metadata)
    try:
        return canonicalize_name(str(message["Name"])) == name and Version(str(message["Version"])) == version
    except InvalidVersion:
        return False
