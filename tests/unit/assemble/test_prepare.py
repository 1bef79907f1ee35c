from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from scripts.assemble import prepare as module
from scripts.assemble.prepare import Wheel, prepare_wheels
from scripts.assemble.types import Step
from scripts.fetch import Cache
from scripts.model import LockedFile
from scripts.slim.wheel.cached import SlimmedFile
from tests.unit.builders import EPOCH, lock_bytes, make_image

WHOLE, OTHER = lock_bytes(b"thing" * 9), lock_bytes(b"other", file="other-1.0-py3-none-any.whl")
SMALL = lock_bytes(b"small", file="thing-1.0+sm120-py3-none-any.whl", version="1.0+sm120")
PACKAGE = lock_bytes(b"deb", file="a.deb", kind="deb")


@pytest.fixture
def step(tmp_path: Path) -> Step:
    return Step("serve", make_image(tmp_path), None, (WHOLE, PACKAGE, OTHER), EPOCH, {}, build_id="1" * 64)


def wheel(cache: Cache, file: LockedFile) -> Wheel:
    return Wheel(file.name, file.version, file.file, file.sha256, cache.path(file.sha256))


def test_wheels_that_are_kept_are_those_of_the_lock(
    step: Step, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "slim_files", None)
    cache = Cache(tmp_path)
    assert prepare_wheels(step, cache, lambda text: None) == [wheel(cache, WHOLE), wheel(cache, OTHER)]


def test_wheels_for_a_gpu_are_cut_down_to_it(
    step: Step, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[list[LockedFile], str]] = []

    def slim_files(files: list[LockedFile], compute: str, cache: Cache, update: object) -> list[SlimmedFile]:
        asked.append((files, compute))
        return [SlimmedFile(file, SMALL if file is WHOLE else file) for file in files]

    monkeypatch.setattr(module, "slim_files", slim_files)
    cache = Cache(tmp_path)
    made = prepare_wheels(dataclasses.replace(step, slim="12.0"), cache, lambda text: None)
    assert asked == [([WHOLE, OTHER], "12.0")]
    assert made == [wheel(cache, SMALL), wheel(cache, OTHER)]
    assert "serve: 50 B of wheels became 10 B" in capsys.readouterr().err
