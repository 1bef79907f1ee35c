"""An image of the local engine: which of the two ways is taken, and what happens when either fails."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from docker.errors import APIError, ImageNotFound

from scripts.audit.library import Library, dump_libraries
from scripts.audit.local import find_local, read_export, read_local
from scripts.engine import Engine
from scripts.errors import Undecided
from scripts.oci.descriptor import digest_of
from tests.unit.audit.samples import PLAIN, SEVERAL, library
from tests.unit.fake_docker import FakeContainer, FakeDocker, FakeImage, raise_
from tests.unit.oci.made import MadeImage, find_diff_id, make_tar, platform, zstd

LAYERS = [make_tar(("a.so", PLAIN), ("b.so", SEVERAL)), gzip.compress(make_tar((".wh.b.so", b""))), zstd(make_tar())]
EXPORTED = [library("a.so")]
LISTED = [library("a.so"), library("b.so")]
DIGEST = "sha256:" + "1" * 64


class AuditedDocker(FakeDocker):
    """An engine with one image, whose containers print a listing, and which it exports."""

    def __init__(self) -> None:
        super().__init__()
        self.tags[DIGEST] = {"some/image:v1"}
        self.containers_made: list[FakeContainer] = []
        image = MadeImage()
        self.export = image.export(image.add(LAYERS))
        self.exported = 0
        self.volumes: dict[str, Any] | None = None
        self.printed = listing(LISTED)
        self.behave = self.print
        self.images.get = self.get  # type: ignore[method-assign]

    def print(self, container: FakeContainer) -> None:
        self.containers_made.append(container)
        container.stdout = self.printed

    def get(self, reference: str) -> FakeImage:
        self.check()
        for digest, tags in self.tags.items():
            if reference == digest or reference in tags:
                image = FakeImage(self, digest)
                image.attrs = {"Config": {"Volumes": self.volumes}}
                return image
        raise ImageNotFound(f"no such image: {reference}")

    def get_image(self, reference: str) -> Iterator[bytes]:
        self.check()
        assert reference == DIGEST
        self.exported += 1
        for start in range(0, len(self.export), 10_000):
            self.check()
            yield self.export[start : start + 10_000]


def listing(libraries: list[Library]) -> bytes:
    lines = [*dump_libraries(libraries), {"end": len(libraries)}]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def read(docker: FakeDocker) -> list[Library]:
    return read_local(docker.engine(), "some/image:v1").libraries


def test_an_image_is_found_by_its_names() -> None:
    engine = AuditedDocker().engine()
    assert find_local(engine, "some/image:v1") == find_local(engine, DIGEST) == DIGEST
    assert find_local(engine, "other") is None


def test_the_files_are_listed_in_one_container_that_is_locked_down_and_removed() -> None:
    docker = AuditedDocker()
    said: list[str] = []
    image = read_local(docker.engine(), "some/image:v1", said.append)
    assert (image.digest, image.libraries) == (DIGEST, LISTED)
    [(created, options)] = docker.created
    assert created == DIGEST, "what a tag names can change meanwhile"
    assert options["network_mode"] == "none" and options["read_only"] and options["cap_drop"] == ["ALL"]
    assert options["cap_add"] == ["DAC_READ_SEARCH"] and options["security_opt"] == ["no-new-privileges"]
    assert options["pids_limit"] and options["mem_limit"] == options["memswap_limit"]
    assert options["environment"]["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert all(mount["ReadOnly"] for mount in options["mounts"])
    assert all(container.removed for container in docker.containers_made)
    assert docker.exported == 0
    assert said == ["listing the files in a container, with its python3"]


def test_an_image_that_has_python_under_its_other_name_is_listed_too() -> None:
    docker = AuditedDocker()

    def behave(container: FakeContainer) -> None:
        docker.print(container)
        if len(docker.created) == 1:
            container.on_start = lambda: raise_(APIError("python3: not found"))

    docker.behave = behave
    assert read(docker) == LISTED
    assert [options["entrypoint"][0] for _, options in docker.created] == ["python3", "python"]
    assert all(container.removed for container in docker.containers_made)


def end_badly(container: FakeContainer) -> None:
    container.code = 1


def never_end(container: FakeContainer) -> None:
    container.hangs = True


def not_start(container: FakeContainer) -> None:
    container.on_start = lambda: raise_(APIError("no such program"))


def lose_a_child_to_memory(container: FakeContainer) -> None:
    container.oom_killed = True  # and with exit code 0, and a listing that looks complete


def end_unnoticed(container: FakeContainer) -> None:
    container.code = 1
    container.on_wait = lambda: raise_(requests.ConnectionError("read timed out"))


@pytest.mark.parametrize("fault", [end_badly, never_end, not_start, lose_a_child_to_memory, end_unnoticed])
def test_where_no_container_answers_the_export_is_read(fault: Any) -> None:
    docker = AuditedDocker()

    def behave(container: FakeContainer) -> None:
        docker.print(container)
        fault(container)

    docker.behave = behave
    assert read(docker) == EXPORTED
    assert len(docker.containers_made) == 2
    assert all(container.removed for container in docker.containers_made)
    assert all(container.killed for container in docker.containers_made if container.hangs)


# No file has a container behind so many bytes, and nobody could write the number in words.
LARGE = re.sub(rb'("offset": )[0-9]+', rb"\g<1>1" + b"0" * 400, listing(LISTED))


@pytest.mark.parametrize("printed", [b"", b"Python 2.7\n", listing(LISTED)[:-10], listing(LISTED) + b"more\n", LARGE])
def test_a_listing_that_is_not_complete_is_not_believed(printed: bytes) -> None:
    docker = AuditedDocker()
    docker.printed = printed
    assert read(docker) == EXPORTED


def test_an_image_with_volumes_is_exported_for_they_hide_what_it_has() -> None:
    docker = AuditedDocker()
    docker.volumes = {"/data": {}}
    assert read(docker) == EXPORTED
    assert docker.created == []


def test_an_image_that_is_not_there_is_undecided_and_says_how_to_get_it() -> None:
    with pytest.raises(Undecided, match="no such image") as caught:
        read_local(AuditedDocker().engine(), "other:v2")
    assert caught.value.problems[0].next_step == "docker pull other:v2"


@pytest.mark.parametrize("when", ["before", "start", "wait", "export"])
def test_an_engine_that_goes_away_is_undecided(when: str) -> None:
    docker = AuditedDocker()

    def leave() -> None:
        docker.alive = False

    def behave(container: FakeContainer) -> None:
        docker.print(container)
        container.on_start = leave if when == "start" else container.on_start
        container.on_wait = leave if when == "wait" else container.on_wait

    docker.behave = behave
    docker.alive = when != "before"
    if when == "export":
        docker.volumes = {"/data": {}}
        engine = docker.engine()
        with pytest.raises(Undecided, match="the engine failed"):
            read_local(engine, DIGEST, lambda text: leave())
        return
    said = "the engine failed" if when == "before" else "a container is left behind"
    with pytest.raises(Undecided, match=said):
        read(docker)


# --- the export


def export(data: bytes) -> tuple[Engine, AuditedDocker]:
    docker = AuditedDocker()
    docker.export = data
    return docker.engine(), docker


def read_bytes(data: bytes) -> list[Library]:
    return read_export(export(data)[0], DIGEST, lambda text: None)


def test_an_export_is_read_in_one_pass_and_says_how_far_it_is() -> None:
    engine, docker = export(AuditedDocker().export)
    said: list[str] = []
    assert read_export(engine, DIGEST, said.append) == EXPORTED
    assert docker.exported == 1
    assert said[0] == "10.0 kB of the archive read"


def test_of_an_export_of_several_platforms_ours_counts_and_no_other_can_spoil_it() -> None:
    image = MadeImage()
    other = image.add([b"no tar at all" * 100, make_tar(("arm.so", PLAIN))], "arm64", **platform("arm64"))
    extra = image.add([b"garbage"], **platform("unknown", "unknown"))
    index = image.add_index(other, image.add(LAYERS, **platform("amd64")), extra)
    assert read_bytes(image.export(index)) == EXPORTED


def test_a_layer_that_looks_like_json_is_a_layer() -> None:
    image = MadeImage()
    assert read_bytes(image.export(image.add([make_tar(("{x.so", PLAIN))]))) == [library("{x.so")]


def test_an_export_without_a_layout_names_the_engine_that_is_needed() -> None:
    with pytest.raises(Undecided, match="no OCI layout in it") as caught:
        read_bytes(make_tar(("manifest.json", b"[]"), ("1/layer.tar", make_tar())))
    assert "26" in caught.value.problems[0].next_step


@pytest.mark.parametrize("length", [0, 100, 600, 5000, 20_000, 40_000])
def test_an_export_that_is_cut_short_is_undecided(length: int) -> None:
    with pytest.raises(Undecided, match=r"cut short|no OCI layout in it"):
        read_bytes(AuditedDocker().export[:length])


def test_a_layer_that_the_engine_left_out_is_named() -> None:
    image = MadeImage()
    entry = image.add(LAYERS)
    del image.blobs[digest_of(LAYERS[1])]
    with pytest.raises(Undecided, match=f"{digest_of(LAYERS[1])} is not in it"):
        read_bytes(image.export(entry))


@pytest.mark.parametrize("which", range(3))
def test_a_layer_of_other_bytes_is_named(which: int) -> None:
    image = MadeImage()
    entry = image.add(LAYERS)
    layer = LAYERS[which]
    image.blobs[digest_of(layer)] = layer[:-1] + bytes([layer[-1] ^ 1])
    with pytest.raises(Undecided, match=digest_of(layer)):
        read_bytes(image.export(entry))


def test_an_image_for_another_platform_is_undecided() -> None:
    image = MadeImage()
    with pytest.raises(Undecided, match="for linux/arm64"):
        read_bytes(image.export(image.add(LAYERS, "arm64")))


@pytest.mark.parametrize("which", range(3))
def test_a_layer_whose_plain_bytes_the_configuration_does_not_name_is_damage(which: int) -> None:
    image = MadeImage()
    diff_ids = [find_diff_id(layer) for layer in LAYERS]
    diff_ids[which] = digest_of(b"other")
    with pytest.raises(Undecided, match=f"layer {digest_of(LAYERS[which])}: its plain bytes hash to"):
        read_bytes(image.export(image.add(LAYERS, diff_ids=diff_ids)))


def test_a_sparse_file_is_a_fault() -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("GNUSparseFile.0/x")
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "real/x.so"}
        tar.addfile(info)
    image = MadeImage()
    [found] = read_bytes(image.export(image.add([stream.getvalue()])))
    assert found.path == "real/x.so" and "sparse" in found.fault
