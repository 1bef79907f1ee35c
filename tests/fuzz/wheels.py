"""Wheels: as the audit, the slimmer, and `lock` read them."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random

from scripts.assemble.wheel import read_wheel
from scripts.audit.files import read_wheel as read_libraries
from scripts.errors import ConfigError
from scripts.fetch import Cache
from scripts.files import link_or_copy
from scripts.gpucode import Entry
from scripts.index.files import read_requirements
from scripts.index.solve import FoundFile
from scripts.lock.records import find_record, list_installed
from scripts.report.libraries import show_slimmed
from scripts.slim.wheel.wheel import slim_wheel
from tests.fuzz.code import make_slimmable, mutate_library, show
from tests.fuzz.mutate import Span, mutate_bytes, mutate_text
from tests.fuzz.subject import Subject, choose
from tests.unit.assemble import record_of
from tests.unit.builders import lock_bytes
from tests.unit.gpucode import make_container, make_elf, make_entry

NAME = "big_kernels-1.0-cp311-cp311-linux_x86_64.whl"
INFO = "big_kernels-1.0.dist-info"
METADATA = """\
Metadata-Version: 2.4
Name: big-kernels
Version: 1.0
License-Expression: MIT
License-File: LICENSE
Classifier: License :: OSI Approved :: MIT License

A text.
"""
_Members = dict[str, bytes]


def _pack(members: _Members, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2024, 1, 2, 3, 4, 6)), data, method)
    return stream.getvalue()


@cache
def _members() -> _Members:
    small = make_elf([(".nv_fatbin", make_container([make_entry(Entry("sass", "90", "none", 16, 16))]))])
    members = {
        "big/__init__.py": b"",
        "big/_C.so": make_slimmable()[0],
        "big/small.so.1": small,
        "big_kernels-1.0.data/scripts/big": b"#!python\n",
        f"{INFO}/METADATA": METADATA.encode(),
        f"{INFO}/WHEEL": b"Wheel-Version: 1.0\nTag: cp311-cp311-linux_x86_64\n",
        f"{INFO}/entry_points.txt": b"[console_scripts]\nbig = big:main\n",
        f"{INFO}/licenses/LICENSE": b"Permission is hereby granted, free of charge\n",
    }
    return members | {f"{INFO}/RECORD": record_of(members, INFO)}


@cache
def make_wheels() -> list[bytes]:
    members = _members()
    few = {name: data for name, data in members.items() if name.startswith(INFO)}
    return [_pack(members), _pack(few, zipfile.ZIP_STORED), _pack({**few, "big/x.so": members["big/small.so.1"]})]


@cache
def _hot(data: bytes) -> tuple[Span, ...]:
    """The directory, its end, and the first header."""
    place = data.find(b"PK\x01\x02")
    return ((place, len(data)), (place, len(data)), (max(0, len(data) - 22), len(data)), (0, 64))


def mutate_wheel(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """An archive with other bytes; or a sound one with other members."""
    if random.random() < 0.5:
        return mutate_bytes(random, data, others, _hot(data))
    members = dict(_members())
    for _ in range(random.choice((1, 1, 2, 4))):
        name = random.choice([*members])
        body = members.pop(name)
        how = random.random()
        if how < 0.25:
            name = mutate_text(random, name).encode("utf-8", "replace").decode()[:60_000]
        elif how < 0.35:
            continue
        elif body.startswith(b"\x7fELF"):
            body = mutate_library(random, body, others)
        elif how < 0.7:
            body = mutate_text(random, body.decode("utf-8", "replace")).encode("utf-8", "replace")
        else:
            body = mutate_bytes(random, body, [*members.values()])
        members[name] = body
    return _pack(members, random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))


def read(data: bytes, folder: Path) -> None:
    """By one of its readers: the audit, the slimmer, the one that installs, and the one that looks ahead."""
    wheel = folder / NAME
    wheel.write_bytes(data)
    call = choose((_audit, _slim, _slim, _install, _lock), data)
    try:
        call(wheel)
    except ConfigError as error:
        if call is not _lock:  # the same damage has one exit code, whoever finds it
            raise AssertionError(f"damage is no wrong configuration: {error}") from error
        raise


def _audit(wheel: Path) -> None:
    show(*read_libraries(wheel))


def _slim(wheel: Path) -> None:
    made = wheel.parent / "made"
    made.mkdir(exist_ok=True)
    slimmed = slim_wheel(wheel, made, "12.0", "0" * 64)
    show_slimmed(slimmed)
    if slimmed.wheel:
        with zipfile.ZipFile(slimmed.wheel) as archive:
            if broken := archive.testzip():
                raise AssertionError(f"{broken} is broken in the slimmed wheel")
        read_libraries(slimmed.wheel)
        slimmed.wheel.unlink()


def _install(wheel: Path) -> None:
    files = read_wheel(wheel, "3.11")
    for entry in files.entries:
        if entry.path.startswith("/") or ".." in entry.path.split("/"):
            raise AssertionError(f"{entry.path} leads out of the image's environment")
        try:
            entry.read()
        except ValueError:  # its bytes are not those of RECORD: whoever packs the layer says so
            continue
    files.record([])


def _lock(wheel: Path) -> None:
    cache = Cache(wheel.parent)
    locked = lock_bytes(wheel.read_bytes(), file=NAME)
    link_or_copy(wheel, cache.path(locked.sha256))
    record = find_record(locked, cache)
    if record:
        list_installed(record, "big-kernels", "3.11")
    shutil.rmtree(wheel.parent / "records", ignore_errors=True)
    read_requirements(FoundFile("big-kernels", "1.0", NAME, locked.sha256, wheel.as_uri(), 0))
    cache.path(locked.sha256).unlink()


SUBJECTS = (Subject("wheel", 20_000, make_wheels, mutate_wheel, read),)
