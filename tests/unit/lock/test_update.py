from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from scripts.errors import ConfigError
from scripts.index import FoundWheel
from scripts.lock import read_slot, recipe_slot, update
from scripts.lock.records import Record
from scripts.matrix import Matrix, load_matrix
from scripts.model import LockedFile
from scripts.site import PipSettings, Site
from tests.unit.builders import EPOCH, edit, lock_bytes, write, write_locked_project

KEY = ("wheel", "cpu")


@pytest.fixture
def matrix(tmp_path: Path) -> Matrix:
    return write_locked_project(tmp_path)


def relock(
    matrix: Matrix,
    files: Sequence[LockedFile],
    monkeypatch: pytest.MonkeyPatch,
    newest: int = EPOCH + 9,
    paths: Mapping[str, str] | None = None,
) -> bool:
    """Update the lock of `train`, where the solver finds these files, each of which writes `x.py`."""

    def resolve(*_: Any) -> list[FoundWheel]:
        return [FoundWheel(f.name, f.version, f.file, f.sha256, f.url, newest) for f in files]

    monkeypatch.setattr(update, "resolve_wheels", resolve)
    monkeypatch.setattr(update, "lock_wheels", lambda found, upstream: list(files))
    records = {f.name: Record(f"{f.name}-1.0", {"x.py": (paths or {}).get(f.name, "same")}, {}) for f in files}
    monkeypatch.setattr(update, "collect_records", lambda *_: records)
    site = Site("auto", "", (), (), matrix.root / "cache")
    return update.update_recipe(matrix, matrix.images["train"], KEY, PipSettings(), site, [])


def read(matrix: Matrix) -> Any:
    return read_slot(matrix.root, recipe_slot(matrix, matrix.images["train"], KEY))


def test_a_lock_of_the_same_bytes_is_left_as_it_is(matrix: Matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    path = matrix.root / "images/train/lock/wheel-cpu.toml"
    before = path.read_bytes()
    assert relock(matrix, read(matrix).files, monkeypatch) is False
    assert path.read_bytes() == before


def test_other_bytes_are_written_with_the_time_of_the_newest(matrix: Matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    files = (lock_bytes(b"newer"),)
    assert relock(matrix, files, monkeypatch) is True
    assert (read(matrix).files, read(matrix).epoch) == (files, EPOCH + 9)


def test_a_question_that_changed_without_its_answer_keeps_the_epoch(
    matrix: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = read(matrix).files
    edit(matrix.root / "images/train/image.toml", '["train==3.0"]', '["train==3.0", "train>2"]')
    changed = load_matrix(matrix.root)
    assert relock(changed, files, monkeypatch) is True
    assert (read(changed).files, read(changed).epoch) == (files, EPOCH)


def test_an_address_that_changed_in_the_question_is_written(matrix: Matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [dataclasses.replace(file, url="https://new.invalid/thing.whl") for file in read(matrix).files]
    assert relock(matrix, files, monkeypatch) is False, "the site's business alone"
    edit(matrix.root / "images/train/image.toml", '["train==3.0"]', '["train==3.0", "train>2"]')
    changed = load_matrix(matrix.root)
    assert relock(changed, files, monkeypatch) is True
    assert [file.url for file in read(changed).files] == ["https://new.invalid/thing.whl"]


@pytest.mark.parametrize("text", ["", "version = ", "version = 9\n"])
def test_a_damaged_lock_is_written_anew(text: str, matrix: Matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    files = read(matrix).files
    write(matrix.root / "images/train/lock/wheel-cpu.toml", text)
    assert relock(matrix, files, monkeypatch) is True
    assert read(matrix).files == files


def test_a_set_in_which_two_get_in_each_others_way_is_not_locked(
    matrix: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = matrix.root / "images/train/lock/wheel-cpu.toml"
    before = path.read_bytes()
    files = [lock_bytes(name.encode(), file=f"{name}-1.0-py3-none-any.whl") for name in ("one", "two")]
    with pytest.raises(ConfigError, match="one and two write one path with different bytes"):
        relock(matrix, files, monkeypatch, paths={"one": "1", "two": "2"})
    assert path.read_bytes() == before
    assert relock(matrix, files, monkeypatch) is True, "the same bytes are in nobody's way"


def test_a_set_of_another_cuda_is_not_locked(matrix: Matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [lock_bytes(b"x", file="nvidia_cublas_cu12-1.0-py3-none-any.whl", name="nvidia-cublas-cu12")]
    with pytest.raises(ConfigError, match="nvidia-cublas-cu12"):
        relock(matrix, files, monkeypatch)
