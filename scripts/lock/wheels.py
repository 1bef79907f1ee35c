"""Wheels as a lock names them: by their bytes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from packaging.utils import parse_wheel_filename

from scripts.errors import ConfigError
from scripts.index import FoundFile, ask_size
from scripts.matrix import Upstream
from scripts.model import LockedFile


def lock_wheels(found: Sequence[FoundFile], upstream: Sequence[Upstream]) -> list[LockedFile]:
    """Wheels as a lock names them. Raises ConfigError where an upstream wheel's bytes are not those expected."""
    addresses = {item.file: item for item in upstream}
    for wheel in found:
        expected = addresses.get(wheel.file)
        if expected and expected.sha256 != wheel.sha256:
            raise ConfigError(
                f"{wheel.file}: expected SHA-256 {expected.sha256}, found {wheel.sha256}",
                wheel.url,
                "correct image.toml, or remove the other file of that name",
            )
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(ask_size, found))
    return [
        LockedFile(
            "wheel", w.name, w.version, w.file, w.sha256, size, addresses[w.file].url if w.file in addresses else ""
        )
        for w, size in zip(found, sizes, strict=True)
    ]


def lock_upstream(item: Upstream) -> LockedFile:
    """A wheel of no index as something to fetch."""
    name, version, _, _ = parse_wheel_filename(item.file)
    return LockedFile("wheel", name, str(version), item.file, item.sha256, item.size, item.url)


def lock_archive(item: Upstream) -> LockedFile:
    """An upstream archive as a lock names it; NVIDIA's are called NAME-PLATFORM-VERSION-archive.tar.xz."""
    name, _, version = item.file.partition(".tar")[0].removesuffix("-archive").rpartition("-")
    return LockedFile("archive", name or item.file, version, item.file, item.sha256, item.size, item.url)
