"""Each way in which two builds can differ is named, and nothing else is."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from zstandard import ZstdCompressor

from scripts.errors import Undecided
from scripts.oci.compare import compare_layouts
from scripts.oci.descriptor import OCI_MANIFEST, digest_of
from scripts.oci.layout import Layout
from tests.unit.oci.made import find_diff_id

Entry = tuple[str, bytes, dict[str, Any]]
FILES: list[Entry] = [("etc/one", b"1", {}), ("etc/two", b"22", {}), ("usr/three", b"333", {})]


def pack(entries: Sequence[Entry], level: int = 3) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, content, fields in entries:
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(content), 1000, 0o644
            for key, value in fields.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(content))
    return ZstdCompressor(level).compress(plain.getvalue()) if level else gzip.compress(plain.getvalue())


def make(folder: Path, layers: Sequence[bytes], config: dict[str, Any] | None = None, **manifest: Any) -> Layout:
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def keep(data: bytes, media_type: str) -> dict[str, Any]:
        (blobs / digest_of(data)[7:]).write_bytes(data)
        return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}

    content = {"architecture": "amd64", "rootfs": {"diff_ids": [find_diff_id(layer) for layer in layers]}} | (
        config or {}
    )
    written = {"config": keep(json.dumps(content).encode(), "c"), "layers": [keep(layer, "l") for layer in layers]}
    entry = keep(json.dumps(written | manifest).encode(), OCI_MANIFEST)
    (folder / "index.json").write_text(json.dumps({"manifests": [entry]}))
    return Layout.open(folder)


def compare(tmp_path: Path, new: Sequence[Entry], old: Sequence[Entry] = FILES) -> list[str]:
    return compare_layouts(make(tmp_path / "old", [pack(old)]), make(tmp_path / "new", [pack(new)]))


def changed(position: int, content: bytes | None = None, **fields: Any) -> list[Entry]:
    """The files with one of them altered."""
    name, data, known = FILES[position]
    return [*FILES[:position], (name, data if content is None else content, known | fields), *FILES[position + 1 :]]


def test_equal_images_have_no_difference(tmp_path: Path) -> None:
    assert compare(tmp_path, FILES) == []


@pytest.mark.parametrize(
    ("new", "lines"),
    [
        (changed(1, b"other"), ["layer 1: /etc/two: size 2 → 5, content 785f3ec7eb32 → d9298a10d1b0"]),
        (changed(1, b"33"), ["layer 1: /etc/two: content 785f3ec7eb32 → c6f3ac57944a"]),
        (changed(0, mode=0o664), ["layer 1: /etc/one: mode 0o644 → 0o664"]),
        (changed(0, mtime=2000), ["layer 1: /etc/one: mtime 1000 → 2000"]),
        (changed(2, uid=1, gid=2), ["layer 1: /usr/three: owner 0:0 → 1:2"]),
        (
            changed(0, b"", type=tarfile.SYMTYPE, linkname="two"),
            ["layer 1: /etc/one: type file → symlink, size 1 → 0, target  → two, content 6b86b273ff34 → "],
        ),
        (FILES[1:], ["layer 1: /etc/one: gone"]),
        ([*FILES, ("var/new", b"", {})], ["layer 1: /var/new: new"]),
        (FILES[::-1], ["layer 1: the same files in another order"]),
        ([*changed(0, mtime=1)[:1], *FILES[2:]], ["layer 1: /etc/one: mtime 1000 → 1", "layer 1: /etc/two: gone"]),
    ],
)
def test_each_kind_of_difference_is_named(new: list[Entry], lines: list[str], tmp_path: Path) -> None:
    assert compare(tmp_path, new) == lines


def test_a_change_of_a_links_target_is_named(tmp_path: Path) -> None:
    link = {"type": tarfile.SYMTYPE}
    old: list[Entry] = [("a", b"", link | {"linkname": "b"})]
    assert compare(tmp_path, [("a", b"", link | {"linkname": "c"})], old) == ["layer 1: /a: target b → c"]


def test_another_configuration_is_named_by_key(tmp_path: Path) -> None:
    layers = [pack(FILES)]
    old = make(tmp_path / "old", layers, {"created": "1", "gone": 1})
    new = make(tmp_path / "new", layers, {"created": "2", "architecture": "arm64"})
    assert compare_layouts(old, new) == [
        "configuration: architecture: 'amd64' became 'arm64'",
        "configuration: created: '1' became '2'",
        "configuration: gone: 1 became None",
    ]


@pytest.mark.parametrize("level", [0, 19])  # 0: gzip
def test_the_same_files_compressed_in_another_way(level: int, tmp_path: Path) -> None:
    many: list[Entry] = [(f"file{number}", b"text " * number, {}) for number in range(200)]
    old, new = make(tmp_path / "old", [pack(many, 1)]), make(tmp_path / "new", [pack(many, level)])
    assert compare_layouts(old, new) == ["layer 1: same files, compressed differently"]


def test_a_layer_more_or_less(tmp_path: Path) -> None:
    one, two = make(tmp_path / "one", [pack(FILES)]), make(tmp_path / "two", [pack(FILES), pack(FILES[:1])])
    assert compare_layouts(one, two) == ["layer 2: only in the new image"]
    assert compare_layouts(two, one) == ["layer 2: only in the old image"]


def test_a_difference_of_the_manifest_alone_is_never_none_at_all(tmp_path: Path) -> None:
    layers = [pack(FILES)]
    old, new = make(tmp_path / "old", layers), make(tmp_path / "new", layers, annotations={"a": "b"})
    assert compare_layouts(old, new) == ["the manifests differ in their annotations or media types alone"]


def one(name: str, content: bytes = b"1") -> bytes:
    return pack([(name, content, {})])


A, B, C, D = (one(name) for name in "abcd")


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ([A, C], [A, B, C], ["layer 2: only in the new image"]),
        ([A, B, C], [A, C], ["layer 2: only in the old image"]),
        ([B, C], [A, B, C], ["layer 1: only in the new image"]),
        ([A, B], [A, one("x"), B, C], ["layer 2: only in the new image", "layer 4: only in the new image"]),
        ([A, B], [C, A, one("b", b"2")], ["layer 1: only in the new image", "layer 3 (2 before): /b: "]),
        ([A, B, C], [A, one("b", b"2"), C], ["layer 2: /b: "]),
        ([A, B, C, D], [A, C, B, D], ["layer 3: moved, it was layer 2 among the same others"]),
        ([A, A], [A, A, A], ["layer 3: only in the new image"]),
        ([A, B], [C, D], ["layer 1: /a: gone", "layer 1: /c: new", "layer 2: /b: gone", "layer 2: /d: new"]),
    ],
)
def test_layers_of_one_content_belong_together_wherever_they_are(
    old: list[bytes], new: list[bytes], lines: list[str], tmp_path: Path
) -> None:
    found = compare_layouts(make(tmp_path / "old", old), make(tmp_path / "new", new))
    assert len(found) == len(lines)
    assert all(line.startswith(start) for line, start in zip(found, lines, strict=True))


def test_a_layer_that_was_compressed_anew_is_told_from_one_that_moved_in_between(tmp_path: Path) -> None:
    many: list[Entry] = [(f"file{number}", b"text " * number, {}) for number in range(200)]
    old, new = make(tmp_path / "old", [pack(many, 1)]), make(tmp_path / "new", [A, pack(many, 19)])
    assert compare_layouts(old, new) == [
        "layer 1: only in the new image",
        "layer 2 (1 before): same files, compressed differently",
    ]


def test_diff_ids_that_are_not_true_hide_nothing(tmp_path: Path) -> None:
    claimed = {"rootfs": {"diff_ids": [digest_of(b"")]}}
    old, new = make(tmp_path / "old", [A], claimed), make(tmp_path / "new", [B], claimed)
    assert compare_layouts(old, new) == ["layer 1: /a: gone", "layer 1: /b: new"]


def test_tars_that_differ_in_nothing_that_is_shown_are_not_called_equal(tmp_path: Path) -> None:
    old, new = make(tmp_path / "old", [A]), make(tmp_path / "new", [pack([("a", b"1", {"uname": "someone"})])])
    assert compare_layouts(old, new) == ["layer 1: the same files, written in another way"]


@pytest.mark.parametrize("kinds", [(tarfile.CHRTYPE, tarfile.FIFOTYPE), (tarfile.CHRTYPE, tarfile.BLKTYPE)])
def test_what_is_no_file_is_told_apart(kinds: tuple[bytes, bytes], tmp_path: Path) -> None:
    old, new = ([("x", b"", {"type": kind})] for kind in kinds)
    [line] = compare(tmp_path, new, old)
    assert line.startswith("layer 1: /x: type character device → ")


def test_a_layer_that_is_damaged_is_undecided(tmp_path: Path) -> None:
    old, new = make(tmp_path / "old", [A]), make(tmp_path / "new", [B])
    path = new.blob_path(new.layers[0].digest)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(Undecided, match="hashes to"):
        compare_layouts(old, new)
