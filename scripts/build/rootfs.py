"""The first root file system: Debian packages' files laid into one tar, before there is any dpkg to install them."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from debian.debfile import DebFile

from scripts.files import naming_disk_full

# Debian 12's packages still name files under these, which are links on an installed system.
_MERGED = ("bin", "lib", "lib64", "sbin")


def write_rootfs(packages: Sequence[Path], destination: Path) -> None:
    """Lay the data archives of .deb files into a tar, in the given order; the same packages give the same bytes."""
    seen: set[str] = set()
    with naming_disk_full(destination), tarfile.open(destination, "w", format=tarfile.GNU_FORMAT) as tar:
        for name in _MERGED:
            link = tarfile.TarInfo(name)
            link.type, link.linkname, link.mode = tarfile.SYMTYPE, f"usr/{name}", 0o777
            tar.addfile(link)
            seen.add(name)
        for data in _decompress_all(packages):
            with data, tarfile.open(fileobj=data) as archive:
                for member in archive:
                    _add(tar, archive, member, seen)


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
    name = name.removeprefix("./").rstrip("/").removeprefix(".")
    return f"usr/{name}" if name.split("/")[0] in _MERGED and "/" in name else name


def _decompress_all(packages: Sequence[Path]) -> Iterator[IO[bytes]]:
    """The packages' data tars, unpacked a few ahead: xz is what takes the time, and it runs beside other threads."""
    ahead = 4
    with ThreadPoolExecutor(ahead) as pool:
        for start in range(0, len(packages), ahead):
            yield from pool.map(_decompress, packages[start : start + ahead])


def _decompress(package: Path) -> IO[bytes]:
    plain: IO[bytes] = TemporaryFile()  # noqa: SIM115  closed by whoever reads it
    with package.open("rb") as stream:
        data = DebFile(fileobj=stream).data.tgz()
        source = data.fileobj
        assert source is not None
        source.seek(0)
        while chunk := source.read(1 << 20):
            plain.write(chunk)
    plain.seek(0)
    return plain
