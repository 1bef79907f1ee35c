"""The reader that runs inside an image: what it sees, what it leaves out, and that it finds what the others find."""

from __future__ import annotations

import ast
import io
import json
import os
import sys
from pathlib import Path

import pytest

from scripts.audit import library as library_module
from scripts.audit import lister
from scripts.audit.library import Library
from scripts.audit.listing import parse_listing
from tests.unit.audit.samples import HOST, PLAIN, SEVERAL, library
from tests.unit.builders import DATA, REPOSITORY_ROOT

MOUNTS = "1 0 0:2 / / rw - overlay overlay rw\n2 1 0:3 / /proc rw,nosuid - proc proc rw\n"


def run(root: Path, capsys: pytest.CaptureFixture[str], *mounted: Path) -> list[Library]:
    mounts = root.parent / "mountinfo"
    points = [str(path).replace(" ", "\\040") for path in mounted]
    mounts.write_text(MOUNTS + "".join(f"9 1 0:9 / {point} ro - ext4 /dev/vda ro\n" for point in points))
    lister.main(os.fsencode(root), str(mounts))
    found = parse_listing(capsys.readouterr().out.encode())
    assert found is not None
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system with one of each."""
    root = tmp_path / "root"
    (root / "usr/lib/deep").mkdir(parents=True)
    (root / "usr/lib/a.so").write_bytes(PLAIN)
    (root / "usr/lib/deep/b.so.1").write_bytes(SEVERAL)
    (root / "usr/lib/host.so").write_bytes(HOST)
    (root / "usr/lib/broken.so").write_bytes(PLAIN[: len(PLAIN) // 2])
    (root / "usr/lib/tiny").write_bytes(PLAIN[:6])
    (root / "empty").write_bytes(b"")
    (root / "text").write_text("text")
    (root / "a.so").symlink_to("usr/lib/a.so")
    (root / "lib").symlink_to("usr/lib")
    os.link(root / "usr/lib/a.so", root / "z.so")
    os.mkfifo(root / "pipe")
    return root


def test_every_library_is_listed_at_every_path_and_links_are_not(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(root, capsys)
    assert [item for item in found if not item.fault] == [
        library("usr/lib/a.so"),
        library("usr/lib/deep/b.so.1", SEVERAL),
        library("z.so"),
    ]
    assert [item.path for item in found if item.fault] == ["usr/lib/broken.so", "usr/lib/tiny"]


@pytest.mark.parametrize("name", sorted(path.name for path in (DATA / "gpucode").glob("*.*o")))
@pytest.mark.parametrize("length", [1.0, 0.5, 0.01, 0.004])
def test_it_finds_what_the_reader_of_streams_finds(
    name: str, length: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = (DATA / "gpucode" / name).read_bytes()
    data = data[: int(length * len(data))]
    (tmp_path / "root").mkdir()
    (tmp_path / "root/x y.so").write_bytes(data)
    expected = library_module.read_library("x y.so", len(data), io.BytesIO(data))
    assert run(tmp_path / "root", capsys) == ([expected] if expected else [])


def test_what_is_too_large_is_the_same_fault(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (lister.LARGEST, lister.LOADABLE) == (library_module.LARGEST, library_module.LOADABLE)
    monkeypatch.setattr(lister, "LARGEST", 1000)
    monkeypatch.setattr(library_module, "LARGEST", 1000)
    expected = library_module.read_library("z.so", len(PLAIN), io.BytesIO(PLAIN))
    assert run(root, capsys)[-1] == expected


def test_what_is_mounted_is_not_the_image_s(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "a b").mkdir()
    (root / "a b/c.so").write_bytes(PLAIN)
    found = run(root, capsys, root / "usr/lib/deep", root / "a b", root / "z.so")
    assert [item.path for item in found if not item.fault] == ["usr/lib/a.so"]


def test_a_name_that_is_not_utf_8_is_spelled_out_as_in_a_layer(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.so")).write_bytes(PLAIN)
    assert run(root, capsys)[0] == library("caf\\xe9.so")


def test_what_cannot_be_listed_ends_it_without_the_last_line(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: bytes, name: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(lister, "examine", refuse)
    with pytest.raises(PermissionError):
        run(root, capsys)
    assert parse_listing(capsys.readouterr().out.encode()) is None


def test_it_needs_python_3_10_and_its_standard_library_alone() -> None:
    sources = [REPOSITORY_ROOT / "scripts/audit/lister.py", *(REPOSITORY_ROOT / "scripts/gpucode").glob("*.py")]
    found: set[str] = set()
    for source in sources:
        tree = ast.parse(source.read_text(), feature_version=(3, 10))
        found |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        found |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in found if name.split(".")[0] not in sys.stdlib_module_names} == {
        "scripts.gpucode",
        "scripts.gpucode.compat",
        "scripts.gpucode.elf",
        "scripts.gpucode.fatbin",
    }


# --- what it printed, read


ONE = {"path": "a", "containers": [], "fault": "why"}
ENTRY = {"kind": "sass", "arch": "120", "compression": "none", "stored_size": 1, "size": 1, "ptx_version": ""}
CONTAINER = {"section": ".nv_fatbin", "offset": 0, "entries": [ENTRY]}

NO_CONTAINERS: list[dict[str, object]] = [{"section": "x"}, {"offset": -1}, {"offset": "0"}, {"entries": 1}]
NO_ENTRIES: list[dict[str, object]] = [
    {"kind": "x"},
    {"kind": []},
    {"arch": 120},
    {"arch": "120x"},
    {"compression": None},
    {"size": True},
    {"stored_size": 1.5},
    {"ptx_version": "x"},
    {"ptx_version": 8.7},
    {"more": 1},
]


def listing(*values: object, end: object = None) -> bytes:
    last = {"end": len(values)} if end is None else end
    return "".join(json.dumps(value) + "\n" for value in [*values, last]).encode()


def test_a_complete_listing_is_sorted() -> None:
    full = {"path": "0", "containers": [CONTAINER], "fault": ""}
    found = parse_listing(listing(ONE, full))
    assert found and [item.path for item in found] == ["0", "a"]
    assert parse_listing(listing()) == []


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n",
        b"text\n",
        b"\xff\n",
        b"[" * 100_000,
        listing(ONE)[:-3],
        listing(ONE).splitlines()[0],
        listing(ONE, end={"end": 0}),
        listing(ONE, end={"end": 2}),
        listing(ONE, end=ONE),
        listing(ONE, end=1),
        b"warning\n" + listing(ONE),
        listing({}),
        listing([]),
        listing({**ONE, "path": 5}),
        listing({**ONE, "path": ""}),
        listing({**ONE, "path": "/a"}),
        listing({**ONE, "path": "a/../b"}),
        listing({**ONE, "fault": None}),
        listing({**ONE, "fault": ""}),
        listing({**ONE, "containers": [CONTAINER]}),
        *(listing({"path": "a", "containers": [{**CONTAINER, **change}], "fault": ""}) for change in NO_CONTAINERS),
        *(
            listing({"path": "a", "containers": [{**CONTAINER, "entries": [{**ENTRY, **change}]}], "fault": ""})
            for change in NO_ENTRIES
        ),
    ],
)
def test_a_listing_that_is_not_complete_or_not_sound_is_none(text: bytes) -> None:
    assert parse_listing(text) is None
