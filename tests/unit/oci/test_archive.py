"""Archives of a layout: the same image gives the same bytes; what a stranger made gives an image or nothing."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripts.errors import HallmarkError, Undecided
from scripts.oci import archive as module
from scripts.oci.archive import extract_archive, write_archive
from scripts.oci.descriptor import digest_of
from scripts.oci.layout import Layout
from tests.unit.oci.made import Entry, MadeImage, make_tar, platform, zstd

LAYERS = [make_tar(("a", bytes(50_000))), gzip.compress(make_tar(("b", b"2"))), zstd(make_tar(("c", b"3")))]


def make_layout(folder: Path) -> Layout:
    image = MadeImage()
    return Layout.open(image.write(folder, image.add(LAYERS)))


def members(data: bytes) -> list[Entry]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [(item.name, stream.read()) for item in tar if (stream := tar.extractfile(item))]


def extract(data: bytes, folder: Path) -> Layout:
    path = folder / "given.tar"
    path.write_bytes(data)
    return extract_archive(path, folder / "made/layout")


def refuse(data: bytes, words: str, folder: Path) -> None:
    """The archive is refused in these words, and nothing is left of it."""
    with pytest.raises(Undecided, match=words) as caught:
        extract(data, folder)
    assert "given.tar" in str(caught.value)
    assert list((folder / "made").iterdir()) == []


def good() -> tuple[MadeImage, dict[str, Any]]:
    image = MadeImage()
    return image, image.add(LAYERS)


def test_an_archive_gives_the_layout_back(tmp_path: Path) -> None:
    layout = make_layout(tmp_path / "layout")
    write_archive([layout], tmp_path / "new/image.tar")
    found = extract_archive(tmp_path / "new/image.tar", tmp_path / "made/layout")
    assert found == Layout.open(tmp_path / "made/layout")
    assert (found.digest, found.layers) == (layout.digest, layout.layers)
    found.verify()
    assert (tmp_path / "made/layout").stat().st_mode & 0o777 == 0o755
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["layout"]


def test_the_same_image_gives_the_same_bytes_whatever_lies_beside_it(tmp_path: Path) -> None:
    image = MadeImage()
    entry = image.add(LAYERS)
    one = Layout.open(image.write(tmp_path / "one", entry))
    image.keep(b"nobody's", "")
    two = Layout.open(image.write(tmp_path / "two", {**entry, "annotations": {"when": "now"}}))
    for layout in (one, two):
        write_archive([layout], layout.folder.with_suffix(".tar"))
    data = (tmp_path / "one.tar").read_bytes()
    assert data == (tmp_path / "two.tar").read_bytes()
    names = [str(name) for name, *_ in members(data)]
    assert names == sorted(names) and len(names) == len(LAYERS) + 4
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert {(item.mtime, item.uid, item.gid, item.uname, item.mode) for item in tar} == {(0, 0, 0, "", 0o644)}


def test_a_damaged_blob_is_in_no_archive(tmp_path: Path) -> None:
    layout = make_layout(tmp_path / "layout")
    for damage, words in (
        (b"", "has 0 of"),
        (LAYERS[0][:40_000], "has 40000 of"),
        (LAYERS[0][:-1] + b"x", "hashes to"),
    ):
        layout.blob_path(layout.layers[0].digest).write_bytes(damage)
        with pytest.raises(Undecided, match=words):
            write_archive([layout], tmp_path / "new/image.tar")
    layout.blob_path(layout.layers[0].digest).unlink()
    with pytest.raises(Undecided, match="No such file"):
        write_archive([layout], tmp_path / "new/image.tar")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk(io.BufferedWriter):
        def write(self, data: Any, /) -> int:
            raise OSError(errno.ENOSPC, "no space")

    layout, really = make_layout(tmp_path / "layout"), os.fdopen

    def fdopen(handle: int, mode: str) -> Any:
        return FullDisk(io.FileIO(handle, mode)) if "w" in mode else really(handle, mode)

    monkeypatch.setattr("scripts.oci.archive.os.fdopen", fdopen)
    with pytest.raises(Undecided, match="the disk is full"):
        write_archive([layout], tmp_path / "new/image.tar")
    assert list((tmp_path / "new").iterdir()) == []


def test_what_docker_save_prints_is_taken(tmp_path: Path) -> None:
    image, entry = good()
    layout = extract(image.export(entry), tmp_path)
    assert layout.digest == entry["digest"]
    layout.verify()


def test_of_several_platforms_ours_is_taken_and_the_rest_dropped(tmp_path: Path) -> None:
    image = MadeImage()
    ours = image.add(LAYERS, **platform("amd64"))
    other = image.add([make_tar(("arm", b"1"))], "arm64", **platform("arm64"))
    attached = image.add([make_tar(("x", b""))], "unknown", **platform("unknown", "unknown"))
    layout = extract(image.export(image.add_index(other, ours, attached)), tmp_path)
    layout.verify()
    assert layout.digest == ours["digest"]
    blobs = {f"sha256:{path.name}" for path in (layout.folder / "blobs/sha256").iterdir()}
    assert blobs == {blob.digest for blob in (layout.manifest, layout.config, *layout.layers)}
    assert sorted(path.name for path in layout.folder.iterdir()) == ["blobs", "index.json", "oci-layout"]


@pytest.mark.parametrize("prefix", ["", "./"])
def test_only_the_files_of_a_layout_are_read(prefix: str, tmp_path: Path) -> None:
    image, entry = good()
    files: list[Entry] = [(f"{prefix}{name}", data) for name, data in members(image.export(entry))]  # type: ignore[misc]
    extra: list[Entry] = [("blobs/sha256/short", b"x"), ("repositories", b"{}"), ("blobs/sha512/" + "0" * 128, b"x")]
    layout = extract(make_tar(*extra, *files), tmp_path)
    layout.verify()
    assert not (layout.folder / "repositories").exists()


def test_a_folder_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    image, entry = good()
    (tmp_path / "made/layout").mkdir(parents=True)
    (tmp_path / "made/layout/mine").write_text("mine")
    with pytest.raises(Undecided, match="there already"):
        extract(image.export(entry), tmp_path)
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["layout"]
    assert [path.name for path in (tmp_path / "made/layout").iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (("../x", b"1"), "leads out"),
        (("a/../../x", b"1"), "leads out"),
        (("blobs/sha256/..", "folder", ""), "leads out"),
        (("/etc/passwd", b"1"), "leads out"),
        (("index.json", "link", "/etc/passwd"), "a symlink in it"),
        (("blobs", "link", "/tmp"), "a symlink in it"),
        (("blobs/sha256/" + "0" * 64, "link", "../../index.json"), "a symlink in it"),
        (("blobs/sha256/" + "0" * 64, "hard", "index.json"), "a hardlink in it"),
        (("blobs/sha256/" + "0" * 64, "folder", ""), "a directory in it"),
        (("index.json", "folder", ""), "a directory in it"),
        (("pipe", "pipe", ""), "a pipe in it"),
        (("blobs/sha256/" + "0" * 64, b"other"), "hashes to"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_what_no_archive_of_a_layout_has_is_refused(entry: Entry, words: str, first: bool, tmp_path: Path) -> None:
    image, ours = good()
    files = members(image.export(ours))
    refuse(make_tar(*([entry, *files] if first else [*files, entry])), words, tmp_path)


@pytest.mark.parametrize("name", ["index.json", f"blobs/sha256/{digest_of(LAYERS[0])[7:]}"])
def test_an_entry_that_is_there_twice_is_refused(name: str, tmp_path: Path) -> None:
    image, ours = good()
    files = members(image.export(ours))
    again = [(f"./{at}", data) for at, data in files if at == name]  # type: ignore[misc]
    refuse(make_tar(*files, *again), "two entries of one name", tmp_path)


def test_several_images_are_refused(tmp_path: Path) -> None:
    image = MadeImage()
    refuse(image.export(image.add(LAYERS), image.add(LAYERS[:1])), "2 images in one layout", tmp_path)


@pytest.mark.parametrize("which", range(5))
def test_a_blob_that_is_missing_is_named(which: int, tmp_path: Path) -> None:
    image, ours = good()
    digest = list(image.blobs)[which]
    del image.blobs[digest]
    refuse(image.export(ours), digest, tmp_path)


@pytest.mark.parametrize("wrong", [1, -1])
def test_a_size_that_is_not_the_blob_s_is_refused(wrong: int, tmp_path: Path) -> None:
    image, ours = good()
    manifest = json.loads(image.blobs[ours["digest"]])
    manifest["layers"][0]["size"] += wrong
    refuse(image.export(image.keep(json.dumps(manifest).encode(), ours["mediaType"])), "bytes", tmp_path)


def test_other_images_are_refused_by_their_configuration(tmp_path: Path) -> None:
    image = MadeImage()
    refuse(image.export(image.add(LAYERS, "arm64")), "for linux/arm64", tmp_path)
    image = MadeImage()
    refuse(image.export(image.add(LAYERS, diff_ids=[])), r"3 layers, and 0 of them", tmp_path)


def test_what_is_no_archive_is_undecided(tmp_path: Path) -> None:
    refuse(make_tar(("manifest.json", b"[]")), "no OCI layout", tmp_path)
    refuse(b"x" * 1000, "no tar entry", tmp_path)
    refuse(make_tar(("index.json", b"{}"), ("oci-layout", b"{}")), "no index", tmp_path)
    with pytest.raises(Undecided, match="No such file"):
        extract_archive(tmp_path / "nothing.tar", tmp_path / "made/layout")


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_MEMBERS", 100)
    refuse(make_tar(*[(f"f{number}", b"") for number in range(101)]), "more than 100 files", tmp_path)


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_break_it_in_another_way(tmp_path: Path, data: st.DataObject) -> None:
    image, ours = good()
    whole = image.export(ours)
    place = data.draw(st.integers(0, len(whole)))
    noise = data.draw(st.binary(max_size=40))
    damage: Callable[[], bytes] = data.draw(
        st.sampled_from([lambda: whole[:place] + noise + whole[place + len(noise) :], lambda: whole[:place] + noise])
    )
    made = tmp_path / "made"
    try:
        extract(damage(), tmp_path).verify()
    except HallmarkError as error:
        assert isinstance(error, Undecided)
        assert list(made.iterdir()) == []
    else:
        for path in sorted(made.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
