"""Images out of a registry: whole or not there, and what came whole is not asked for again."""

from __future__ import annotations

import errno
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.errors import ConfigError, Undecided
from scripts.oci.descriptor import OCI_INDEX, OCI_MANIFEST, digest_of
from scripts.oci.layout import Layout
from scripts.registry import pull as module
from scripts.registry.failures import DigestMismatch, RegistryUnavailable
from scripts.registry.pull import pull_layout
from tests.unit.oci.made import MadeImage, make_tar, platform, zstd
from tests.unit.registry.fake_registry import REPOSITORY, FakeRegistry, cut_short, drop, fail, wrong_bytes

LAYERS = [make_tar(("a", bytes(3000))), gzip.compress(make_tar(("b", b"2"))), zstd(make_tar(("c", b"3")))]


class Pull:
    """A registry with one image, and a folder to pull it into."""

    def __init__(self, folder: Path) -> None:
        self.image = MadeImage()
        self.entry = self.image.add(LAYERS, **platform("amd64"))
        self.folder = folder / "images/layout"
        self.fake = self.serve()

    @property
    def digest(self) -> str:
        return str(self.entry["digest"])

    def serve(self) -> FakeRegistry:
        fake = FakeRegistry()
        fake.blobs = dict(self.image.blobs)
        for data in self.image.blobs.values():
            fake.store(data, media_type=OCI_INDEX if data.startswith(b'{"manifests"') else OCI_MANIFEST)
        return fake

    def take(self, digest: str = "") -> Layout:
        return pull_layout(self.fake.client(), REPOSITORY, digest or self.digest, self.folder, lambda text: None)

    @property
    def asked(self) -> list[str]:
        """The blobs that were asked for, in order."""
        urls = [str(request.url) for request in self.fake.requests]
        return [url.rpartition("/")[2] for url in urls if "/blobs/" in url]

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.parent.iterdir())


@pytest.fixture
def pull(tmp_path: Path) -> Pull:
    return Pull(tmp_path)


def test_an_image_is_pulled_and_is_the_same(pull: Pull) -> None:
    layout = pull.take()
    layout.verify()
    assert layout == Layout.open(pull.folder)
    assert layout.digest == pull.digest
    assert layout.manifest.media_type == OCI_MANIFEST
    assert pull.names == ["layout"]
    assert sorted(path.name for path in pull.folder.iterdir()) == ["blobs", "index.json", "oci-layout"]
    assert len(pull.asked) == len(set(pull.asked)) == 4
    assert pull.fake.writes == []


def test_an_image_that_is_there_is_not_asked_for_again(pull: Pull) -> None:
    first = pull.take()
    pull.fake = pull.serve()
    assert pull.take() == first
    assert pull.asked == []


def test_of_an_index_the_image_for_this_platform_is_pulled(pull: Pull) -> None:
    other = pull.image.add([make_tar(("arm", b""))], "arm64", **platform("arm64"))
    index = pull.image.add_index(other, pull.entry)
    pull.fake = pull.serve()
    assert pull.take(index["digest"]).digest == pull.digest


@pytest.mark.parametrize("stop", range(2, 6))
@pytest.mark.parametrize("fault", [drop, fail, cut_short, wrong_bytes])
def test_an_interrupted_pull_goes_on_with_what_is_missing(fault: Any, stop: int, pull: Pull) -> None:
    pull.fake.faults, pull.fake.from_then_on = {stop: fault}, True
    with pytest.raises((RegistryUnavailable, DigestMismatch)):
        pull.take()
    assert pull.names == [".layout.part"]
    done = {f"sha256:{path.name}" for path in (pull.folder.parent / ".layout.part/blobs/sha256").iterdir()}
    assert len(done) == stop - 2
    pull.fake = pull.serve()
    pull.take().verify()
    assert set(pull.asked).isdisjoint(done) and len(pull.asked) == 4 - len(done)
    assert pull.names == ["layout"]


def test_a_blob_that_was_spoilt_meanwhile_is_asked_for_again(pull: Pull) -> None:
    pull.fake.faults, pull.fake.from_then_on = {5: drop}, True
    with pytest.raises(RegistryUnavailable):
        pull.take()
    path = pull.folder.parent / ".layout.part/blobs/sha256" / digest_of(LAYERS[0])[7:]
    path.write_bytes(b"x" * path.stat().st_size)
    (path.parent / ("0" * 64)).write_bytes(b"nobody's")
    (path.parents[2] / "receiving").write_bytes(b"half")
    pull.fake = pull.serve()
    layout = pull.take()
    layout.verify()
    assert digest_of(LAYERS[0]) in pull.asked
    assert len(list((pull.folder / "blobs/sha256").iterdir())) == 5
    assert not (pull.folder / "receiving").exists()


def test_an_image_that_is_not_there_is_undecided(pull: Pull) -> None:
    missing = "sha256:" + "9" * 64
    with pytest.raises(Undecided, match=f"{REPOSITORY}@{missing}: the registry has no such image"):
        pull.take(missing)
    assert not pull.folder.parent.exists()
    with pytest.raises(ConfigError, match="not a digest"):
        pull.take("v1")


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"architecture": "arm64"}, "for linux/arm64"), ({"diff_ids": []}, "3 layers, and 0 of them")],
)
def test_an_image_that_is_none_of_ours_is_undecided(fields: dict[str, Any], words: str, pull: Pull) -> None:
    entry = pull.image.add(LAYERS, **fields)
    pull.fake = pull.serve()
    with pytest.raises(Undecided, match=words):
        pull.take(entry["digest"])
    assert not pull.folder.exists()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda layout: layout.blob_path(layout.digest).unlink(), "no whole layout"),
        (lambda layout: (layout.folder / "index.json").unlink(), "no whole layout"),
        (lambda layout: layout.blob_path(layout.layers[0].digest).write_bytes(b""), "no whole layout"),
    ],
)
def test_a_damaged_layout_that_is_there_is_left_alone(
    spoil: Callable[[Layout], object], words: str, pull: Pull
) -> None:
    spoil(pull.take())
    before = sorted(pull.folder.rglob("*"))
    with pytest.raises(Undecided, match=words):
        pull.take()
    assert sorted(pull.folder.rglob("*")) == before


def test_another_image_that_is_there_is_not_replaced(pull: Pull) -> None:
    pull.take()
    other = pull.image.add(LAYERS[:1])
    pull.fake = pull.serve()
    with pytest.raises(Undecided, match="another image is there"):
        pull.take(other["digest"])


def test_a_disk_that_cannot_hold_it_is_told_before_anything_comes(pull: Pull, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "free_bytes", lambda path: 100)
    with pytest.raises(Undecided, match=r"takes .* more; 100 B are free"):
        pull.take()
    assert pull.asked == []


def test_a_disk_that_fills_up_is_named(pull: Pull, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(handle: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr("scripts.registry.pull.os.fsync", fill)
    with pytest.raises(Undecided, match="the disk is full"):
        pull.take()
    assert not pull.folder.exists()


def test_progress_says_how_far_it_is(pull: Pull) -> None:
    said: list[str] = []
    pull_layout(pull.fake.client(), REPOSITORY, pull.digest, pull.folder, said.append)
    assert said[0] == f"asking {REPOSITORY.host}"
    assert said[-1].startswith("blob 4 of 4, ")
