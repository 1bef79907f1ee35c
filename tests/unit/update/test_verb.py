"""What the verb writes, and that a recipe that cannot be locked stays as it was."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from scripts.errors import ConfigError, ExitCode
from scripts.lock.slots import RecipeKey
from scripts.matrix import Image, Matrix, load_matrix
from scripts.site import PipSettings
from scripts.update.propose import Proposal
from scripts.verbs import updating
from tests.unit.builders import write_locked_project

KEY = ("wheel", "cpu")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_locked_project(tmp_path)
    monkeypatch.setattr(updating, "read_pip_settings", PipSettings)
    monkeypatch.setattr(updating, "propose", newer_for_serve)
    return tmp_path


def newer_for_serve(matrix: Matrix, image: Image, key: RecipeKey, *_: Any) -> Proposal:
    recipe = image.recipes[key]
    newest = "1.3.0" if image.name == "serve" else recipe.version
    requirements = tuple(each.replace(recipe.version, newest) for each in recipe.requirements)
    return Proposal(image.name, key, recipe.version, newest, requirements)


def run(root: Path, *images: str, dry_run: bool = False) -> int:
    return updating.update(root, Namespace(images=[*images], dry_run=dry_run))


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def lock_like(patch: pytest.MonkeyPatch, outcome: Exception | None) -> list[str]:
    """Let the lock of a recipe write something, and then end like this; the versions that it was asked for."""
    asked: list[str] = []

    def update_recipe(matrix: Any, image: Any, key: Any, *_: Any) -> bool:
        asked.append(image.recipes[key].version)
        (matrix.root / "images/serve/lock/wheel-cpu.toml").write_text("new")
        if outcome:
            raise outcome
        return True

    patch.setattr(updating, "update_recipe", update_recipe)
    return asked


def test_a_newer_version_is_written_and_locked(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = lock_like(monkeypatch, None)
    assert run(root) == ExitCode.ACCEPTED and asked == ["1.3.0"]
    assert load_matrix(root).images["serve"].recipes[KEY].version == "1.3.0"


@pytest.mark.parametrize(
    ("outcome", "code"),
    [(ConfigError("two write x.py", "image.toml"), ExitCode.USAGE), (KeyboardInterrupt(), None)],
)
def test_what_cannot_be_locked_leaves_every_file_as_it_was(
    outcome: Any, code: ExitCode | None, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(root)
    lock_like(monkeypatch, outcome)
    if code is None:
        with pytest.raises(KeyboardInterrupt):
            run(root)
    else:
        assert run(root) == code
        assert "not taken: image.toml: two write x.py" in capsys.readouterr().out
    assert snapshot(root) == before


def test_a_dry_run_writes_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(root)
    assert lock_like(monkeypatch, None) == [] and run(root, dry_run=True) == ExitCode.ACCEPTED
    assert snapshot(root) == before and "1.3.0" in capsys.readouterr().out


def test_only_the_images_that_are_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "train", dry_run=True) == ExitCode.ACCEPTED
    assert "serve" not in capsys.readouterr().out
    with pytest.raises(ConfigError, match="no image nothing"):
        run(root, "nothing")


def test_the_table_is_in_cis_summary(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    run(root, dry_run=True)
    assert r"| serve | wheel cpu | 1\.2.0 | 1\.3.0 |" in summary.read_text()
