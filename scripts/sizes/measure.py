"""How large each distribution is, as a wheel and in a layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from zstandard import ZstdCompressor

from scripts.assemble.steps import make_steps
from scripts.console import step as announce
from scripts.fetch import Cache, fetch_files
from scripts.files import parse_json, write_json
from scripts.lock import read_slot, recipe_slot
from scripts.model import LockedFile
from scripts.pipeline.candidate import read_candidate
from scripts.plan import PlannedCell
from scripts.project import Project
from scripts.slim.wheel.cached import slim_files
from scripts.zips import ZipReader

_LEVEL = 3  # of zstd, as BuildKit compresses a layer
_THREADS = 2
_FEED = 1 << 24


@dataclass(frozen=True)
class Size:
    """Bytes of some files, compressed and unpacked."""

    compressed: int
    unpacked: int

    def __add__(self, other: Size) -> Size:
        return Size(self.compressed + other.compressed, self.unpacked + other.unpacked)


NOTHING = Size(0, 0)


@dataclass(frozen=True)
class DistributionSize:
    """One distribution: in an image that installs upstream's wheels (gzip), in ours without slimming, and in ours.

    `naive` takes its compressed size from the wheel, which is compressed as a gzip layer is; ours are zstd.
    """

    name: str
    naive: Size
    whole: Size
    ours: Size


@dataclass(frozen=True)
class CellSizes:
    """A cell's distributions, largest first; its base; and what its builds came to, compressed (0: not built here)."""

    cell: str
    base: int
    distributions: tuple[DistributionSize, ...]
    built: int
    built_whole: int

    @property
    def total(self) -> DistributionSize:
        sums = [NOTHING, NOTHING, NOTHING]
        for item in self.distributions:
            sums = [total + size for total, size in zip(sums, (item.naive, item.whole, item.ours), strict=True)]
        return DistributionSize("all", *sums)


def measure_cell(project: Project, planned: PlannedCell, *, slim: bool) -> CellSizes:
    """Measure a cell's distributions, slimmed or not. Fetches what is missing."""
    step, unslimmed = (
        make_steps(project.matrix, [planned], project.build_options(slim=wanted))[-1] for wanted in (slim, False)
    )
    matrix, cell = project.matrix, planned.cell
    locked = read_slot(matrix.root, recipe_slot(matrix, planned.image, (cell.recipe, cell.line))).files
    cache = fetch_files([*locked, *step.files], project.site, matrix.platform)
    with announce(cell.id, "sizes") as update:
        used = {file.name: file for file in step.files}
        if step.slim:
            used = {slim.source.name: slim.used for slim in slim_files(step.files, step.slim, cache, update)}
        kept = {file.name for file in unslimmed.wheels}
        measured = _measure([*locked, *used.values()], cache, update)
    rows = []
    for file in locked:
        upstream = measured[file.sha256]
        rows.append(
            DistributionSize(
                name=file.name,
                naive=Size(file.size, upstream.unpacked),
                whole=upstream if file.name in kept else NOTHING,
                ours=measured[used[file.name].sha256] if file.name in used else NOTHING,
            )
        )
    base = read_candidate(project.workspace, step.parent.build_id) if step.parent else None
    built, built_whole = (read_candidate(project.workspace, each.build_id) for each in (step, unslimmed))
    return CellSizes(
        cell=cell.id,
        base=base.size if base else 0,
        distributions=tuple(sorted(rows, key=lambda row: -row.naive.compressed)),
        built=built.size if built else 0,
        built_whole=built_whole.size if built_whole else 0,
    )


def _measure(files: Sequence[LockedFile], cache: Cache, update: Callable[[str], None]) -> dict[str, Size]:
    """The size of each wheel's content by the wheel's SHA-256; what was measured once is kept."""
    hashes = list(dict.fromkeys(file.sha256 for file in files))

    def measure(sha256: str) -> Size:
        note = cache.root / "sizes" / f"{sha256}.json"
        try:
            return Size(**parse_json(note.read_bytes()))
        except (OSError, ValueError, TypeError):
            size = _compress(cache.path(sha256))
        write_json(note, {"compressed": size.compressed, "unpacked": size.unpacked})
        update(f"{hashes.index(sha256) + 1} of {len(hashes)}")
        return size

    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(hashes, pool.map(measure, hashes), strict=True))


def _compress(wheel: Path) -> Size:
    archive = ZipReader(wheel)
    compressor = ZstdCompressor(level=_LEVEL).compressobj()
    compressed = unpacked = 0
    for member in archive.members.values():
        data = memoryview(archive.read(member))
        unpacked += len(data)
        for start in range(0, len(data), _FEED):
            compressed += len(compressor.compress(data[start : start + _FEED]))
    return Size(compressed + len(compressor.flush()), unpacked)
