from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.engine import Engine
from scripts.engine.images import digest_of_tag, has_image, list_images, load_layout, remove_image, set_tag, tags_of
from scripts.errors import Undecided
from tests.unit.fake_docker import FakeDocker, FakeImage
from tests.unit.registry.fake_registry import make_layout

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


def test_a_layout_is_loaded_under_its_digest_without_a_tag(docker: FakeDocker, tmp_path: Path) -> None:
    layout = make_layout(tmp_path / "layout", "candidate")
    (layout.folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    load_layout(docker.engine(), layout.folder, layout.digest)
    assert docker.tags[layout.digest] == set()


def test_an_engine_that_loads_something_else_is_not_believed(docker: FakeDocker, tmp_path: Path) -> None:
    layout = make_layout(tmp_path / "layout", "candidate")
    (layout.folder / "oci-layout").write_text("{}")
    with pytest.raises(Undecided, match=f"did not load {TWO.replace('2', '5')}"):
        load_layout(docker.engine(), layout.folder, TWO.replace("2", "5"))


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
