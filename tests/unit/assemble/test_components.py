"""Compile steps: what a wheel's id depends on, what its environment has, and where its sources come from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from scripts.assemble import build_ids
from scripts.assemble.components import make_compile_steps, step_folder
from scripts.assemble.steps import make_steps
from scripts.assemble.types import CompileStep, Step
from scripts.errors import ConfigError
from scripts.lock.lockfile import Lock, read_lock, write_lock
from scripts.lock.slots import all_slots, component_slot, list_compiled
from scripts.matrix import load_matrix
from scripts.model import BuildOptions, LockedFile, LockedTree
from scripts.plan import Selection, make_plan
from tests.unit.builders import BASE, EPOCH, PYTHON, edit, lock_bytes, make_cell, write

MATRIX = """\
version = 1
recipes = ["source"]

[cuda]
"12.8" = { toolkit = "12.8.1", driver = "570.124.06" }
"12.9" = { toolkit = "12.9.1", driver = "575.57.08" }

[targets]
5090 = { name = "NVIDIA GeForce RTX 5090", compute = "12.0", driver = "570", memory = 32, recipe = "source" }

[[exclude]]
cuda = "12.9"
image = "serve"
reason = "one is enough"

[platform]
python = "3.11"
glibc = "2.36"
suites = ["old"]

[tools]
uv = "0.9.1"
old = ["docker.io"]
"""
TOOLKIT = """\
summary = "Compilers"
parent = "base"
source = "https://example.com/toolkit"
licenses = "MIT"
packages = ["ccache"]

[recipe.source."12.8"]
version = "12.8.1"
revision = "12.8.1"
requirements = ["cmake"]
[[recipe.source."12.8".archives]]
file = "nvcc-12.8.93-archive.tar.xz"
sha256 = "2222222222222222222222222222222222222222222222222222222222222222"
size = 3
url = "https://example.com/nvcc-12.8.93-archive.tar.xz"

[[link]]
path = "/usr/local/cuda/x"
target = "/opt/venv/lib"
reason = "compilers look there"

[[scenario]]
name = "default"
checks = ["compile"]
timeout_s = 60
memory_gib = 2
"""
SERVE = """\
summary = "A server"
parent = "base"
source = "https://example.com/serve"
licenses = "MIT"

[recipe.source."12.8"]
version = "1.2.0"
revision = "v1.2.0"
requirements = ["serve==1.2.0"]
compile = ["engine-2.0", "serve-1.2.0"]

[[scenario]]
name = "default"
checks = ["load"]
timeout_s = 60
memory_gib = 2
"""
ENGINE = """\
distribution = "engine"
requirements = ["setuptools"]
[memory]
unit = 1
[lines."12.8"]
[[source]]
name = "engine"
url = "https://example.com/engine-v2.0.tar.gz"
sha256 = "3333333333333333333333333333333333333333333333333333333333333333"
"""
COMPONENT = """\
distribution = "serve"
requirements = ["setuptools", "engine==2.0"]
arguments = { SWITCH = "1", LINE_SWITCH = "0" }
[memory]
unit = 1.5
heavy = [{ units = "*fp4*", gib = 9 }]
[lines."12.8"]
arguments = { LINE_SWITCH = "1" }
[[source]]
name = "serve"
sdist = "serve==1.2.0"
[[source]]
name = "kernels"
repository = "https://example.com/kernels"
commit = "4444444444444444444444444444444444444444"
folder = "csrc"
variable = "KERNELS_DIR"
"""
SERVE_FOLDER, ENGINE_FOLDER = "images/serve/components/serve", "images/serve/components/engine"
SERVE_LOCK = "images/serve/lock/serve-1.2.0-cu128.toml"
NAMES = ["engine-2.0-cu128-sm120", "serve-1.2.0-cu128-sm120"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_compiled_project(tmp_path)


def write_compiled_project(tmp_path: Path) -> Path:
    """A project whose one cell is compiled from two components, with its locks."""
    write(tmp_path / "matrix.toml", MATRIX)
    write(tmp_path / "images/base/image.toml", BASE)
    for name, text in (("toolkit", TOOLKIT), ("serve", SERVE)):
        write(tmp_path / f"images/{name}/image.toml", text)
    for name in ("base", "toolkit", "serve"):
        write(tmp_path / f"images/{name}/Dockerfile", "FROM parent\n")
    for name in ("Dockerfile", "compile", "unit"):
        write(tmp_path / "images/toolkit/compile" / name, f"# {name}\n")
    for folder, version, text in ((SERVE_FOLDER, "1.2.0", COMPONENT), (ENGINE_FOLDER, "2.0", ENGINE)):
        write(tmp_path / folder / f"{version}.toml", text)
        write(tmp_path / folder / "build", "#!/bin/sh\n").chmod(0o755)
    write(tmp_path / f"{SERVE_FOLDER}/patches/1.2.0/0001-native.patch", "diff --git\n")
    lock(tmp_path)
    return tmp_path


def lock(root: Path) -> None:
    matrix = load_matrix(root)
    for slot in all_slots(matrix):
        kind = "deb" if "debian" in slot.place else "wheel"
        fields = {"name": "python3.11", "version": PYTHON} if "base/lock" in slot.place else {"name": "cmake"}
        files = [lock_bytes(slot.place.encode(), file=f"{Path(slot.place).stem}.{kind}", kind=kind, **fields)]
        if slot.place == "images/toolkit/lock/source-cu128.toml":
            files.append(lock_bytes(b"archive", file="nvcc-12.8.93-archive.tar.xz", kind="archive"))
        write_lock(root / slot.place, Lock(slot.config_id, EPOCH, tuple(files)))
    for component, line, earlier in list_compiled(matrix):
        slot = component_slot(matrix, component, line, earlier)
        files = [lock_bytes(slot.place.encode(), file=f"{component.id}-cmake.whl", name="cmake")]
        trees = []
        for source in component.sources_for(line):
            if source.sdist:
                files.append(lock_bytes(b"sdist", file="serve-1.2.0.tar.gz", kind="sdist", version="1.2.0"))
            elif source.url:
                file = LockedFile("archive", "engine", "2.0", "engine-v2.0.tar.gz", source.sha256, 0, source.url)
                files.append(file)
            else:
                trees.append(LockedTree(source.name, source.repository, source.commit))
        write_lock(root / slot.place, Lock(slot.config_id, EPOCH + 1, tuple(files), tuple(trees)))


def step_of(root: Path) -> Step:
    matrix = load_matrix(root)
    return make_steps(matrix, make_plan(matrix, Selection(["serve-*"])), BuildOptions())[-1]


def compiled_of(root: Path) -> dict[str, CompileStep]:
    return {step.name: step for step in step_of(root).compiled}


def changed(before: dict[str, CompileStep], after: dict[str, CompileStep]) -> list[str]:
    return [name for name in before if before[name].build_id != after[name].build_id]


def test_a_recipe_compiles_its_components_in_their_order(root: Path) -> None:
    assert list(compiled_of(root)) == NAMES
    assert step_folder(load_matrix(root)) == root / "images/toolkit/compile"


def test_an_environment_is_the_toolkits_shell_with_the_components_wheels_and_what_it_is_compiled_with(
    root: Path,
) -> None:
    engine, serve = compiled_of(root).values()
    environment = serve.environment
    assert environment.image.name == "toolkit" and environment.name == f"{NAMES[1]}-environment"
    assert [file.file for file in environment.files] == [
        "debian.deb",
        "nvcc-12.8.93-archive.tar.xz",
        "serve-1.2.0-cmake.whl",
    ]
    assert environment.compiled == (engine,) and engine.environment.compiled == ()
    assert environment.links and environment.parent and environment.parent.name == "base"
    assert environment.epoch == EPOCH + 1, "its lock's"


def test_what_a_component_does_not_ask_for_is_not_in_its_environment(root: Path) -> None:
    edit(root / f"{SERVE_FOLDER}/1.2.0.toml", ', "engine==2.0"', "")
    lock(root)
    assert compiled_of(root)[NAMES[1]].environment.compiled == ()


def test_sources_lie_where_the_component_says_and_are_what_its_lock_says(root: Path) -> None:
    engine, serve = compiled_of(root).values()
    main, kernels = serve.sources
    assert isinstance(main.source, LockedFile) and main.source.file == "serve-1.2.0.tar.gz"
    assert isinstance(kernels.source, LockedTree) and kernels.source.commit == "4" * 40
    assert (kernels.folder, kernels.variable, main.folder, main.variable) == ("csrc", "KERNELS_DIR", "", "")
    assert (serve.files, serve.trees) == ((main.source,), (kernels.source,))
    assert [file.kind for file in engine.files] == ["archive"]


def test_a_build_script_finds_the_target_its_version_and_the_lines_own_arguments(root: Path) -> None:
    variables = compiled_of(root)[NAMES[1]].variables
    assert variables["VERSION"] == "1.2.0+cu128.sm120"
    assert (variables["SWITCH"], variables["LINE_SWITCH"]) == ("1", "1")
    assert (variables["COMPUTE"], variables["SOURCE_DATE_EPOCH"]) == ("12.0", str(EPOCH + 1))


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        (f"{SERVE_FOLDER}/build", "#!/bin/sh", "#!/bin/sh -e", NAMES[1:]),
        (f"{SERVE_FOLDER}/patches/1.2.0/0001-native.patch", "diff", "Why.\ndiff", NAMES[1:]),
        (f"{SERVE_FOLDER}/1.2.0.toml", 'SWITCH = "1", L', 'SWITCH = "2", L', NAMES[1:]),
        (f"{ENGINE_FOLDER}/build", "#!/bin/sh", "#!/bin/sh -e", NAMES),
        ("images/toolkit/compile/compile", "# compile", "# other", NAMES),
        ("images/toolkit/compile/Dockerfile", "# Dockerfile", "# other", NAMES),
        ("images/toolkit/Dockerfile", "FROM parent", "FROM parent\nENV A=1", NAMES),
        ("images/base/Dockerfile", "FROM parent", "FROM parent\nENV A=1", NAMES),
        ("images/toolkit/image.toml", "/usr/local/cuda/x", "/usr/local/cuda/y", NAMES),
    ],
)
def test_what_decides_about_a_wheels_bytes_is_part_of_its_id(
    file: str, old: str, new: str, expected: list[str], root: Path
) -> None:
    before = compiled_of(root)
    edit(root / file, old, new)
    assert changed(before, compiled_of(root)) == expected


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (f"{SERVE_FOLDER}/1.2.0.toml", "unit = 1.5", "unit = 3"),
        (f"{SERVE_FOLDER}/1.2.0.toml", "gib = 9", "gib = 12"),
        ("images/toolkit/compile/unit", "# unit", "# another governor"),
        ("images/toolkit/image.toml", "compilers look there", "another reason"),
        ("images/serve/Dockerfile", "FROM parent", "FROM parent\nENV A=1"),
    ],
)
def test_how_many_units_run_at_once_and_what_comes_after_leave_a_wheels_id(
    file: str, old: str, new: str, root: Path
) -> None:
    before = compiled_of(root)
    edit(root / file, old, new)
    assert changed(before, compiled_of(root)) == []


def test_a_patch_more_and_a_source_of_other_bytes_change_the_id(root: Path) -> None:
    before = compiled_of(root)
    write(root / f"{SERVE_FOLDER}/patches/1.2.0/0002-more.patch", "diff --git\n")
    write(root / f"{SERVE_FOLDER}/patches/1.3.0/0001-later.patch", "of another version\n")
    more = compiled_of(root)
    assert changed(before, more) == NAMES[1:]
    locked = read_lock(root / SERVE_LOCK, SERVE_LOCK)
    tree = dataclasses.replace(locked.trees[0], commit="5" * 40)
    write_lock(root / SERVE_LOCK, dataclasses.replace(locked, trees=(tree,)))
    assert changed(more, compiled_of(root)) == NAMES[1:]


@pytest.mark.parametrize("submodules", [(), ("a",)])
def test_which_submodules_come_along_is_part_of_the_id(submodules: tuple[str, ...], root: Path) -> None:
    before = compiled_of(root)
    locked = read_lock(root / SERVE_LOCK, SERVE_LOCK)
    tree = dataclasses.replace(locked.trees[0], submodules=submodules)
    write_lock(root / SERVE_LOCK, dataclasses.replace(locked, trees=(tree,)))
    assert changed(before, compiled_of(root)) == NAMES[1:]


def test_where_a_source_comes_from_leaves_the_id(root: Path) -> None:
    before = compiled_of(root)
    locked = read_lock(root / SERVE_LOCK, SERVE_LOCK)
    tree = dataclasses.replace(locked.trees[0], repository="https://mirror.example.com/kernels", tag="v1")
    write_lock(root / SERVE_LOCK, dataclasses.replace(locked, trees=(tree,)))
    assert changed(before, compiled_of(root)) == []


def test_another_way_to_compile_changes_every_wheels_id_and_no_images_but_theirs(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, toolkit = compiled_of(root), compiled_of(root)[NAMES[0]].environment.build_id
    monkeypatch.setattr(build_ids, "COMPILE_FORMAT", 999)
    after = compiled_of(root)
    assert changed(before, after) == NAMES
    assert after[NAMES[0]].environment.build_id == toolkit


def test_an_image_knows_what_is_compiled_for_it_by_its_id(root: Path) -> None:
    before = step_of(root)
    edit(root / f"{ENGINE_FOLDER}/build", "#!/bin/sh", "#!/bin/sh -e")
    assert step_of(root).build_id != before.build_id


def test_a_source_that_the_lock_lacks_is_refused(root: Path) -> None:
    locked = read_lock(root / SERVE_LOCK, SERVE_LOCK)
    write_lock(root / SERVE_LOCK, dataclasses.replace(locked, trees=()))
    with pytest.raises(ConfigError, match=r"serve-1\.2\.0-cu128\.toml: there is no source `kernels`"):
        step_of(root)


def test_a_missing_or_stale_lock_of_a_component_stops_before_anything_is_built(root: Path) -> None:
    edit(root / f"{SERVE_FOLDER}/1.2.0.toml", '"setuptools"', '"setuptools<80"')
    with pytest.raises(ConfigError, match=r"serve-1\.2\.0-cu128\.toml: the lock is older"):
        step_of(root)
    (root / SERVE_LOCK).unlink()
    with pytest.raises(ConfigError, match=r"serve-1\.2\.0-cu128\.toml: there is no lock"):
        step_of(root)


def test_nothing_is_compiled_where_there_is_no_cuda(root: Path) -> None:
    matrix = load_matrix(root)
    toolkit = compiled_of(root)[NAMES[0]].environment
    with pytest.raises(ValueError, match="nothing is compiled without CUDA"):
        make_compile_steps(matrix, make_cell(), ["serve-1.2.0"], toolkit)
