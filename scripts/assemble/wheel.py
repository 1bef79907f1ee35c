"""What installing a wheel puts into an image's environment, without installing it.

The rules of scripts, entry points and data folders are those of PyPA's `installer`. It is not left to install: it
would read every member twice, and follow names that a hostile wheel chooses. So all names are judged first, and the
bytes are compared with the wheel's RECORD at the one time they are read, which is when they are packed.
"""

from __future__ import annotations

import configparser
import functools
import io
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from installer.scripts import Script
from installer.utils import fix_shebang, parse_entrypoints

from scripts.assemble.identity import Identity, check_metadata, identify
from scripts.assemble.record import SIGNATURES, Row, parse_record, render_record
from scripts.assemble.tree import (
    EXECUTABLE,
    PLAIN,
    Data,
    Entry,
    bytecode_path,
    make_file,
    parents,
    path_fault,
)
from scripts.assemble.venv import BIN, INTERPRETER, is_reserved, scheme_folders, site_packages
from scripts.errors import Undecided
from scripts.zips import ZipMember, ZipReader

INSTALLER = b"hallmark\n"
_WRITTEN_HERE = ("INSTALLER", "RECORD", *SIGNATURES)  # of the .dist-info folder: the business of whoever installs
_METADATA_FOLDERS = (".dist-info", ".egg-info")  # Python takes each for a distribution
_MAX_TEXT = 64 << 20  # bytes of a text in a wheel; torch's RECORD has 1.2 MB


@dataclass(frozen=True)
class WheelFiles:
    """What a wheel becomes in the environment of an image with Python X.Y (`python`).

    `name` is the distribution's in its canonical spelling. `entries` are its files sorted by path, all but RECORD,
    which lists the byte code, too: see `record`. `sources` are the paths of the modules that are to have byte code,
    sorted. `info` is the path of the .dist-info folder.
    """

    name: str
    version: str
    python: str
    info: str
    entries: Sequence[Entry] = field(repr=False)
    sources: Sequence[str] = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes of all entries."""
        return sum(entry.size for entry in self.entries)

    def record(self, bytecode: Collection[str]) -> Entry:
        """RECORD, with these paths of byte code in it. Raises ValueError for one that is of none of `sources`."""
        stray = set(bytecode) - {bytecode_path(source, self.python) for source in self.sources}
        if stray:
            raise ValueError(f"{self.name} has no module for {min(stray)}")
        path = f"{self.info}/RECORD"
        return make_file(path, render_record(self.entries, [*bytecode, path], site_packages(self.python)))


def read_wheel(path: Path, python: str, file: str = "") -> WheelFiles:
    """Read what a wheel puts into the environment of Python X.Y. A member's bytes are read when its entry is.

    `file` is the wheel's own file name, where it lies under another one.

    Raises Undecided for a damaged wheel, for one that does not fit `python`, its own name or its RECORD, and for any
    member that could reach other files than the wheel's own; ConfigError for a `python` that is none; OSError.
    """
    modules = site_packages(python)
    archive = ZipReader(path, file)
    try:
        wheel = _Wheel(archive, python, file or path.name)
        entries = sorted(wheel.entries(), key=lambda entry: entry.path)
        _refuse_collisions(entries, f"{modules}/{wheel.identity.info}")
    except ValueError as error:
        raise _refused(file or path.name, str(error)) from error
    sources = [entry.path for entry in entries if _is_module(entry.path, modules)]
    identity = wheel.identity
    info = f"{modules}/{identity.info}"
    return WheelFiles(identity.name, str(identity.version), python, info, tuple(entries), tuple(sources))


def _refused(wheel: str, cause: str) -> Undecided:
    return Undecided(cause, wheel, "lock another version of it, or build the wheel again, and tell its makers")


def _is_module(path: str, modules: str) -> bool:
    return path.endswith(".py") and path.startswith(f"{modules}/")


class _Wheel:
    """A wheel that is open and whose names were judged. Its methods raise ValueError with what is wrong."""

    def __init__(self, archive: ZipReader, python: str, file: str) -> None:
        self._archive, self._file = archive, file
        self._members = _files(archive.members.values())
        self.identity: Identity = identify(file, self._members, python)
        self._folders = scheme_folders(python, self.identity.spelled)
        check_metadata(self.identity, self._text("METADATA"), self._text("WHEEL"))
        self._rows = parse_record(self._text("RECORD"), f"{self.identity.info}/RECORD")
        self._written_here = {f"{self.identity.info}/{name}" for name in _WRITTEN_HERE}
        self._compare_with_record()

    def _text(self, name: str) -> str:
        member = self._members.get(f"{self.identity.info}/{name}")
        if member is None:
            raise ValueError(f"it has no {name}")
        try:
            return self._archive.read(member, _MAX_TEXT).decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{name} is not UTF-8") from error

    def _compare_with_record(self) -> None:
        for name, member in self._members.items():
            row = self._rows.get(name)
            if row is None:
                if name not in self._written_here:
                    raise ValueError(f"RECORD does not list `{name}`")
            elif row.size not in (-1, member.info.file_size):
                raise ValueError(f"`{name}` has another size than RECORD says")
        missing = self._rows.keys() - self._members.keys()
        if missing:
            raise ValueError(f"RECORD lists `{min(missing)}`, which is not there")

    def entries(self) -> Iterator[Entry]:
        """All files but RECORD, in no order."""
        for name, member in self._members.items():
            if name not in self._written_here and "__pycache__" not in name.split("/")[:-1]:
                yield self._place(name, member)
        yield make_file(f"{self._folders['purelib']}/{self.identity.info}/INSTALLER", INSTALLER)
        if f"{self.identity.info}/entry_points.txt" in self._members:
            yield from _scripts(self._text("entry_points.txt"))

    def _place(self, name: str, member: ZipMember) -> Entry:
        scheme, inside = "purelib", name
        if name.startswith(f"{self.identity.data}/"):
            _, scheme, *rest = name.split("/", 2)
            if scheme not in self._folders or not rest:
                raise ValueError(f"`{name}` is in no data folder that there is")
            inside = rest[0]
        path = f"{self._folders[scheme]}/{inside}"
        row = self._rows[name]
        content = functools.partial(_read, self._archive, member, row, self._file)
        bits = member.info.external_attr >> 16
        mode = EXECUTABLE if scheme == "scripts" or (stat.S_ISREG(bits) and bits & 0o111) else PLAIN
        if scheme == "scripts" and (changed := _change_shebang(content())) is not None:
            return make_file(path, changed, mode)
        return Entry(path, mode, "file", "", member.info.file_size, row.digest, content)


def _files(members: Iterable[ZipMember]) -> dict[str, ZipMember]:
    """The members that are files, by name."""
    files: dict[str, ZipMember] = {}
    folders = set()
    for member in members:
        info = member.info
        kind = stat.S_IFMT(info.external_attr >> 16)
        name = info.filename.removesuffix("/")
        # The name is cut at a NUL when the directory is read; what stood behind it is seen by nobody else.
        fault = path_fault(name) or ("is not what the archive calls it" if info.orig_filename != info.filename else "")
        if fault:
            raise ValueError(f"the path `{info.filename!a}` {fault}")
        if info.filename.endswith("/"):
            if kind not in (0, stat.S_IFDIR) or info.file_size:
                raise ValueError(f"`{info.filename}` is not the directory that its name says")
            folders.add(name)
        elif kind in (0, stat.S_IFREG):
            files[name] = member
        else:
            raise ValueError(f"`{name}` is a link, a device or the like, not a file")
        folders.update(parents(name))
    if both := folders & files.keys():
        raise ValueError(f"`{min(both)}` is both a file and a directory")
    return files


def _read(archive: ZipReader, member: ZipMember, row: Row, file: str) -> Data:
    data = archive.read(member)
    if not row.matches(data):
        raise _refused(file, f"`{member.name}` has another hash than RECORD says")
    return data


def _change_shebang(data: Data) -> bytes | None:
    """A script with `#!python` made one of the environment's Python; None for any other."""
    with fix_shebang(io.BytesIO(data), INTERPRETER) as stream:
        changed = stream.read()
    return None if changed == data else changed


def _scripts(text: str) -> Iterator[Entry]:
    """The scripts of a distribution's entry points, as `installer` writes them."""
    try:
        points = list(parse_entrypoints(text))
    except (AssertionError, configparser.Error) as error:  # `installer` asserts what it expects
        raise ValueError("entry_points.txt cannot be read") from error
    for name, module, attribute, section in points:
        if fault := path_fault(name) or ("has a slash" if "/" in name else ""):
            raise ValueError(f"the entry point `{name!a}` {fault}")
        file, data = Script(name, module, attribute, section).generate(INTERPRETER, "posix")
        yield make_file(f"{BIN}/{file}", data, EXECUTABLE)


def _refuse_collisions(entries: Sequence[Entry], info: str) -> None:
    """Judge where files end up. `entries` are sorted, `info` is the wheel's own .dist-info folder in the image."""
    modules, _, own = info.rpartition("/")
    paths: set[str] = set()
    for entry in entries:
        if entry.path in paths:
            raise ValueError(f"two of its files would be `/{entry.path}`")
        if is_reserved(entry.path):
            raise ValueError(f"`/{entry.path}` belongs to the environment itself")
        paths.add(entry.path)
    for entry in entries:
        above = parents(entry.path)
        if both := paths.intersection(above):
            raise ValueError(f"`/{min(both)}` would be both a file and a directory")
        top = entry.path.removeprefix(f"{modules}/").split("/")[0]
        if top.endswith(_METADATA_FOLDERS) and top != own:
            raise ValueError(f"`/{entry.path}` speaks for another distribution")
