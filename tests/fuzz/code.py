"""Libraries: GPU code in ELF files, what the slimmer makes of them, and what a container lists of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random

from scripts.audit.judge import judge_unknown
from scripts.audit.library import Library, dump_libraries, parse_library
from scripts.audit.listing import parse_listing
from scripts.gpucode import Entry, GpuCodeError, parse_gpu_code, runs_on
from scripts.model import Target
from scripts.report.libraries import show_audit
from scripts.slim.elf.library import slim_bytes
from tests.fuzz.mutate import Span, mutate_bytes, write_json
from tests.fuzz.mutate import mutate_value as mutate_json_value
from tests.fuzz.subject import Subject
from tests.unit.gpucode import FIXTURES, make_container, make_elf, make_entry
from tests.unit.slim.elf.made import Library as MadeLibrary
from tests.unit.slim.elf.made import fatbin, ptx, sass

TARGET = Target("5090", "NVIDIA GeForce RTX 5090", "source", compute="12.0", driver="570", memory=32)


def _small(*archs: str) -> list[bytes]:
    return [make_entry(Entry("sass", arch, "none", 16, 16)) for arch in archs] + [
        make_entry(Entry("ptx", "90", "zstd", 24, 96, "8.7"))
    ]


def make_libraries() -> list[bytes]:
    """Small shared objects with GPU code, and some of nvcc's own."""
    one, two = make_container(_small("80", "120")), make_container(_small("90a", "100f"))
    made = [
        make_elf([(".nv_fatbin", one)]),
        make_elf([(".nv_fatbin", one + two + bytes(40)), ("__nv_relfatbin", two)], names_last=False),
        make_elf([("__nv_relfatbin", one), (".text", b"x" * 16)], wide=True),
    ]
    return [*made, *(path.read_bytes() for path in sorted(FIXTURES.glob("*.*o"))[:4])]


def make_slimmable() -> list[bytes]:
    """Shared objects of which something can go."""
    containers = [fatbin(sass("80", 4096), sass("120", 512)), fatbin(sass("90a", 4096), ptx("90", 512))]
    forms: list[dict[str, object]] = [{}, {"packed": True}, {"version": 2}, {"room": True}, {"notes": (4, 4)}]
    return [MadeLibrary(containers, **form).build() for form in forms]  # type: ignore[arg-type]


@cache
def find_hot(data: bytes) -> tuple[Span, ...]:
    """Where a file says what it is: its headers, its section table, its containers and what names all these."""
    table = int.from_bytes(data[40:48], "little") % (len(data) + 1)
    program = int.from_bytes(data[32:40], "little") % (len(data) + 1)
    spans = [(0, 64), (program, program + 56 * 12), (table, len(data)), (table, len(data))]
    try:
        containers = parse_gpu_code(data, "seed") or ()
    except GpuCodeError:
        return tuple(spans)
    for container in containers:
        place = container.offset + 16
        spans.append((container.offset, place))
        for entry in container.entries:
            spans.append((place, place + 64))
            place += 64 + entry.stored_size
    return tuple(spans)


def mutate_library(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    return mutate_bytes(random, data, others, find_hot(data))


def read_code(data: bytes, folder: Path) -> None:
    """As a whole file, and as the contents of a section of a sound one."""
    files = [data, make_elf([(".nv_fatbin", data)]), make_elf([("__nv_relfatbin", make_container([data]))])]
    for file in files if len(data) < 1 << 12 else files[:1]:
        library = parse_library("lib/x.so", file)
        for container in library.containers if library else ():
            stored = sum(64 + entry.stored_size for entry in container.entries)
            if not 0 < container.offset <= len(file) - 16 - stored:
                raise AssertionError(f"{container} is larger than the file")
            for entry in container.entries:
                runs_on(entry.arch, entry.kind, "12.0")
        if file is data:
            show(library)


def show(*libraries: Library | None) -> None:
    """Judge libraries and print what is found of them."""
    found = [library for library in libraries if library]
    if found:
        show_audit(judge_unknown(found, TARGET.compute, []), "fuzzed", TARGET)


def slim(data: bytes, folder: Path) -> None:
    """What is kept can be read again, and has no code that would not be found."""
    pieces, report = slim_bytes(data, "lib/x.so", "12.0")
    if pieces:
        made = b"".join(pieces)
        found = parse_gpu_code(made, "slimmed") or ()
        entries = sum(len(each.entries) for each in found if not each.relocatable)
        if entries != report.entries - report.removed or len(made) != report.after:
            raise AssertionError(f"{entries} entries are left, and the report says {report}")


def make_listings() -> list[bytes]:
    """What the lister prints of a file system with two libraries."""
    read = [parse_library(f"usr/lib/{number}.so", data) for number, data in enumerate(make_libraries()[:2])]
    lines = dump_libraries([*filter(None, read), Library("a.so", (), "it is cut short")])
    return ["\n".join(map(json.dumps, [*lines, {"end": len(lines)}])).encode()]


def mutate_listing(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    try:
        lines = [json.loads(line) for line in data.splitlines()]
    except ValueError:
        return mutate_bytes(random, data, others)
    if random.random() < 0.3:
        lines = mutate_json_value(random, lines)
    elif lines:
        place = random.randrange(len(lines))
        lines[place] = mutate_json_value(random, lines[place])
    return b"\n".join(write_json(random, line) for line in (lines if isinstance(lines, list) else [lines]))


def read_listing(data: bytes, folder: Path) -> None:
    show(*(parse_listing(data) or ()))


SUBJECTS = (
    Subject("gpucode", 300_000, make_libraries, mutate_library, read_code),
    Subject("slim", 170_000, make_slimmable, mutate_library, slim, (GpuCodeError,)),
    Subject("listing", 70_000, make_listings, mutate_listing, read_listing),
)
