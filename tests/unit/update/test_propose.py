"""Which versions an update asks for, and what it says of them. uv is a stand-in; it runs in the integration tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.errors import ConfigError
from scripts.index import FoundFile
from scripts.lock import Lock
from scripts.lock.lockfile import write_lock
from scripts.lock.slots import recipe_slot
from scripts.matrix import Matrix, load_matrix
from scripts.model import LockedFile
from scripts.site import PipSettings, Site
from scripts.update import propose as module
from scripts.update.propose import Change, Proposal, exact_versions, find_main, list_changes, pin, propose, relax
from tests.unit.builders import EPOCH, edit, lock_bytes, write_project

KEY = ("wheel", "12.8")
RECIPE = """
[recipe.wheel."12.8"]
version = "1.2.0"
revision = "v1.2.0"
requirements = ["serve==1.2.0", "torch==2.0,!=2.0+cpu", "nvidia-cuda-nvcc-cu12==12.8.93"]
"""


@pytest.fixture
def matrix(tmp_path: Path) -> Matrix:
    path = write_project(tmp_path) / "images/serve/image.toml"
    edit(path, "[[scenario]]", f"{RECIPE}\n[[scenario]]")
    matrix = load_matrix(tmp_path)
    slot = recipe_slot(matrix, matrix.images["serve"], KEY)
    old = [wheel("serve", "1.2.0", 10), wheel("torch", "2.0", 100), wheel("gone", "1", 1), wheel("same", "1", 7)]
    write_lock(tmp_path / slot.place, Lock(slot.config_id, EPOCH, tuple(old)))
    return matrix


def wheel(name: str, version: str, size: int) -> LockedFile:
    file = lock_bytes(f"{name} {version}".encode(), file=f"{name}-{version}-py3-none-any.whl", name=name)
    return replace(file, version=version, size=size)


def ask(
    matrix: Matrix,
    patch: pytest.MonkeyPatch,
    answer: Mapping[str, str] | Iterator[Mapping[str, str]] | ConfigError,
    requires: Sequence[str] = (),
) -> tuple[Proposal, dict[str, Any]]:
    """What is proposed where the solver comes to these versions, and what the solver was asked."""
    asked: dict[str, Any] = {}

    def resolve(requirements: Sequence[str], absent: Sequence[str], *_: Any, **options: Any) -> list[FoundFile]:
        asked.update(options, requirements=requirements)
        if isinstance(answer, ConfigError):
            raise answer
        found = answer if isinstance(answer, Mapping) else next(answer)
        files = [wheel(name, version, 50) for name, version in found.items()]
        return [FoundFile(each.name, each.version, each.file, each.sha256, "", EPOCH) for each in files]

    sizes = {"torch": 200, "serve": 20}
    patch.setattr(module, "resolve_wheels", resolve)
    patch.setattr(module, "read_requirements", lambda found: [*requires])
    patch.setattr(
        module,
        "lock_wheels",
        lambda found, _: [wheel(each.name, each.version, sizes.get(each.name, 7)) for each in found],
    )
    site = Site("auto", "", (), (), matrix.root / "cache")
    return propose(matrix, matrix.images["serve"], KEY, PipSettings(), site), asked


def test_the_newest_is_asked_for_that_is_of_the_same_cuda_line(matrix: Matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    _, asked = ask(matrix, monkeypatch, {"serve": "1.2.0", "torch": "2.0"})
    assert asked["requirements"] == ["serve>=1.2.0", "torch>=2.0,!=2.0+cpu", "nvidia-cuda-nvcc-cu12==12.8.93"]
    assert asked["constraints"] == ["nvidia-cuda-runtime==12.8.*", "nvidia-cuda-runtime-cu12==12.8.*"]


def test_a_newer_version_comes_with_what_it_needs_and_what_that_costs(
    matrix: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    requires = ["torch==2.1", "extra==9 ; extra == 'more'", "loose>=1"]
    versions = {"serve": "1.3.0", "torch": "2.1", "same": "1", "new": "4"}
    found, _ = ask(matrix, monkeypatch, versions, requires)
    assert (found.before, found.version, found.is_newer) == ("1.2.0", "1.3.0", True)
    assert found.requirements == ("serve==1.3.0", "torch==2.1,!=2.1+cpu", "nvidia-cuda-nvcc-cu12==12.8.93")
    assert found.changes == (
        Change("serve", "1.2.0", "1.3.0", "the recipe"),
        Change("torch", "2.0", "2.1", "the recipe"),
        Change("gone", "1", ""),
        Change("new", "", "4"),
    )
    assert (found.moved, found.total) == (227, 234), "`same` is there already"


def test_what_the_main_wheel_pins_is_the_reason_where_the_recipe_does_not(
    matrix: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = ask(matrix, monkeypatch, {"serve": "1.3.0", "torch": "2.0", "same": "2", "gone": "1"}, ["same==2"])
    assert Change("same", "1", "2", "serve 1.3.0 asks for ==2") in found.changes


@pytest.mark.parametrize("version", ["1.2.0", "1.1.9"])
def test_where_nothing_newer_fits_nothing_is_proposed(
    version: str, matrix: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = ask(matrix, monkeypatch, {"serve": version, "torch": "9.9"})
    assert not found.is_newer and found.why == "the newest that fits CUDA 12.8" and not found.changes


def test_a_build_of_the_sites_own_is_not_proposed(matrix: Matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([{"serve": "1.3.0", "torch": "2.2+cpu"}, {"serve": "1.3.0", "torch": "2.1", "other": "1+cpu"}])
    found, asked = ask(matrix, monkeypatch, answers)
    assert found.requirements[1] == "torch==2.1,!=2.1+cpu"
    assert asked["constraints"][2:] == ["torch!=2.2+cpu"], "what the recipe does not name may be a build of any kind"


def test_a_set_that_has_no_solution_says_so(matrix: Matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = ask(matrix, monkeypatch, ConfigError("no version of torch\nBecause …", "uv"))
    assert not found.is_newer and found.why == "nothing fits: no version of torch"


def test_what_is_compiled_or_named_by_hash_is_moved_by_hand(tmp_path: Path) -> None:
    matrix = load_matrix(Path(__file__).parents[3])
    site = Site("auto", "", (), (), tmp_path)
    ask_for = {"source": ("source", "13.0"), "hash": ("wheel", "cpu")}
    found = {how: propose(matrix, matrix.images["vllm"], key, PipSettings(), site) for how, key in ask_for.items()}
    assert "compiled from source" in found["source"].why and "named by its hash" in found["hash"].why
    assert not any(each.is_newer for each in found.values())


def test_every_recipe_from_wheels_names_its_main_distribution() -> None:
    matrix = load_matrix(Path(__file__).parents[3])
    for image in matrix.images.values():
        for key, recipe in image.recipes.items():
            if key[0] == "wheel" and not recipe.upstream:
                assert find_main(recipe, "") in ("torch", image.name)


def test_a_recipe_whose_version_nothing_pins_is_a_mistake(matrix: Matrix) -> None:
    recipe = replace(matrix.images["serve"].recipes[KEY], version="7")
    with pytest.raises(ConfigError, match="no requirement is `==` the recipe's version, 7"):
        find_main(recipe, "images/serve/image.toml")


@pytest.mark.parametrize(
    ("text", "relaxed", "pinned"),
    [
        ("a==1.0", "a>=1.0", "a==2.0"),
        ("a[x]==1.0", "a[x]>=1.0", "a[x]==2.0"),
        ("a==1.0,!=1.0+cpu", "a>=1.0,!=1.0+cpu", "a==2.0,!=2.0+cpu"),
        ("a>=1,<2", "a>=1,<2", "a>=1,<2"),
        ("a==1.*", "a==1.*", "a==1.*"),
        ("nvidia-x==1.0", "nvidia-x==1.0", "nvidia-x==1.0"),
        ("cuda-python==13.0", "cuda-python==13.0", "cuda-python==13.0"),
    ],
)
def test_pins_are_relaxed_and_pinned_again_as_they_were_written(text: str, relaxed: str, pinned: str) -> None:
    assert (relax(text), pin(text, {"a": "2.0", "nvidia-x": "3", "cuda-python": "14"})) == (relaxed, pinned)
    assert exact_versions("a==1.*,==1.2") == ["1.2"]


def test_debian_packages_are_no_change() -> None:
    assert list_changes([lock_bytes(b"deb", file="a.deb", kind="deb", name="a")], {}, {}) == []
