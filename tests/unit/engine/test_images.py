from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from docker.errors import APIError, ImageNotFound

from scripts.engine import Engine
from scripts.engine.images import (
    digest_of_tag,
    export_layout,
    has_image,
    list_images,
    load_layout,
    remove_image,
    set_tag,
    tags_of,
)
from scripts.errors import Undecided
from scripts.oci.layout import Layout
from tests.unit.fake_docker import FakeDocker, FakeImage
from tests.unit.oci.made import MadeImage, make_tar, zstd

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


@pytest.fixture
def docker() -> FakeDocker:
    fake = FakeDocker()
    fake.tags = {ONE: {"hallmark/serve:b", "hallmark/serve:a"}, TWO: set()}
    return fake


def test_images_are_known_by_digest(docker: FakeDocker) -> None:
    engine = docker.engine()
    assert has_image(engine, ONE) and not has_image(engine, "sha256:" + "3" * 64)
    assert list_images(engine) == [ONE, TWO]


def test_an_image_that_answers_to_a_name_is_not_the_image_of_that_digest(docker: FakeDocker) -> None:
    docker.tags[ONE].add(TWO.replace("2", "4"))
    assert not has_image(docker.engine(), TWO.replace("2", "4"))


def test_tags_are_set_read_and_moved(docker: FakeDocker) -> None:
    engine = docker.engine()
    assert tags_of(engine, ONE) == ["hallmark/serve:a", "hallmark/serve:b"]
    set_tag(engine, TWO, "hallmark/serve:a")
    assert digest_of_tag(engine, "hallmark/serve:a") == TWO
    assert tags_of(engine, ONE) == ["hallmark/serve:b"]


def test_what_is_not_there_has_no_tags_and_no_digest(docker: FakeDocker) -> None:
    engine = docker.engine()
    assert tags_of(engine, "sha256:" + "3" * 64) == []
    assert digest_of_tag(engine, "hallmark/serve:c") == ""


def test_a_tag_that_does_not_point_where_it_was_set_is_undecided(
    docker: FakeDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeImage, "tag", lambda self, reference: True)
    with pytest.raises(Undecided, match=f"hallmark/serve:a points at {ONE} after tagging {TWO}"):
        set_tag(docker.engine(), TWO, "hallmark/serve:a")
    with pytest.raises(Undecided, match="points at nothing"):
        set_tag(docker.engine(), TWO, "hallmark/serve:new")


def test_removing_a_tag_leaves_the_image_and_removing_twice_is_fine(docker: FakeDocker) -> None:
    engine = docker.engine()
    for _ in range(2):
        remove_image(engine, "hallmark/serve:a")
    assert docker.tags[ONE] == {"hallmark/serve:b"}
    remove_image(engine, TWO)
    assert list(docker.tags) == [ONE]


def make_large_layout(folder: Path) -> Layout:
    """One whose archive is larger than what a pipe holds."""
    image = MadeImage()
    return Layout.open(image.write(folder, image.add([make_tar(("x", bytes(1 << 20)))])))


def test_a_layout_is_loaded_under_its_digest_without_a_tag(docker: FakeDocker, tmp_path: Path) -> None:
    layout = make_large_layout(tmp_path / "layout")
    load_layout(docker.engine(), layout.folder, layout.digest)
    assert docker.tags[layout.digest] == set()


def test_an_engine_that_loads_something_else_is_not_believed(docker: FakeDocker, tmp_path: Path) -> None:
    layout = make_large_layout(tmp_path / "layout")
    with pytest.raises(Undecided, match=f"did not load {TWO.replace('2', '5')}"):
        load_layout(docker.engine(), layout.folder, TWO.replace("2", "5"))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("read", [0, 1000, 200_000])
def test_an_engine_that_answers_before_it_has_read_everything_ends_the_load(
    read: int, docker: FakeDocker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: IO[bytes]) -> Any:
        source.read(read)
        raise APIError("no space left on device")

    layout = make_large_layout(tmp_path / "layout")
    monkeypatch.setattr(docker, "load_image", refuse)
    threads = threading.active_count()
    with pytest.raises(Undecided, match="the engine failed: no space left on device"):
        load_layout(docker.engine(), layout.folder, layout.digest)
    assert threading.active_count() == threads, "nobody is left writing into the pipe"


@pytest.mark.parametrize(("damage", "words"), [("missing", "No such file"), ("short", "has 9 of"), ("other", "hashes")])
@pytest.mark.parametrize("lenient", [True, False])
def test_a_layout_that_cannot_be_packed_is_not_loaded_in_part(
    damage: str, words: str, lenient: bool, docker: FakeDocker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = make_large_layout(tmp_path / "layout")
    path = layout.blob_path(layout.layers[0].digest)
    data = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"short": data[:9], "other": data[:-1] + b"x"}[damage])

    def load(source: IO[bytes]) -> Any:
        received = source.read()
        assert b"index.json" not in received, "no archive that an engine could take for a whole one"
        if not lenient:
            raise APIError("unexpected EOF")
        docker.tags[layout.digest] = set()
        return []

    monkeypatch.setattr(docker, "load_image", load)
    with pytest.raises(Undecided, match=words) as caught:
        load_layout(docker.engine(), layout.folder, layout.digest)
    assert layout.folder.name in str(caught.value)


def test_a_folder_without_a_layout_is_undecided(
    docker: FakeDocker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker, "load_image", lambda source: [source.read()])
    with pytest.raises(Undecided, match="not a complete OCI layout"):
        load_layout(docker.engine(), tmp_path, ONE)


# --- out of the engine


def export(docker: FakeDocker, data: bytes, digest: str, folder: Path) -> Layout:
    def get_image(reference: str) -> Iterator[bytes]:
        docker.check()
        if reference not in docker.tags:
            raise ImageNotFound(f"no such image: {reference}")
        for start in range(0, len(data), 1000):
            docker.check()
            yield data[start : start + 1000]

    docker.get_image = get_image  # type: ignore[attr-defined]
    return export_layout(docker.engine(), digest, folder, lambda text: None)


@pytest.fixture
def exported(docker: FakeDocker) -> tuple[str, bytes]:
    """A digest that the engine has, and what it exports for it."""
    image = MadeImage()
    entry = image.add([make_tar(("x", b"1")), zstd(make_tar(("y", b"2")))])
    docker.tags[entry["digest"]] = set()
    return entry["digest"], image.export(entry)


def test_an_image_comes_out_as_a_layout_of_the_same_digest(
    docker: FakeDocker, exported: tuple[str, bytes], tmp_path: Path
) -> None:
    digest, data = exported
    layout = export(docker, data, digest, tmp_path / "out/layout")
    layout.verify()
    assert layout.digest == digest and layout == Layout.open(tmp_path / "out/layout")


def test_an_engine_that_exports_another_digest_is_undecided(
    docker: FakeDocker, exported: tuple[str, bytes], tmp_path: Path
) -> None:
    digest, data = exported
    with pytest.raises(Undecided, match=f"its image is {digest}, not {ONE}"):
        export(docker, data, ONE, tmp_path / "out/layout")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("length", [0, 700, 5000])
def test_an_export_that_ends_early_is_undecided(
    length: int, docker: FakeDocker, exported: tuple[str, bytes], tmp_path: Path
) -> None:
    digest, data = exported
    with pytest.raises(Undecided, match=f"export of {digest}"):
        export(docker, data[:length], digest, tmp_path / "out/layout")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_image_that_the_engine_does_not_have_is_undecided(docker: FakeDocker, tmp_path: Path) -> None:
    with pytest.raises(Undecided, match="the engine failed: no such image"):
        export(docker, b"", "sha256:" + "9" * 64, tmp_path / "out/layout")
    docker.alive = False
    with pytest.raises(Undecided, match="the engine has gone"):
        export(docker, b"", ONE, tmp_path / "out/layout")


@pytest.mark.parametrize(
    "act",
    [
        lambda engine: has_image(engine, ONE),
        lambda engine: tags_of(engine, ONE),
        lambda engine: digest_of_tag(engine, "hallmark/serve:a"),
        lambda engine: set_tag(engine, ONE, "hallmark/serve:a"),
        lambda engine: remove_image(engine, ONE),
        list_images,
    ],
)
def test_an_engine_that_is_gone_is_undecided(act: Callable[[Engine], Any], docker: FakeDocker) -> None:
    docker.alive = False
    with pytest.raises(Undecided, match="the engine failed: the engine has gone") as caught:
        act(docker.engine())
    assert caught.value.problems[0].next_step
