"""Images on the disk and in a registry: the same libraries, every byte hashed, and an error that says what is wrong."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from scripts.audit.images import read_archive, read_layout, read_registry
from scripts.audit.library import Library
from scripts.errors import ConfigError, Undecided
from scripts.oci.descriptor import OCI_INDEX, OCI_MANIFEST, digest_of
from scripts.registry.failures import DigestMismatch, RegistryUnavailable
from tests.unit.audit.samples import HOST, PLAIN, SEVERAL, library
from tests.unit.oci.made import MadeImage, find_diff_id, make_tar, platform, zstd
from tests.unit.registry.fake_registry import REPOSITORY, FakeRegistry, drop, reply

NAME = f"{REPOSITORY}:v1"
LAYERS = [
    make_tar(("usr/lib/a.so", PLAIN), ("lib", "link", "usr/lib"), ("h.so", HOST)),
    gzip.compress(make_tar(("usr/lib/b.so", SEVERAL), ("c.so", PLAIN))),
    zstd(make_tar()),
    zstd(make_tar((".wh.c.so", b""), ("d.so", "hard", "lib/a.so"))),
    zstd(make_tar()),
]
LIBRARIES = [library("d.so"), library("usr/lib/a.so"), library("usr/lib/b.so", SEVERAL)]


def serve(image: MadeImage, *entries: dict[str, Any], tag: str = "v1") -> FakeRegistry:
    """A registry with this image's blobs, all of which can be had as manifests; the first entry has the tag."""
    fake = FakeRegistry()
    fake.blobs = dict(image.blobs)
    for data in image.blobs.values():
        is_index = data.startswith(b'{"manifests"')
        fake.store(data, media_type=OCI_INDEX if is_index else OCI_MANIFEST)
    fake.manifests[tag] = fake.manifests[entries[0]["digest"]]
    return fake


def as_layout(image: MadeImage, folder: Path, *entries: dict[str, Any]) -> list[Library]:
    return read_layout(image.write(folder / "layout", *entries))


def as_registry(image: MadeImage, folder: Path, *entries: dict[str, Any]) -> list[Library]:
    return read_registry(NAME, serve(image, *entries).client()).libraries


def as_archive(image: MadeImage, folder: Path, *entries: dict[str, Any]) -> list[Library]:
    folder.mkdir(exist_ok=True)
    (folder / "image.tar").write_bytes(image.export(*entries))
    return read_archive(folder / "image.tar")


READERS = pytest.mark.parametrize("read", [as_layout, as_registry, as_archive])
# An archive is read once, as it comes: of what is no document it can only be said that it has no such document.
ASKING = pytest.mark.parametrize("read", [as_layout, as_registry])
Reader = Callable[..., list[Library]]


@READERS
def test_an_image_gives_its_libraries(read: Reader, tmp_path: Path) -> None:
    image = MadeImage()
    assert read(image, tmp_path, image.add(LAYERS)) == LIBRARIES


@READERS
def test_an_image_without_gpu_code_has_no_libraries(read: Reader, tmp_path: Path) -> None:
    image = MadeImage()
    assert read(image, tmp_path, image.add([make_tar(("h.so", HOST))])) == []


@READERS
def test_of_several_platforms_ours_is_read(read: Reader, tmp_path: Path) -> None:
    image = MadeImage()
    index = image.add_index(
        image.add([make_tar(("arm.so", PLAIN))], "arm64", **platform("arm64", variant="v8")),
        image.add([make_tar(("new.so", PLAIN))], **platform("amd64", variant="v3")),
        image.add(LAYERS, **platform("amd64")),
        image.add([b"no tar at all"], **platform("unknown", "unknown")),
    )
    assert read(image, tmp_path, index) == LIBRARIES


@READERS
def test_an_index_in_an_index_is_followed_and_a_circle_is_not(read: Reader, tmp_path: Path) -> None:
    image = MadeImage()
    inner = image.add_index(image.add(LAYERS, **platform("amd64")))
    outer = image.add_index({key: inner[key] for key in ("mediaType", "digest", "size")})
    assert read(image, tmp_path / "a", outer) == LIBRARIES
    for _ in range(4):
        outer = image.add_index(outer)
    with pytest.raises(Undecided, match="indexes within each other"):
        read(image, tmp_path / "b", outer)


@READERS
def test_an_image_for_others_alone_names_them(read: Reader, tmp_path: Path) -> None:
    image = MadeImage()
    entries = [image.add([], "arm64", **platform("arm64")), image.add([], "s390x", **platform("s390x"))]
    index = image.add_index(*entries, image.add([], **platform("unknown", "unknown")))
    with pytest.raises(Undecided, match=r"no image for linux/amd64; there is one for: linux/arm64, linux/s390x\n"):
        read(image, tmp_path, index)


@READERS
def test_a_single_image_for_another_platform_is_told_by_its_configuration(read: Reader, tmp_path: Path) -> None:
    image = MadeImage()
    with pytest.raises(Undecided, match="for linux/arm64, not for linux/amd64"):
        read(image, tmp_path, image.add(LAYERS, "arm64"))


@ASKING
@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ({"layers": []}, "without layers"),
        ({"config": {}, "layers": {}}, "without layers"),
        ({"config": {}, "layers": []}, "where a sha256 digest belongs"),
        ({"config": {"digest": "sha256:../../etc/passwd", "size": 1}, "layers": []}, "where a sha256 digest belongs"),
        ({"config": {"digest": digest_of(b""), "size": -1}, "layers": []}, "where a size in bytes belongs"),
        ({"config": {"digest": digest_of(b""), "size": True}, "layers": []}, "where a size in bytes belongs"),
        ({"config": {"digest": digest_of(b""), "size": 1 << 40}, "layers": []}, "where a small JSON file belongs"),
        (
            {"config": {"digest": digest_of(b""), "size": 0}, "layers": [{"digest": digest_of(b""), "size": 0}]},
            "this is no container image",
        ),
        ({"manifests": {}}, "no list of objects"),
        ({"manifests": ["x"]}, "no list of objects"),
        ({"manifests": []}, "no platform at all"),
        ([], "not a JSON object"),
        ("x", "not a JSON object"),
    ],
)
def test_what_is_no_image_is_undecided_and_named(read: Reader, manifest: Any, words: str, tmp_path: Path) -> None:
    image = MadeImage()
    entry = image.keep(json.dumps(manifest).encode(), OCI_MANIFEST)
    with pytest.raises(Undecided, match=words) as caught:
        read(image, tmp_path, entry)
    assert str(tmp_path) in str(caught.value) or NAME in str(caught.value)


@READERS
def test_a_layer_that_is_damaged_in_itself_is_named(read: Reader, tmp_path: Path) -> None:
    image = MadeImage()
    bad = b"not a tar" * 1000
    with pytest.raises(Undecided, match=rf"layer {digest_of(bad)}: not a layer that can be read"):
        read(image, tmp_path, image.add([*LAYERS, bad]))


@READERS
@pytest.mark.parametrize("which", range(len(LAYERS)))
def test_a_layer_whose_plain_bytes_the_configuration_does_not_name_is_damage(
    read: Reader, which: int, tmp_path: Path
) -> None:
    image = MadeImage()
    diff_ids = [find_diff_id(layer) for layer in LAYERS]
    diff_ids[which] = digest_of(b"other")
    with pytest.raises(Undecided, match=f"layer {digest_of(LAYERS[which])}: its plain bytes hash to"):
        read(image, tmp_path, image.add(LAYERS, diff_ids=diff_ids))


@READERS
@pytest.mark.parametrize(
    ("diff_ids", "words"),
    [
        ([], "5 layers, and 0 of them"),
        (["sha256:" + "0" * 64] * 6, "5 layers, and 6 of them"),
        (["sha256:../../x"] * 5, "without a digest for each layer"),
        ({}, "without a digest for each layer"),
        ("sha256", "without a digest for each layer"),
    ],
)
def test_a_configuration_that_does_not_name_each_layer_is_refused(
    read: Reader, diff_ids: Any, words: str, tmp_path: Path
) -> None:
    image = MadeImage()
    with pytest.raises(Undecided, match=words):
        read(image, tmp_path, image.add(LAYERS, diff_ids=diff_ids))


def test_progress_says_how_far_it_is(tmp_path: Path) -> None:
    image = MadeImage()
    said: list[str] = []
    read_layout(image.write(tmp_path / "layout", image.add(LAYERS)), said.append)
    total = sum(len(layer) for layer in {bytes(layer) for layer in LAYERS})
    assert said[0].startswith("layer 1 of 4, ")
    assert said[-1] == f"layer 4 of 4, {total / 1000:.1f} kB of {total / 1000:.1f} kB read"


# --- on the disk


@pytest.mark.parametrize("alter", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b"x" + data[1:]])
@pytest.mark.parametrize("which", range(6))
def test_a_blob_that_is_not_its_digest_is_undecided(
    which: int, alter: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    image = MadeImage()
    folder = image.write(tmp_path / "layout", image.add(LAYERS))
    path = sorted((folder / "blobs/sha256").iterdir())[which]
    path.write_bytes(alter(path.read_bytes()))
    with pytest.raises(Undecided, match=f"sha256:{path.name}"):
        read_layout(folder)


def test_a_blob_or_an_index_that_is_missing_is_named(tmp_path: Path) -> None:
    image = MadeImage()
    entry = image.add(LAYERS)
    folder = image.write(tmp_path / "layout", entry)
    (folder / "blobs" / entry["digest"].replace(":", "/")).unlink()
    with pytest.raises(Undecided, match=f"{entry['digest']}: No such file"):
        read_layout(folder)
    (folder / "index.json").unlink()
    with pytest.raises(Undecided, match=r"index\.json: No such file"):
        read_layout(folder)


def test_a_layout_with_two_images_is_refused_and_one_with_two_names_is_not(tmp_path: Path) -> None:
    image = MadeImage()
    one, two = image.add(LAYERS), image.add(LAYERS[:1])
    assert read_layout(image.write(tmp_path / "same", one, {**one, "annotations": {"name": "b"}})) == LIBRARIES
    with pytest.raises(Undecided, match="2 images in one layout"):
        read_layout(image.write(tmp_path / "two", one, two))


# --- in a registry


def test_a_remote_image_says_what_it_was() -> None:
    image = MadeImage()
    entry = image.add(LAYERS, **platform("amd64"))
    index = image.add_index(entry)
    remote = read_registry(NAME, serve(image, index).client())
    assert (remote.name, remote.digest, remote.named) == (NAME, entry["digest"], index["digest"])
    assert remote.size == sum(map(len, LAYERS))
    by_digest = read_registry(f"{REPOSITORY}@{entry['digest']}", serve(image, index).client())
    assert (by_digest.digest, by_digest.named) == (entry["digest"], entry["digest"])
    assert by_digest.libraries == remote.libraries == LIBRARIES


def test_each_layer_is_transferred_once_and_nothing_is_written() -> None:
    image = MadeImage()
    fake = serve(image, image.add(LAYERS))
    read_registry(NAME, fake.client())
    blobs = [str(request.url).rpartition("/")[2] for request in fake.requests if "/blobs/" in str(request.url)]
    assert len(blobs) == len(set(blobs)) == 5  # the configuration, and four layers of which one is there twice
    assert fake.writes == []


def test_a_dropped_connection_is_survived() -> None:
    image = MadeImage()
    fake = serve(image, image.add(LAYERS))
    fake.faults = {1: drop, 3: drop, 5: drop}
    assert read_registry(NAME, fake.client()).libraries == LIBRARIES


@pytest.mark.parametrize("which", range(4))
def test_a_layer_of_other_bytes_is_a_mismatch(which: int) -> None:
    image = MadeImage()
    fake = serve(image, image.add(LAYERS))
    # Damage behind the end of the archive changes no library, and is found all the same.
    layer = LAYERS[which]
    fake.blobs[digest_of(layer)] = layer[:-1] + bytes([layer[-1] ^ 1])
    with pytest.raises((DigestMismatch, Undecided)):
        read_registry(NAME, fake.client())


def test_a_tag_that_is_not_there_and_a_name_that_is_none_are_told_apart() -> None:
    with pytest.raises(Undecided, match=rf"{NAME}: the registry has no such image"):
        read_registry(NAME, FakeRegistry().client())
    with pytest.raises(ConfigError, match="not an image's name"):
        read_registry("NOT/A/NAME/", FakeRegistry().client())


def test_a_manifest_that_its_index_promises_and_that_is_not_there_is_named() -> None:
    image = MadeImage()
    entry = image.add(LAYERS, **platform("amd64"))
    fake = serve(image, image.add_index(entry))
    del fake.manifests[entry["digest"]]
    with pytest.raises(Undecided, match=f"{REPOSITORY}@{entry['digest']}"):
        read_registry(NAME, fake.client())


def test_an_ancient_manifest_is_named() -> None:
    fake = FakeRegistry()
    fake.store(b"{}", "v1", media_type="application/vnd.docker.distribution.manifest.v1+prettyjws")
    with pytest.raises(Undecided, match="from before 2017"):
        read_registry(NAME, fake.client())


def test_a_layer_that_fails_stops_the_others() -> None:
    image = MadeImage()
    many = [make_tar((f"f{number}", b"")) for number in range(50)]
    fake = serve(image, image.add([b"no tar" * 100, *many]))
    with pytest.raises(Undecided, match="no tar entry"):
        read_registry(NAME, fake.client())
    assert len(fake.requests) < 40


def test_a_registry_that_goes_away_is_unavailable() -> None:
    image = MadeImage()
    fake = serve(image, image.add(LAYERS))

    def gate(request: requests.PreparedRequest) -> requests.Response | None:
        return reply(request, 503) if digest_of(LAYERS[1]) in str(request.url) else None

    fake.gate = gate
    with pytest.raises(RegistryUnavailable, match="HTTP 503"):
        read_registry(NAME, fake.client())
