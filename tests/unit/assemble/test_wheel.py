from __future__ import annotations

import csv
import importlib.metadata
import io
import os
import stat
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from installer import install
from installer.destinations import SchemeDictionaryDestination
from installer.sources import WheelFile

from scripts.assemble.tree import bytecode_path
from scripts.assemble.venv import scheme_folders
from scripts.assemble.wheel import WheelFiles, read_wheel
from scripts.errors import ConfigError, Undecided
from tests.unit.assemble import DATA, FILE, INFO, METADATA, WHEEL, digest, record_of, sound, write_wheel

MODULES = "opt/venv/lib/python3.11/site-packages"
OWN_RECORD = f"{MODULES}/{INFO}/RECORD"


def read(tmp_path: Path, **arguments: Any) -> WheelFiles:
    return read_wheel(write_wheel(tmp_path / "wheels", **arguments), "3.11")


def unpack(files: WheelFiles, root: Path) -> None:
    for entry in [*files.entries, files.record([])]:
        path = root / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(entry.read())
        path.chmod(entry.mode)


def installed(wheel: Path, root: Path) -> dict[str, tuple[bytes, bool]]:
    """What `installer` itself puts there: bytes, and whether they can be run."""
    schemes = {scheme: f"/{folder}" for scheme, folder in scheme_folders("3.11", "odd_Tools").items()}
    target = SchemeDictionaryDestination(schemes, "/opt/venv/bin/python", "posix", destdir=str(root))
    with WheelFile.open(wheel) as source:
        source.validate_record()
        install(source, target, {"INSTALLER": b"hallmark\n"})
    return {
        str(path.relative_to(root)): (path.read_bytes(), os.access(path, os.X_OK) and bool(path.stat().st_mode & 0o100))
        for path in root.rglob("*")
        if path.is_file()
    }


def rows(record: bytes) -> list[list[str]]:
    """A RECORD's rows, sorted. `installer` writes `./x.py` for what comes out of a data folder."""
    return sorted([os.path.normpath(path), *rest] for path, *rest in csv.reader(io.StringIO(record.decode())))


@pytest.mark.parametrize("pure", [b"true", b"false"])
def test_the_files_are_those_that_installer_installs(tmp_path: Path, pure: bytes) -> None:
    members = sound(**{f"{INFO}/WHEEL": WHEEL.replace(b"Purelib: true", b"Purelib: " + pure)})
    wheel = write_wheel(tmp_path, members, modes={"odd/deep/data.bin": 0o100755})
    files = read_wheel(wheel, "3.11")
    expected = installed(wheel, tmp_path / "root")
    mine = {entry.path: (bytes(entry.read()), entry.mode == 0o755) for entry in [*files.entries, files.record([])]}

    assert mine.keys() == expected.keys()
    records = [rows(found.pop(OWN_RECORD)[0]) for found in (mine, expected)]
    assert mine == expected
    assert records[0] == records[1]
    assert mine["opt/venv/bin/odd-script"][0].startswith(b"#!/opt/venv/bin/python\n")
    assert b'if __name__ == "__main__":' in mine["opt/venv/bin/odd"][0]
    assert {entry.mode for entry in files.entries} == {0o644, 0o755}
    assert not tmp_path.joinpath("etc").exists()


def test_scripts_can_be_run_and_else_what_the_archive_says(tmp_path: Path) -> None:
    plain = dict.fromkeys([f"{DATA}/scripts/odd-script", f"{DATA}/scripts/odd-shell"], 0o100644)
    files = read(tmp_path, modes={**plain, "single.py": 0o100744, "odd/empty.py": 0o755, "odd/__init__.py": 0o100600})
    assert {entry.path.rpartition("/")[2] for entry in files.entries if entry.mode == 0o755} == {
        *("odd", "odd-gui", "odd-script", "odd-shell", "single.py")
    }
    assert {entry.mode for entry in files.entries} == {0o644, 0o755}


def test_python_finds_the_distribution(tmp_path: Path) -> None:
    files = read(tmp_path)
    unpack(files, tmp_path / "root")
    [found] = importlib.metadata.distributions(path=[str(tmp_path / "root" / MODULES)])
    assert (found.metadata["Name"], found.version) == ("odd-tools", "1.0") == (files.name, files.version)
    assert {(point.group, point.name, point.value) for point in found.entry_points} == {
        ("console_scripts", "odd", "odd:main"),
        ("gui_scripts", "odd-gui", "odd.deep:Gui.run [x]"),
        ("odd.plugins", "one", "odd:main"),
    }
    assert found.read_text("INSTALLER") == "hallmark\n"
    assert found.files is not None
    listed = {os.path.normpath(Path(MODULES) / file) for file in found.files}
    assert listed == {entry.path for entry in files.entries} | {OWN_RECORD}
    for file in found.files:
        if file.hash:
            assert digest(file.read_binary()) == f"sha256={file.hash.value}"
            assert file.size == len(file.read_binary())


def test_what_it_tells_about_a_wheel(tmp_path: Path) -> None:
    files = read(tmp_path)
    paths = [entry.path for entry in files.entries]
    assert paths == sorted(paths) and files.info == f"{MODULES}/{INFO}"
    assert files.size == sum(len(entry.read()) for entry in files.entries)
    names = ["odd/__init__.py", "odd/empty.py", "plat_extra.py", "pure_extra.py", "single.py"]
    assert list(files.sources) == [f"{MODULES}/{name}" for name in names]


def test_record_lists_byte_code_without_hashes(tmp_path: Path) -> None:
    files = read(tmp_path)
    compiled = [bytecode_path(source, "3.11") for source in files.sources[:2]]
    entry = files.record(compiled)
    rows = list(csv.reader(io.StringIO(entry.read().decode())))
    assert rows == sorted(rows) and (entry.path, entry.mode) == (OWN_RECORD, 0o644)
    assert ["odd/__pycache__/__init__.cpython-311.pyc", "", ""] in rows
    assert [f"{INFO}/RECORD", "", ""] in rows
    assert len(rows) == len(files.entries) + 3
    with pytest.raises(ValueError, match="no module for"):
        files.record([f"{MODULES}/other/__pycache__/x.cpython-311.pyc"])


def test_byte_code_signatures_and_installer_of_the_wheel_are_left_out(tmp_path: Path) -> None:
    extra = {"odd/__pycache__/empty.cpython-311.pyc": b"evil", f"{INFO}/INSTALLER": b"other\n"}
    listed = record_of(sound(**extra))
    members = sound(**extra, **{f"{INFO}/RECORD.jws": b"{}", f"{INFO}/RECORD.p7s": b""})
    assert read(tmp_path, members=members, record=listed).entries == read(tmp_path / "plain").entries


def test_directories_in_a_wheel_are_no_files(tmp_path: Path) -> None:
    members = {"odd/": b"", f"{DATA}/": b"", f"{DATA}/scripts/": b"", **sound()}
    assert read(tmp_path, members=members).entries == read(tmp_path / "plain").entries


def test_a_file_is_read_when_its_entry_is(tmp_path: Path) -> None:
    wheel = write_wheel(
        tmp_path, record=record_of(sound()).replace(digest(b"ANSWER = 42\n").encode(), digest(b"").encode())
    )
    [entry] = [entry for entry in read_wheel(wheel, "3.11").entries if entry.path.endswith("single.py")]
    with pytest.raises(Undecided, match=r"`single\.py` has another hash than RECORD says") as caught:
        entry.read()
    [problem] = caught.value.problems
    assert problem.place == FILE and problem.next_step


def test_a_script_is_compared_with_record_before_it_is_changed(tmp_path: Path) -> None:
    right, wrong = digest(sound()[f"{DATA}/scripts/odd-script"]), digest(b"")
    with pytest.raises(Undecided, match="odd-script` has another hash"):
        read(tmp_path, record=record_of(sound()).replace(right.encode(), wrong.encode()))


_LINE = f"single.py,{digest(sound()['single.py'])},".encode()
LIE = record_of(sound()).replace(_LINE + b"12", _LINE + b"13")


def test_a_hash_of_another_length_is_compared_too(tmp_path: Path) -> None:
    members = sound(**{"many/" + "x" * 200 + ".py": b"long = True\n"})
    assert read(tmp_path, members=members).sources[0].startswith(f"{MODULES}/many/")


def dropped(name: str) -> dict[str, bytes]:
    return {key: data for key, data in sound().items() if key != name}


LINK, DEVICE, PIPE = stat.S_IFLNK | 0o777, stat.S_IFCHR | 0o600, stat.S_IFIFO | 0o600
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "up": ({"members": sound(**{"../x.py": b""})}, "not a path inside"),
    "up in the middle": ({"members": sound(**{"odd/../../x.py": b""})}, "not a path inside"),
    "up in data": ({"members": sound(**{f"{DATA}/data/../../x": b""})}, "not a path inside"),
    "absolute": ({"members": sound(**{"/etc/x.py": b""})}, "not a path inside"),
    "backslash": ({"members": sound(**{"odd\\x.py": b""})}, "not a path inside"),
    "dot": ({"members": sound(**{"./single.py": b"ANSWER = 42\n"})}, "has a part `.`"),
    "dot inside": ({"members": sound(**{"odd/./x.py": b""})}, "has a part `.`"),
    "two slashes": ({"members": sound(**{"odd//x.py": b""})}, "has a part ``"),
    "control": ({"members": sound(**{"odd/x\ny.py": b""})}, "control character"),
    "whiteout": ({"members": sound(**{"odd/.wh.x": b""})}, "deletes files"),
    "long": ({"members": sound(**{"odd/" + "x" * 256: b""})}, "255"),
    "link": ({"modes": {"single.py": LINK}}, "`single.py` is a link"),
    "device": ({"modes": {"single.py": DEVICE}}, "`single.py` is a link, a device"),
    "pipe": ({"modes": {"single.py": PIPE}}, "`single.py` is a link, a device"),
    "directory without slash": ({"modes": {"single.py": 0o040755}}, "not a file"),
    "linked directory": ({"members": {"way/": b"", **sound()}, "modes": {"way/": LINK}}, "not the directory"),
    "directory with bytes": ({"members": {"way/": b"x", **sound()}}, "not the directory"),
    "file and directory": ({"members": sound(**{"single.py/x.py": b""})}, "both a file and a directory"),
    "root and purelib": ({"members": sound(**{f"{DATA}/purelib/single.py": b""})}, "two of its files"),
    "purelib and platlib": ({"members": sound(**{f"{DATA}/platlib/pure_extra.py": b""})}, "two of its files"),
    "data and root": (
        {"members": sound(**{f"{DATA}/data/lib/python3.11/site-packages/single.py": b""})},
        "two of its files",
    ),
    "script and entry point": ({"members": sound(**{f"{DATA}/scripts/odd": b"#!python\n"})}, "two of its files"),
    "file and directory at the end": (
        {"members": sound(**{f"{DATA}/purelib/odd": b""})},
        "both a file and a directory",
    ),
    "a folder of data that is none": ({"members": sound(**{f"{DATA}/etc/x": b""})}, "no data folder"),
    "a file in data": ({"members": sound(**{f"{DATA}/scripts": b""})}, "both a file|no data folder"),
    "a lonely file in data": ({"members": {**sound(), f"{DATA}/loose": b""}}, "no data folder"),
    "another's data": ({"members": sound(**{"other-1.0.data/purelib/x.py": b""})}, "data of another"),
    "interpreter": ({"members": sound(**{f"{DATA}/scripts/python3": b""})}, "environment itself"),
    "interpreter as entry point": (
        {"members": sound(**{f"{INFO}/entry_points.txt": b"[console_scripts]\npython = odd:main\n"})},
        "environment itself",
    ),
    "pyvenv.cfg": ({"members": sound(**{f"{DATA}/data/pyvenv.cfg": b""})}, "environment itself"),
    "lib64": ({"members": sound(**{f"{DATA}/data/lib64/x": b""})}, "environment itself"),
    "activate": ({"members": sound(**{f"{DATA}/data/bin/activate": b""})}, "environment itself"),
    "a second distribution": (
        {"members": sound(**{f"{DATA}/purelib/pip-1.dist-info/METADATA": b""})},
        "speaks for another distribution",
    ),
    "a second distribution of the old kind": (
        {"members": sound(**{"pip.egg-info/PKG-INFO": b""})},
        "speaks for another distribution",
    ),
    "file and empty directory": ({"members": {"single.py/": b"", **sound()}}, "both a file and a directory"),
    "entry point with a slash": (
        {"members": sound(**{f"{INFO}/entry_points.txt": b"[console_scripts]\na/b = odd:main\n"})},
        "has a slash",
    ),
    "entry point up": (
        {"members": sound(**{f"{INFO}/entry_points.txt": b"[console_scripts]\n.. = odd:main\n"})},
        "has a part",
    ),
    "entry point without a function": (
        {"members": sound(**{f"{INFO}/entry_points.txt": b"[console_scripts]\na = odd\n"})},
        "cannot be read",
    ),
    "entry points that are none": (
        {"members": sound(**{f"{INFO}/entry_points.txt": b"console_scripts\n"})},
        "cannot be read",
    ),
    "no RECORD": ({"record": b""}, "it has no RECORD"),
    "no WHEEL": ({"members": dropped(f"{INFO}/WHEEL")}, "it has no WHEEL"),
    "no METADATA": ({"members": dropped(f"{INFO}/METADATA")}, "it has no METADATA"),
    "METADATA of another": (
        {"members": sound(**{f"{INFO}/METADATA": METADATA.replace(b"odd-", b"even-")})},
        "METADATA is of another",
    ),
    "METADATA in another encoding": (
        {"members": sound(**{f"{INFO}/METADATA": METADATA + "ä".encode("latin-1")})},
        "not UTF-8",
    ),
    "a newer format": ({"members": sound(**{f"{INFO}/WHEEL": b"Wheel-Version: 2.0\n"})}, "version 2.0"),
    "a file that RECORD omits": ({"record": record_of(dropped("single.py"))}, "does not list `single.py`"),
    "a file that is missing": ({"record": record_of(sound(**{"gone.py": b""}))}, "`gone.py`, which is not there"),
    "a size that is wrong": ({"record": LIE}, "another size"),
    "a weak hash": (
        {"record": record_of(sound()).replace(b"single.py,sha256=", b"single.py,sha1=")},
        "no hash of `single.py`",
    ),
    "another name": ({"file": "other-1.0-py3-none-any.whl"}, "another distribution than its name"),
    "another version": ({"file": "odd_Tools-1.1-py3-none-any.whl"}, "another distribution than its name"),
    "another Python": ({"file": "odd_Tools-1.0-cp312-cp312-linux_x86_64.whl"}, "not for Python 3.11"),
}


@pytest.mark.parametrize(("arguments", "cause"), BAD.values(), ids=BAD)
def test_a_wheel_is_refused(tmp_path: Path, arguments: Mapping[str, Any], cause: str) -> None:
    with pytest.raises(Undecided, match=cause) as caught:
        read(tmp_path, **arguments)
    [problem] = caught.value.problems
    assert problem.place == arguments.get("file", FILE) and problem.next_step


def change(wheel: Path, edit: Callable[[bytes], bytes]) -> Path:
    wheel.write_bytes(edit(wheel.read_bytes()))
    return wheel


def test_a_member_twice(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(wheel, "a") as made:
        made.writestr("single.py", b"ANSWER = 42\n")
    with pytest.raises(Undecided, match=r"it has `single\.py` twice"):
        read_wheel(wheel, "3.11")


def test_a_name_that_goes_on_after_a_nul(tmp_path: Path) -> None:
    members = sound(**{"odd/xQy.py": b""})
    record = record_of(sound(**{"odd/x": b""}))
    wheel = change(write_wheel(tmp_path, members, record=record), lambda data: data.replace(b"xQy.py", b"x\0y.py"))
    with pytest.raises(Undecided, match="is not what the archive calls it"):
        read_wheel(wheel, "3.11")


def test_a_python_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a version"):
        read_wheel(write_wheel(tmp_path), "3")
