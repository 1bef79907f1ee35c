"""What lies on the disk: files, folders, wheels, and what was read of wheels before."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from scripts.audit import files as module
from scripts.audit import lister
from scripts.audit.files import read_path, read_wheel, read_wheels
from scripts.audit.images import read_layout
from scripts.audit.library import VERSION, Library, dump_libraries, load_libraries
from scripts.audit.subject import read_subject
from scripts.errors import ConfigError, Undecided
from scripts.files import write_json
from scripts.gpucode import read_gpu_code
from tests.unit.audit.samples import HOST, PLAIN, SEVERAL, library
from tests.unit.oci.made import MadeImage, make_tar

WHEEL = "thing-1.0-cp311-cp311-linux_x86_64.whl"
MEMBERS = {
    "thing/_C.so": PLAIN,
    "thing/host.so": HOST,
    "thing/__init__.py": b"",
    "thing-1.0.data/purelib/other/_C.so": SEVERAL,
    "thing-1.0.data/platlib/more/_C.so": SEVERAL,
    "thing-1.0.data/scripts/tool": PLAIN,
    "thing-1.0.dist-info/RECORD": b"",
}
FOUND = {"thing/_C.so": PLAIN, "other/_C.so": SEVERAL, "more/_C.so": SEVERAL, "thing-1.0.data/scripts/tool": PLAIN}


def make_wheel(path: Path, members: Mapping[str, bytes] = MEMBERS) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def ignore(text: str) -> None:
    """An update that nobody reads."""


def expected(found: Mapping[str, bytes], prefix: str = "") -> list[Library]:
    return [library(f"{prefix}{name}", data) for name, data in found.items()]


# --- files and folders


def test_a_file_is_known_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.so").write_bytes(PLAIN)
    assert read_path(tmp_path / "a.so") == [library("a.so")]


@pytest.mark.parametrize("start", [b"\x7fELF\x01\x01", b"\x7fELF\x02\x02", b"\x7fELF\x01\x02", b"\x7fELF"])
@pytest.mark.parametrize("path", ["file", "folder", "wheel", "layout", "container"])
def test_what_no_process_of_the_image_can_load_is_no_library_anywhere(path: str, start: bytes, tmp_path: Path) -> None:
    """Of 32 bits, or of the other byte order: the same is said of it, and the same exit code follows, in all forms."""
    other = start + PLAIN[len(start) :] if len(start) > 4 else start

    def read(data: bytes) -> list[Library]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        (folder / "a.so").write_bytes(data)
        if path == "container":
            found = lister.examine(os.fsencode(folder / "a.so"), "a.so")
            return load_libraries([json.loads(json.dumps(found))] if found else [])
        if path == "wheel":
            return read_path(make_wheel(folder / WHEEL, {"a.so": data}))
        if path == "layout":
            image = MadeImage()
            return read_layout(image.write(folder / "layout", image.add([make_tar(("a.so", data))])), ignore)
        return read_path(folder / "a.so" if path == "file" else folder)

    assert read(other) == []
    assert read(PLAIN) == [library("a.so")]


@pytest.mark.parametrize("data", [b"", b"text", HOST])
def test_a_file_without_gpu_code_has_no_library(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.so").write_bytes(data)
    assert read_path(tmp_path / "a.so") == []


def test_a_broken_file_is_a_library_with_a_fault(tmp_path: Path) -> None:
    (tmp_path / "a.so").write_bytes(PLAIN[: len(PLAIN) // 2])
    [found] = read_path(tmp_path / "a.so")
    assert (found.path, found.containers) == ("a.so", ()) and found.fault


def test_a_folder_is_read_whole_with_paths_from_it(tmp_path: Path) -> None:
    for name, data in {"lib/b/x.so.1": PLAIN, "lib/a.so": SEVERAL, "lib/host.so": HOST, "lib/text": b"text"}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    assert read_path(tmp_path / "lib") == [library("a.so", SEVERAL), library("b/x.so.1")]


def test_a_file_is_read_once_whatever_links_to_it(tmp_path: Path) -> None:
    (tmp_path / "a.so.1").write_bytes(PLAIN)
    (tmp_path / "a.so").symlink_to("a.so.1")
    (tmp_path / "gone.so").symlink_to("nothing")
    (tmp_path / "again").symlink_to(".")
    assert read_path(tmp_path) == [library("a.so.1")]


def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.so").write_bytes(PLAIN)
    assert read_path(tmp_path) == [library("a.so")]


def test_a_link_that_was_named_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a.so.1").write_bytes(PLAIN)
    (tmp_path / "a.so").symlink_to("a.so.1")
    assert read_path(tmp_path / "a.so") == [library("a.so")]


def test_wheels_in_a_folder_are_read_like_wheels(tmp_path: Path) -> None:
    make_wheel(tmp_path / WHEEL)
    assert read_path(tmp_path) == expected(FOUND, f"{WHEEL}/")


def test_an_empty_folder_has_nothing(tmp_path: Path) -> None:
    assert read_path(tmp_path) == []


def test_what_is_not_there_is_named_with_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file or folder") as caught:
        read_path(tmp_path / "nothing")
    assert caught.value.problems[0].place == str(tmp_path / "nothing") and caught.value.problems[0].next_step


# --- wheels


def test_a_wheels_libraries_are_where_they_will_be_installed(tmp_path: Path) -> None:
    path = make_wheel(tmp_path / WHEEL)
    assert read_path(path) == read_wheel(path) == expected(FOUND)


@pytest.mark.parametrize("data", [b"", b"PK", b"text" * 100])
def test_what_is_no_wheel_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / WHEEL).write_bytes(data)
    with pytest.raises(Undecided, match="not a sound wheel") as caught:
        read_path(tmp_path / WHEEL)
    assert "fetch it again" in str(caught.value)


@pytest.mark.parametrize("place", [0.2, 0.5, 0.9])
def test_a_wheel_that_is_cut_short_is_refused(place: float, tmp_path: Path) -> None:
    data = make_wheel(tmp_path / WHEEL).read_bytes()
    (tmp_path / WHEEL).write_bytes(data[: int(len(data) * place)])
    with pytest.raises(Undecided, match="not a sound wheel"):
        read_wheel(tmp_path / WHEEL)


def test_a_wheel_with_other_bytes_in_it_is_refused(tmp_path: Path) -> None:
    data = bytearray(make_wheel(tmp_path / WHEEL).read_bytes())
    data[200] ^= 0xFF
    (tmp_path / WHEEL).write_bytes(data)
    with pytest.raises(Undecided, match="not a sound wheel"):
        read_wheel(tmp_path / WHEEL)


# --- what was read of wheels before

NAMES = ("1" * 64, "2" * 64)


@pytest.fixture
def wheels(tmp_path: Path) -> list[tuple[str, Path]]:
    """As they lie in the cache: under their hashes alone."""
    folder = tmp_path / "cache"
    folder.mkdir()
    return [
        (NAMES[0], make_wheel(folder / NAMES[0])),
        (NAMES[1], make_wheel(folder / NAMES[1], {"torch/lib/a.so": PLAIN})),
    ]


ALL = [*expected(FOUND), library("torch/lib/a.so")]


def test_wheels_are_read_in_order_and_kept(wheels: list[tuple[str, Path]], tmp_path: Path) -> None:
    said: list[str] = []
    assert read_wheels(wheels, tmp_path / "kept", said.append) == ALL
    assert said == ["1 of 2 wheels read", "2 of 2 wheels read"]
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [f"{name}.json" for name in NAMES]


def test_what_was_read_once_is_not_read_again(wheels: list[tuple[str, Path]], tmp_path: Path) -> None:
    read_wheels(wheels, tmp_path / "kept", ignore)
    for _, path in wheels:
        path.unlink()
    assert read_wheels(wheels, tmp_path / "kept", ignore) == ALL


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", "null", '{"version": 1}', '{"version": 1, "libraries": [{"path": "a"}]}']
)
def test_a_damaged_note_is_read_anew_and_mended(text: str, wheels: list[tuple[str, Path]], tmp_path: Path) -> None:
    note = tmp_path / "kept" / f"{NAMES[1]}.json"
    note.parent.mkdir()
    note.write_text(text)
    assert read_wheels(wheels, note.parent, ignore) == ALL
    assert json.loads(note.read_text())["libraries"] == json.loads(json.dumps(dump_libraries(ALL[-1:])))


def test_a_note_of_another_reader_does_not_count(
    wheels: list[tuple[str, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NAMES:
        write_json(tmp_path / "kept" / f"{name}.json", {"version": VERSION, "libraries": []})
    assert read_wheels(wheels, tmp_path / "kept", ignore) == []
    monkeypatch.setattr(module, "VERSION", VERSION + 1)
    assert read_wheels(wheels, tmp_path / "kept", ignore) == ALL
    assert read_wheels(wheels, tmp_path / "kept", ignore) == ALL


def test_a_broken_wheel_among_others_is_refused_and_leaves_no_note(
    wheels: list[tuple[str, Path]], tmp_path: Path
) -> None:
    wheels[1][1].write_bytes(b"text")
    with pytest.raises(Undecided, match="not a sound wheel"):
        read_wheels(wheels, tmp_path / "kept", ignore)
    assert not (tmp_path / "kept" / f"{NAMES[1]}.json").exists()


def test_no_wheels_have_no_libraries(tmp_path: Path) -> None:
    assert read_wheels([], tmp_path / "kept", ignore) == []


# --- what tries to go unseen, or to take for ever


def test_a_folder_that_cannot_be_read_is_no_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open/a.so").write_bytes(PLAIN)
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def refuse(path: str) -> Any:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="closed"):
        read_path(tmp_path)
    with pytest.raises(Undecided, match=r"cannot be read: .*closed"):
        read_subject(str(tmp_path), None)


def test_a_library_of_many_names_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "000.so").write_bytes(PLAIN)
    for number in range(1, 50):
        (tmp_path / f"{number:03}.so").hardlink_to(tmp_path / "000.so")
    read: list[Path] = []
    monkeypatch.setattr(module, "read_gpu_code", lambda path: read.append(path) or read_gpu_code(path))  # type: ignore[func-returns-value]
    found = read_path(tmp_path)
    assert [each.path for each in found] == [f"{number:03}.so" for number in range(50)]
    assert len(read) == 1 and all(each.containers is found[0].containers for each in found)


@pytest.mark.parametrize("name", ["a.so", WHEEL])
def test_a_pipe_that_is_named_is_not_waited_for(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(ConfigError, match="is a pipe or a device"):
        read_path(tmp_path / name)
    assert read_path(tmp_path) == []


def test_a_sparse_library_of_sixteen_gigabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.so").open("wb") as stream:
        stream.write(PLAIN)
        stream.truncate(1 << 34)
    (tmp_path / "text").write_bytes(b"text")
    os.truncate(tmp_path / "text", 1 << 34)
    assert read_path(tmp_path) == [Library("a.so", (), f"{1 << 34} bytes are more than this program reads")]


def test_a_wheel_with_one_member_under_two_names_is_refused(tmp_path: Path) -> None:
    path = make_wheel(tmp_path / WHEEL, {"a.so": PLAIN, "b.so": PLAIN})
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\1\2")
    data[entry + 42 : entry + 46] = bytes(4)
    path.write_bytes(data)
    with pytest.raises(Undecided, match=r"`b\.so` is not where the directory says"):
        read_wheel(path)
