"""The first root file system: packages' files laid into one tar, for a system that has no dpkg yet to install them."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from debian.deb822 import PkgRelation
from debian.debfile import DebFile

from scripts.files import CHUNK, naming_disk_full

# Debian 12's packages still name files under these, which are links on an installed system.
_MERGED = ("bin", "lib", "lib64", "sbin")
_AHEAD = 4  # packages being unpacked at a time: xz is what takes the time, and it runs beside other threads


@dataclass(frozen=True)
class Package:
    """A .deb file and the fields of its control file."""

    path: Path
    control: Mapping[str, str]


def write_rootfs(packages: Sequence[Path], destination: Path) -> None:
    """Lay the data archives of the packages that dpkg needs into a tar; the same packages give the same bytes.

    All packages are installed by dpkg afterwards; the tar holds only what dpkg and the maintainers' scripts run on.
    """
    with ThreadPoolExecutor(_AHEAD) as pool:
        known = list(pool.map(_read_control, packages))
    seen: set[str] = set()
    with naming_disk_full(destination), tarfile.open(destination, "w", format=tarfile.GNU_FORMAT) as tar:
        for name in _MERGED:
            link = tarfile.TarInfo(name)
            link.type, link.linkname, link.mode = tarfile.SYMTYPE, f"usr/{name}", 0o777
            tar.addfile(link)
            seen.add(name)
        for data in _decompress_all([package.path for package in select_bootstrap(known)]):
            with data, tarfile.open(fileobj=data) as archive:
                for member in archive:
                    _add(tar, archive, member, seen)


def select_bootstrap(packages: Sequence[Package]) -> list[Package]:
    """The essential packages and all that they depend on, in the given order."""
    providers = {name: package for package in packages for name in _names(package, "Provides")}
    providers |= {package.control["Package"]: package for package in packages}
    chosen: set[Path] = set()
    queue = [package for package in packages if package.control.get("Essential") == "yes"]
    while queue:
        package = queue.pop()
        if package.path not in chosen:
            chosen.add(package.path)
            needed = _names(package, "Pre-Depends") + _names(package, "Depends")
            queue += [providers[name] for name in needed if name in providers]
    return [package for package in packages if package.path in chosen]


def _names(package: Package, field: str) -> list[str]:
    """Every name in a relationship field; of alternatives all: those that were not locked are not there to be found."""
    text = package.control.get(field, "")
    return [str(item["name"]) for either in PkgRelation.parse_relations(text) for item in either] if text else []


def _read_control(path: Path) -> Package:
    with path.open("rb") as stream:
        return Package(path, dict(DebFile(fileobj=stream).control.debcontrol()))


def _add(tar: tarfile.TarFile, archive: tarfile.TarFile, member: tarfile.TarInfo, seen: set[str]) -> None:
    member.name = _merge(member.name)
    if member.islnk():
        member.linkname = _merge(member.linkname)
    # Shared directories stand in many packages; a file in two of them is dpkg's to judge, later.
    if not member.name or member.name in seen:
        return
    seen.add(member.name)
    tar.addfile(member, archive.extractfile(member) if member.isreg() else None)


def _merge(name: str) -> str:
    name = name.rstrip("/").removeprefix("./")
    if name == ".":
        return ""
    return f"usr/{name}" if name.split("/")[0] in _MERGED and "/" in name else name


def _decompress_all(packages: Sequence[Path]) -> Iterator[IO[bytes]]:
    """The packages' data tars in order, a few unpacked ahead."""
    with ThreadPoolExecutor(_AHEAD) as pool:
        for start in range(0, len(packages), _AHEAD):
            yield from pool.map(_decompress, packages[start : start + _AHEAD])


def _decompress(package: Path) -> IO[bytes]:
    plain: IO[bytes] = TemporaryFile()  # noqa: SIM115  closed by whoever reads it
    with package.open("rb") as stream:
        source = DebFile(fileobj=stream).data.tgz().fileobj
        assert source is not None
        source.seek(0)
        while chunk := source.read(CHUNK):
            plain.write(chunk)
    plain.seek(0)
    return plain
