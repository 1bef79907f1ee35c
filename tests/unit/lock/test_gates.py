"""The gates before a lock: sets as cells have them, and what of it can be said without a network."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from scripts.errors import ConfigError
from scripts.fetch import Cache
from scripts.lock import recipe_slot
from scripts.lock.gates import check_recipes, find_problems, list_sets, needed_files, select_files
from scripts.lock.lockfile import Lock, read_lock, write_lock
from scripts.lock.records import Record
from scripts.matrix import Image, Matrix, load_matrix
from scripts.model import LockedFile
from tests.unit.builders import (
    EPOCH,
    REPOSITORY_ROOT,
    edit,
    lock_bytes,
    put_in_cache,
    write_locked_project,
    write_locks,
)

KEY = ("wheel", "13.0")
PLACE = "images/serve/image.toml"
OVERLAP = '[[overlap]]\npath = "x.py"\nkeep = "{}"\ncuda = "13.0"\nreason = "alike"\n'
OMIT = '[[omit]]\ndistributions = ["two"]\ncuda = "13.0"\nreason = "not called"\n'


def make_wheel(name: str, content: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(f"{name}-1.0.dist-info/RECORD", f"x.py,sha256={content},1\n")
    return data.getvalue()


DATA = {name: make_wheel(name, content) for name, content in {"one": "1", "two": "2", "three-cu12": "1"}.items()}
ONE, TWO, THREE = (lock_bytes(data, file=f"{name}-1.0-py3-none-any.whl", name=name) for name, data in DATA.items())
RECORDS = {name: Record(f"{name}-1.0", {"x.py": content}, {}) for name, content in {"one": "1", "two": "2"}.items()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_locked_project(tmp_path)
    path = tmp_path / PLACE
    edit(path, "[recipe.wheel.cpu]", '[recipe.wheel."13.0"]')
    edit(path, "[[recipe.wheel.cpu.upstream]]", '[[recipe.wheel."13.0".upstream]]')
    (tmp_path / "images/serve/lock/wheel-cpu.toml").unlink()
    lock(tmp_path, ONE)
    return tmp_path


def lock(root: Path, *files: LockedFile) -> Matrix:
    matrix = load_matrix(root)
    write_locks(root, matrix)
    slot = recipe_slot(matrix, matrix.images["serve"], KEY)
    write_lock(root / slot.place, Lock(slot.config_id, EPOCH, files))
    return matrix


def append(root: Path, text: str) -> None:
    with (root / PLACE).open("a") as stream:
        stream.write(text)


def problems(root: Path, *files: LockedFile, records: dict[str, Record] | None = None) -> list[str]:
    matrix = load_matrix(root)
    found = find_problems(matrix, matrix.images["serve"], KEY, files, RECORDS if records is None else records)
    return [" ".join(str(problem).split()) for problem in found]


def test_distributions_that_get_in_each_others_way_are_refused(root: Path) -> None:
    [problem] = problems(root, ONE, TWO)
    assert problem.startswith(f"{PLACE}: one and two write one path with different bytes: x.py")
    assert problems(root, ONE) == []


def test_two_programs_of_one_name_are_refused_unless_they_start_the_same(root: Path) -> None:
    records = {name: Record(f"{name}-1.0", {}, {"run": f"{name}:main"}) for name in ("one", "two")}
    [problem] = problems(root, ONE, TWO, records=records)
    assert "one and two write one path with different bytes: ../../../bin/run" in problem
    records["two"] = Record("two-1.0", {}, {"run": "one:main"})
    assert problems(root, ONE, TWO, records=records) == []


def test_a_rule_settles_it(root: Path) -> None:
    append(root, OVERLAP.format("one"))
    assert problems(root, ONE, TWO) == []


def test_what_is_left_out_is_in_nobodys_way_and_a_rule_for_it_decides_nothing(root: Path) -> None:
    append(root, OMIT)
    assert problems(root, ONE, TWO) == []
    append(root, OVERLAP.format("one"))
    [problem] = problems(root, ONE, TWO)
    assert "decides nothing" in problem


def test_what_every_cell_leaves_out_is_not_looked_into(root: Path) -> None:
    append(root, OMIT)
    matrix = load_matrix(root)
    assert needed_files(matrix, matrix.images["serve"], KEY, [ONE, TWO]) == [ONE]
    assert problems(root, ONE, TWO, records={"one": RECORDS["one"]}) == []


def test_two_majors_of_cuda_are_refused_with_or_without_records(root: Path) -> None:
    matrix = load_matrix(root)
    [problem] = find_problems(matrix, matrix.images["serve"], KEY, [ONE, THREE], None)
    assert "three-cu12 1.0 is for CUDA 12, and the others are for CUDA 13" in str(problem)


def test_cells_of_one_candidate_are_one_set_and_a_problem_of_two_is_said_once(root: Path) -> None:
    gpus = [
        f'{name} = {{ name = "x", compute = "{compute}", driver = "570", memory = 9, recipe = "source" }}'
        for name, compute in (("pro", "12.0"), ("h200", "9.0"))
    ]
    edit(root / "matrix.toml", "cpu = {", "\n".join([*gpus, "cpu = {"]))
    matrix = load_matrix(root)
    sets = list_sets(matrix, matrix.images["serve"], KEY)
    assert [cell.candidate for cell in sets] == ["serve-cu130-sm120-wheel", "serve-cu130-sm90-wheel"]
    assert len(problems(root, ONE, TWO)) == 1


def test_a_rule_for_one_compute_capability_leaves_the_other_open(root: Path) -> None:
    gpu = 'h200 = { name = "x", compute = "9.0", driver = "570", memory = 9, recipe = "source" }'
    edit(root / "matrix.toml", "cpu = {", f"{gpu}\ncpu = {{")
    append(root, OVERLAP.format("one") + 'compute = "9.0"\n')
    [problem] = problems(root, ONE, TWO)
    assert "with different bytes" in problem


def test_an_omission_of_what_is_not_there_is_refused(root: Path) -> None:
    append(root, OMIT)
    matrix = load_matrix(root)
    [cell] = [cell for cell in matrix.cells if cell.id == "serve-cu130-5090-wheel"]
    image: Image = matrix.images["serve"]
    with pytest.raises(ConfigError, match="serve-cu130-sm120-wheel has no distribution two"):
        select_files(image, cell, [ONE])
    [problem] = problems(root, ONE)
    assert problem.startswith(f"{PLACE}: [[omit]]: ")


# --- without a network


def test_the_locks_are_compared_as_far_as_their_records_are_here(root: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    matrix = lock(root, ONE, TWO)
    assert check_recipes(matrix, cache).compared == 0, "nothing is known of any wheel"
    put_in_cache(cache, DATA["one"])
    assert check_recipes(matrix, cache).compared == 0, "one of two is not enough"
    put_in_cache(cache, DATA["two"])
    with pytest.raises(ConfigError, match="one and two write one path with different bytes"):
        check_recipes(matrix, cache)


def test_two_majors_need_no_records(root: Path, tmp_path: Path) -> None:
    matrix = lock(root, ONE, THREE)
    with pytest.raises(ConfigError, match="three-cu12"):
        check_recipes(matrix, Cache(tmp_path / "cache"))


def test_the_repositorys_own_sets_have_one_major_of_cuda_each(tmp_path: Path) -> None:
    matrix = load_matrix(REPOSITORY_ROOT)
    recipes = sum(len(image.recipes) for image in matrix.images.values())
    assert check_recipes(matrix, Cache(tmp_path)).sets == recipes
    lock = read_lock(REPOSITORY_ROOT / "images/vllm/lock/wheel-cu130.toml", "vllm")
    assert next(file.version for file in lock.files if file.name == "cuda-python").startswith("13.")
