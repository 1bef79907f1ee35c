from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.assemble.shell import build_shell, shell_arguments
from scripts.assemble.types import Step
from scripts.errors import BuildFailed
from scripts.fetch import Cache
from scripts.oci.layout import Layout
from tests.unit.assemble.kit import LayoutBuilder
from tests.unit.builders import EPOCH, lock_bytes, make_image, put_in_cache, write
from tests.unit.debs import make_deb
from tests.unit.oci.made import make_tar


@pytest.fixture
def step(tmp_path: Path) -> Step:
    write(tmp_path / "image/Dockerfile", "FROM scratch\n")
    return Step("base", make_image(tmp_path / "image"), None, (), EPOCH, {"a": "b"}, build_id="1" * 64)


def build(builder: LayoutBuilder, step: Step, folder: Path) -> Layout:
    return build_shell(
        step, builder, None, Cache(folder / "cache"), folder / "work", folder / "build.log", lambda text: None
    )


def test_a_dockerfile_is_given_its_labels_arguments_and_packages(step: Step, tmp_path: Path) -> None:
    data = make_deb(tmp_path / "a.deb", [("./bin/sh", b"shell")]).read_bytes()
    put_in_cache(Cache(tmp_path / "cache"), data)
    changed = Step(
        **{**vars(step), "files": (lock_bytes(data, file="a.deb", kind="deb"),), "arguments": {"LINE": "cpu"}}
    )
    builder = LayoutBuilder([make_tar(("a", b"a"))])
    assert len(build(builder, changed, tmp_path).layers) == 1
    [command] = builder.ran
    for word in (
        f"SOURCE_DATE_EPOCH={EPOCH}",
        "LINE=cpu",
        "a=b",
        f"io.hallmark.build-id={'1' * 64}",
        "org.opencontainers.image.created=2023-11-14T22:13:20Z",
        f"inputs={tmp_path / 'work' / 'inputs'}",
    ):
        assert word in command
    assert shell_arguments(step) == {"SOURCE_DATE_EPOCH": str(EPOCH)}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def alter(path: Path) -> None:
    path.write_bytes(path.read_bytes()[::-1])


@pytest.mark.parametrize(
    ("damage", "cause"), [(cut, "of 10240 bytes"), (alter, "hashes to"), (Path.unlink, "is missing")]
)
def test_what_a_builder_says_it_made_is_hashed(
    damage: Callable[[Path], None], cause: str, step: Step, tmp_path: Path
) -> None:
    def spoil(folder: Path) -> None:
        damage(max((folder / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size))

    with pytest.raises(BuildFailed, match=cause):
        build(LayoutBuilder([make_tar(("a", b"a"))], spoil), step, tmp_path)
