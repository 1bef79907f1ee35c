from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from scripts.errors import ConfigError
from scripts.index import FoundFile
from scripts.lock import Lock, component_slot, read_slot, recipe_slot, suite_slot, update
from scripts.lock.records import Record
from scripts.lock.sources import LockedSources
from scripts.matrix import Component, Matrix, load_matrix
from scripts.model import LockedFile, LockedTree
from scripts.site import PipSettings, Site
from tests.unit.builders import EPOCH, edit, lock_bytes, write, write_component, write_locked_project, write_project

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

    def resolve(*_: Any, **options: Any) -> list[FoundFile]:
        return [FoundFile(f.name, f.version, f.file, f.sha256, f.url, newest) for f in files]

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


# --- what is compiled

SOURCES = LockedSources((lock_bytes(b"sdist", file="serve-kernels-1.0.tar.gz", kind="sdist"),), (), EPOCH + 20)


@pytest.fixture
def compiled(tmp_path: Path) -> Matrix:
    return load_matrix(write_component(write_project(tmp_path)))


def find(*pins: str) -> list[FoundFile]:
    """Wheels as the solver finds them: `name==version`."""
    items = [pin.split("==") for pin in pins]
    return [FoundFile(n, v, f"{n}-{v}-py3-none-any.whl", "f" * 64, f"https://index.invalid/{n}", 7) for n, v in items]


def relock_component(
    matrix: Matrix, monkeypatch: pytest.MonkeyPatch, earlier: Sequence[Component] = (), **sources: Any
) -> tuple[bool, dict[str, Any]]:
    asked: dict[str, Any] = {}

    def resolve(requirements: Any, absent: Any, *_: Any, override: Any) -> list[FoundFile]:
        asked.update(requirements=requirements, absent=absent, override=override)
        return find("cmake==3.30", "torch==2.0+cpu")

    monkeypatch.setattr(update, "resolve_wheels", resolve)
    monkeypatch.setattr(update, "lock_wheels", lambda found, _: [lock_bytes(b"", file=each.file) for each in found])
    monkeypatch.setattr(update, "lock_sources", lambda *_: dataclasses.replace(SOURCES, **sources))
    site = Site("auto", "", (), (), matrix.root / "cache")
    component = matrix.components["kernels-1.0"]
    return update.update_component(matrix, component, "12.8", earlier, PipSettings(), site), asked


def read_component(matrix: Matrix, earlier: Sequence[Component] = ()) -> Lock:
    return read_slot(matrix.root, component_slot(matrix, matrix.components["kernels-1.0"], "12.8", earlier))


def test_a_components_lock_has_its_environment_and_its_sources(
    compiled: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed, asked = relock_component(compiled, monkeypatch)
    assert changed
    assert asked == {
        "requirements": ["cmake>=3", "ninja", "cmake>=3.26,<4", "torch==2.0"],
        "absent": ["nothing", "triton", "cuda-bindings"],
        "override": (),
    }
    lock = read_component(compiled)
    assert [file.file for file in lock.files] == [
        "cmake-3.30-py3-none-any.whl",
        "torch-2.0+cpu-py3-none-any.whl",
        "serve-kernels-1.0.tar.gz",
    ]
    assert lock.epoch == EPOCH + 20
    assert relock_component(compiled, monkeypatch)[0] is False


def test_what_was_compiled_before_is_not_locked_as_a_wheel(compiled: Matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = dataclasses.replace(compiled.components["kernels-1.0"], name="torch", version="2.0", distribution="torch")
    relock_component(compiled, monkeypatch, [torch])
    assert [file.name for file in read_component(compiled, [torch]).files if file.kind == "wheel"] == ["cmake"]
    other = dataclasses.replace(torch, version="2.1")
    with pytest.raises(ConfigError, match=r"torch 2\.0\+cpu is asked for, and torch-2\.1 is compiled"):
        relock_component(compiled, monkeypatch, [other])


def test_trees_stay_when_the_question_alone_changes(compiled: Matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    trees = (LockedTree("attention", "https://example.com/attention", "1" * 40),)
    relock_component(compiled, monkeypatch, trees=trees)
    edit(compiled.root / "images/serve/components/kernels/1.0.toml", "cmake>=3.26,<4", "cmake>=3.27,<4")
    changed = load_matrix(compiled.root)
    assert relock_component(changed, monkeypatch, trees=trees, epoch=EPOCH + 99)[0] is True
    assert (read_component(changed).trees, read_component(changed).epoch) == (trees, EPOCH + 20)


def test_a_recipes_own_wheels_are_locked_without_what_it_compiles(
    compiled: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ("source", "12.8")
    monkeypatch.setattr(update, "resolve_wheels", lambda *_, **__: find("serve==1.2.0", "serve-kernels==1.0"))
    monkeypatch.setattr(update, "lock_wheels", lambda found, _: [lock_bytes(b"", file=each.file) for each in found])
    monkeypatch.setattr(update, "collect_records", lambda *_: {"serve": Record("serve-1.2.0", {}, {})})
    site, image = Site("auto", "", (), (), compiled.root / "cache"), compiled.images["serve"]
    update.update_recipe(compiled, image, key, PipSettings(), site, [])
    assert [file.name for file in read_slot(compiled.root, recipe_slot(compiled, image, key)).files] == ["serve"]
    monkeypatch.setattr(update, "resolve_wheels", lambda *_, **__: find("serve-kernels==1.1"))
    with pytest.raises(ConfigError, match=r"serve-kernels 1\.1 is asked for, and kernels-1\.0 is compiled"):
        update.update_recipe(compiled, image, key, PipSettings(), site, [])


# --- a recipe's suite


def test_a_suite_is_locked_as_its_sdist_and_what_it_needs(matrix: Matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = '[recipe.wheel.cpu.suite]\nsdist = "train==3.0"\nfolder = "tests"\nrequirements = ["pytest==9.0"]\n'
    edit(matrix.root / "images/train/image.toml", "[[scenario]]", f"{suite}[[scenario]]")
    changed = load_matrix(matrix.root)
    asked: list[Any] = []

    def find(pins: Sequence[str], *_: Any) -> list[FoundFile]:
        asked.append(list(pins))
        return [FoundFile("train", "3.0", "train-3.0.tar.gz", "a" * 64, "", EPOCH + 5)]

    def resolve(pins: Sequence[str], *_: Any, with_dependencies: bool) -> list[FoundFile]:
        assert not with_dependencies, "the image has the rest"
        asked.append(list(pins))
        return [FoundFile("pytest", "9.0", "pytest-9.0-py3-none-any.whl", "b" * 64, "", EPOCH + 3)]

    monkeypatch.setattr(update, "find_sdists", find)
    monkeypatch.setattr(update, "resolve_wheels", resolve)
    monkeypatch.setattr(update, "ask_size", lambda _: 7)
    monkeypatch.setattr(update, "lock_wheels", lambda found, _: [lock_bytes(b"", file=each.file) for each in found])
    site = Site("auto", "", (), (), matrix.root / "cache")
    assert update.update_suite(changed, changed.images["train"], KEY, PipSettings(), site) is True
    lock = read_slot(matrix.root, suite_slot(changed, changed.images["train"], KEY))
    assert [file.file for file in lock.files] == ["train-3.0.tar.gz", "pytest-9.0-py3-none-any.whl"]
    assert (lock.files[0].kind, lock.files[0].size, lock.epoch) == ("sdist", 7, EPOCH + 5)
    assert asked == [["train==3.0"], ["pytest==9.0"]]
