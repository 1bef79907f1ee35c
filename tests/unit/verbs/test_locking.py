"""Which locks are written anew: all of them, an image's, or those that do not fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scripts.command import main
from scripts.site import PipSettings
from scripts.verbs import locking
from tests.unit.builders import edit, write_locked_project

TOOLS, BASE, SERVE, TRAIN = "tools", "base", "serve wheel cpu", "train wheel cpu"


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was locked anew, in order: nothing is asked of a network."""
    names: list[str] = []

    def note(name: str) -> bool:
        names.append(name)
        return True

    def update_recipe(_: Any, image: Any, key: Any, *rest: Any) -> bool:
        return note(f"{image.name} {' '.join(key)}")

    @contextmanager
    def lay_out(*_: Any) -> Iterator[Path]:
        yield tmp_path

    write_locked_project(tmp_path)
    monkeypatch.setattr(locking, "read_pip_settings", PipSettings)
    monkeypatch.setattr(locking, "fetch_files", lambda *_: None)
    monkeypatch.setattr(locking, "lay_out_named", lay_out)
    monkeypatch.setattr(locking, "update_tools", lambda *_: note(TOOLS))
    monkeypatch.setattr(locking, "update_image", lambda _, image: note(image.name))
    monkeypatch.setattr(locking, "update_recipe", update_recipe)
    return names


def run(root: Path, *words: str) -> int:
    return main(["--project", str(root), "lock", *words])


def test_every_input_is_resolved_anew(written: list[str], tmp_path: Path) -> None:
    assert run(tmp_path) == 0
    assert written == [TOOLS, BASE, SERVE, TRAIN]


def test_or_those_of_one_image(written: list[str], tmp_path: Path) -> None:
    assert run(tmp_path, "serve") == 0
    assert written == [SERVE]


def test_or_those_that_do_not_fit_are_damaged_or_missing(
    written: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "--stale") == 0
    assert written == [] and "0 of 4 locks changed" in capsys.readouterr().err
    edit(tmp_path / "matrix.toml", 'uv = "0.9.1"', 'uv = "0.9.2"')
    (tmp_path / "images/serve/lock/wheel-cpu.toml").unlink()
    (tmp_path / "images/base/lock/debian.toml").write_text("<<<<<<< ours\n")
    assert run(tmp_path, "--stale") == 0
    assert written == [TOOLS, BASE, SERVE]


def test_those_of_one_image_that_do_not_fit(written: list[str], tmp_path: Path) -> None:
    edit(tmp_path / "matrix.toml", 'uv = "0.9.1"', 'uv = "0.9.2"')
    (tmp_path / "images/serve/lock/wheel-cpu.toml").unlink()
    assert run(tmp_path, "--stale", "train") == 0 and written == []
    assert run(tmp_path, "--stale", "serve") == 0 and written == [SERVE]


def test_checking_and_writing_are_two_things(written: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        run(tmp_path, "--check", "--stale")
    assert caught.value.code == 2 and written == []
