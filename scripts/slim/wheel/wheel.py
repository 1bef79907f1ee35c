"""A wheel, with only the GPU code that one target can run."""

from __future__ import annotations

import email
import re
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

from scripts.errors import ConfigError, Problem, Undecided
from scripts.files import canonical_json, format_size, open_atomic, sha256_file
from scripts.gpucode import GpuCodeError, runs_on
from scripts.room import Room, Tally
from scripts.slim.elf.library import LibraryReport, Piece, slim_bytes
from scripts.slim.wheel.bundled import is_bundled
from scripts.slim.wheel.licence import MOST_HEAD, judge_licence
from scripts.slim.wheel.names import WheelNames, retag_metadata
from scripts.slim.wheel.record import hash_pieces, rewrite_record
from scripts.zips import MAX_MEMBER, ZipMember, ZipReader, ZipWriter

VERSION = 1  # of what a slimmed wheel's bytes depend on, beside its source and the target
EVIDENCE = "hallmark-slim.json"
_LIBRARY = re.compile(r"\.so(\.[0-9.]+)?$")
_LICENCE_FILE = re.compile(r"(licen[cs]e|copying|eula)", re.IGNORECASE)
LARGEST_METADATA = 4 << 20  # bytes; torch's has 30 kB
LARGEST_RECORD = 16 << 20  # bytes; torch's has 1.2 MB
MOST_LICENCES = 1000  # files, of each of which the beginning is read
MOST_SLIMMED = 1 << 32  # bytes of slimmed libraries that wait to be written; torch's are 0.6 GB in all
_THREADS = 2  # each holds one unpacked library: 1.04 GB for torch's largest
_ROOM = Room(MAX_MEMBER)  # all that is unpacked at a time is no more than the largest


@dataclass(frozen=True)
class WheelReport:
    """What became of a wheel. `wheel` is the new one, or None where the source has to be used.

    `reason` then says why; `refusal` is set where it is the licence. `libraries` are those with GPU code, by their
    place in the wheel. Sizes are of the wheels' files, in bytes.
    """

    source: Path
    compute: str
    before: int
    wheel: Path | None = None
    after: int = 0
    reason: str = ""
    refusal: Problem | None = None
    libraries: Mapping[str, LibraryReport] = field(default_factory=dict)


@dataclass(frozen=True)
class _Slimmed:
    """What became of a library's bytes (none where they are kept), and its line in RECORD."""

    pieces: list[Piece]
    report: LibraryReport
    record: tuple[str, int]


def slim_wheel(wheel: Path, folder: Path, compute: str, sha256: str = "") -> WheelReport:
    """Write a wheel again into `folder` with only what a GPU of compute capability `compute` (`12.0`) can be given.

    The new wheel is a function of the old one's bytes and name and of `compute`. `sha256` is the source's hash where
    the caller knows it, which saves reading it once. Raises ConfigError for a `compute` that is none, Undecided for a
    damaged wheel, without memory enough and on a full disk, and OSError.
    """
    try:
        runs_on("120", "sass", compute)
    except ValueError as error:
        raise ConfigError(str(error), wheel.name, "choose a target that has a GPU") from error
    archive = ZipReader(wheel)
    before = wheel.stat().st_size
    try:
        names = WheelNames.parse(wheel.name, archive.members, compute)
        if refusal := judge_licence(*_read_licence(archive, names)):
            return WheelReport(wheel, compute, before, reason=refusal.cause, refusal=refusal)
        if names.info + EVIDENCE in archive.members:
            return WheelReport(wheel, compute, before, reason="it was slimmed before")
        return _slim(archive, names, folder, before, sha256)
    except ValueError as error:
        raise archive.damaged(str(error)) from error


def _read_licence(archive: ZipReader, names: WheelNames) -> tuple[email.message.Message, dict[str, str]]:
    metadata = email.message_from_bytes(_text(archive, names.info + "METADATA", LARGEST_METADATA))
    listed = {str(name) for name in metadata.get_all("License-File", [])}
    files = {}
    for member in archive.members:
        name = member.removeprefix(names.info)
        if name != member and (name.removeprefix("licenses/") in listed or _LICENCE_FILE.search(name)):
            files[name] = archive.read_start(archive.members[member], MOST_HEAD).decode("utf-8", "replace")
            if len(files) > MOST_LICENCES:
                raise ValueError(f"it has more than {MOST_LICENCES} licence files")
    return metadata, files


def _text(archive: ZipReader, name: str, largest: int) -> bytes:
    if name not in archive.members:
        raise ValueError(f"it has no {name}")
    return bytes(archive.read(archive.members[name], largest))


def _slim(archive: ZipReader, names: WheelNames, folder: Path, before: int, sha256: str) -> WheelReport:
    libraries = [member for name, member in archive.members.items() if _LIBRARY.search(name)]
    libraries.sort(key=lambda member: -member.info.file_size)  # the longest first, or it is what all wait for
    waiting = Tally(MOST_SLIMMED)  # bytes of slimmed libraries that were not written yet
    with ThreadPoolExecutor(_THREADS) as pool:
        results = {
            member.name: pool.submit(_slim_member, archive, member, names.compute, waiting) for member in libraries
        }
        source = None if sha256 else pool.submit(sha256_file, archive.path)
        try:
            if any(future.result().pieces for future in as_completed(results.values())):
                wheel = folder / names.new_file
                with open_atomic(wheel) as stream:
                    _write_members(stream, archive, names, results, source or sha256, waiting)
                after, reason = wheel.stat().st_size, ""
            else:
                for name in archive.members.keys() - results.keys():  # that it stays as it is says that it is sound
                    archive.check(archive.members[name])
                wheel, after, reason = None, 0, "no library has GPU code that it could do without"
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    reports = {name: results[name].result().report for name in archive.members if name in results}
    found = {name: report for name, report in reports.items() if report.containers}
    return WheelReport(archive.path, names.compute, before, wheel, after, reason, None, found)


def _slim_member(archive: ZipReader, member: ZipMember, compute: str, waiting: Tally) -> _Slimmed:
    try:
        with _ROOM.take(member.info.file_size):
            data = archive.read(member)
            try:
                pieces, report = slim_bytes(data, member.name, compute, keep=is_bundled(member.name))
            except GpuCodeError as error:  # it is what it is; whoever audits the image will look at it again
                pieces, report = [], LibraryReport(len(data), len(data), 1, untouched=f"it cannot be read: {error}")
            del data
    except MemoryError as error:
        cause = f"there is not enough memory to slim `{member.name}` ({format_size(member.info.file_size)})"
        raise Undecided(cause, archive.path.name, "free some memory, then run the same command again") from error
    if not waiting.add(sum(map(len, pieces))):
        raise archive.damaged(f"its libraries take more than {MOST_SLIMMED} bytes, slimmed")
    return _Slimmed(pieces, report, hash_pieces(pieces))


def _write_members(
    stream: BinaryIO,
    archive: ZipReader,
    names: WheelNames,
    results: Mapping[str, Future[_Slimmed]],
    source: str | Future[str],
    waiting: Tally,
) -> None:
    """All members in the order of the source; what the slimmer adds, and RECORD, come last."""
    writer = ZipWriter(stream)
    changed: dict[str, tuple[str, int]] = {}
    metadata, record = names.info + "METADATA", names.info + "RECORD"
    for name, member in archive.members.items():
        slimmed = results[name].result() if name in results else None
        if slimmed and slimmed.pieces:
            writer.store(member, names.rename(name), slimmed.pieces)
            changed[names.rename(name)] = slimmed.record
            waiting.add(-sum(map(len, slimmed.pieces)))
            slimmed.pieces.clear()  # written: the memory is for the next
        elif name == metadata:
            body = [retag_metadata(_text(archive, name, LARGEST_METADATA), names.compute)]
            writer.store(member, names.rename(name), body)
            changed[names.rename(name)] = hash_pieces(body)
        elif name != record and not names.is_signature(name):
            if name not in results:  # libraries were read
                archive.check(member)
            writer.copy(member, names.rename(name), archive.packed(member))
    evidence = [_evidence(archive, names, results, source if isinstance(source, str) else source.result())]
    place = names.rename(names.info + EVIDENCE)
    changed[place] = hash_pieces(evidence)
    writer.store(archive.members[metadata], place, evidence)
    lines = rewrite_record(_text(archive, record, LARGEST_RECORD).decode(), names, changed)
    writer.store(archive.members[record], names.rename(record), [lines])
    writer.finish()


def _evidence(archive: ZipReader, names: WheelNames, results: Mapping[str, Future[_Slimmed]], sha256: str) -> bytes:
    reports = {name: future.result().report for name, future in results.items()}
    value = {
        "format": 1,
        "slimmer": VERSION,
        "compute": names.compute,
        "source": {"file": names.file, "sha256": sha256},
        "libraries": {name: asdict(report) for name, report in reports.items() if report.containers},
    }
    return canonical_json(value) + b"\n"
