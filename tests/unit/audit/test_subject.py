"""Which source a name leads to: the disk first, then the local engine, then a registry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.audit import subject as module
from scripts.audit.images import RemoteImage
from scripts.audit.library import Library
from scripts.audit.subject import Subject, read_subject
from scripts.engine import Engine
from scripts.errors import ConfigError, Undecided
from tests.unit.audit.samples import PLAIN, library
from tests.unit.fake_docker import FakeDocker
from tests.unit.oci.made import MadeImage, make_tar

DIGEST = "sha256:" + "1" * 64
NAME = "registry.example.com/team/image:v1"


class Sources:
    """Readers that note who was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.local: str | None = None
        monkeypatch.setattr(module, "read_layout", self._layout)
        monkeypatch.setattr(module, "read_registry", self._registry)
        monkeypatch.setattr(module, "find_local", self._find)
        monkeypatch.setattr(module, "Registry", lambda: None)

    def _layout(self, folder: Path, update: Callable[[str], None]) -> list[Library]:
        self.asked.append("layout")
        return [library("layout.so")]

    def _find(self, engine: Engine, text: str) -> str | None:
        self.asked.append("engine")
        return self.local

    def _registry(self, text: str, registry: Any, update: Callable[[str], None]) -> RemoteImage:
        self.asked.append("registry")
        return RemoteImage(f"docker.io/{text}", DIGEST, DIGEST, 1, [library("remote.so")])


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> Sources:
    return Sources(monkeypatch)


@pytest.fixture
def engine() -> Engine:
    return FakeDocker().engine()


def test_a_path_is_read_and_nobody_asked(sources: Sources, engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "a.so").write_bytes(PLAIN)
    assert read_subject(str(tmp_path / "a.so"), engine) == Subject(str(tmp_path / "a.so"), [library("a.so")])
    assert read_subject(str(tmp_path), engine) == Subject(str(tmp_path), [library("a.so")])
    assert sources.asked == []


@pytest.mark.parametrize("name", ["[/]", "[bold]x", "a[/b].so"])
def test_a_path_of_any_spelling_is_a_path(
    name: str, sources: Sources, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(PLAIN)
    assert len(read_subject(str(path), None).libraries) == 1


def test_a_layout_is_one_by_its_two_files(sources: Sources, engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text("{}")
    assert read_subject(str(tmp_path), engine).libraries == []
    assert sources.asked == [], "any folder can have an index.json"
    (tmp_path / "oci-layout").write_text("{}")
    assert read_subject(str(tmp_path), engine) == Subject(str(tmp_path), [library("layout.so")])
    assert sources.asked == ["layout"]


def test_an_archive_is_one_by_its_name(sources: Sources, engine: Engine, tmp_path: Path) -> None:
    image = MadeImage()
    (tmp_path / "image.tar").write_bytes(image.export(image.add([make_tar(("a.so", PLAIN))])))
    (tmp_path / "image.bin").write_bytes((tmp_path / "image.tar").read_bytes())
    text = str(tmp_path / "image.tar")
    assert read_subject(text, engine) == Subject(text, [library("a.so")]) and sources.asked == []
    assert read_subject(str(tmp_path / "image.bin"), engine).libraries == []
    (tmp_path / "image.tar").write_bytes(b"x" * 1000)
    with pytest.raises(Undecided, match="no tar entry"):
        read_subject(text, engine)


def test_an_image_that_the_engine_lacks_is_asked_of_its_registry(sources: Sources, engine: Engine) -> None:
    assert read_subject(NAME, engine) == Subject(f"docker.io/{NAME}", [library("remote.so")], DIGEST)
    assert sources.asked == ["engine", "registry"]


def test_without_an_engine_the_registry_is_asked(sources: Sources) -> None:
    assert read_subject(NAME, None).digest == DIGEST
    assert sources.asked == ["registry"]


def test_an_image_that_the_engine_has_is_not_asked_of_a_registry(
    sources: Sources, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Local:
        digest = "sha256:" + "2" * 64
        libraries = [library("local.so")]  # noqa: RUF012

    sources.local = Local.digest
    monkeypatch.setattr(module, "read_local", lambda *_: Local)
    found = read_subject(NAME, engine)
    assert (found.libraries, found.digest) == (Local.libraries, Local.digest)
    assert sources.asked == ["engine"]


def test_an_engine_that_fails_is_not_passed_over(
    sources: Sources, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise Undecided("the engine has gone")

    monkeypatch.setattr(module, "find_local", fail)
    with pytest.raises(Undecided, match="the engine has gone"):
        read_subject(NAME, engine)
    assert sources.asked == [], "the registry could have another image of that name"


def test_what_is_neither_a_path_nor_a_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Registry", lambda: None)
    with pytest.raises(ConfigError, match="not an image's name"):
        read_subject("./no such file", None)


def test_what_may_not_be_read_is_undecided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(module, "read_path", refuse)
    with pytest.raises(Undecided, match=r"cannot be read.*Permission denied") as caught:
        read_subject(str(tmp_path), None)
    assert caught.value.problems[0].next_step


def test_a_name_that_no_file_could_have_is_no_crash() -> None:
    with pytest.raises((Undecided, ConfigError)):
        read_subject("a" * 5000, None)
