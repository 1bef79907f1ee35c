"""The build id: everything that goes into a build, and nothing that does not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from scripts.assemble import build_ids as module
from scripts.assemble.steps import make_steps
from scripts.assemble.types import Step
from scripts.errors import ConfigError
from scripts.lock import Lock
from scripts.lock.lockfile import read_lock, write_lock
from scripts.matrix import load_matrix
from scripts.model import BuildOptions
from scripts.plan import Selection, make_plan
from tests.unit.builders import BASE, EPOCH, edit, lock_bytes, write, write_locked_project, write_locks

SERVE, BASE_FOLDER = "images/serve", "images/base"
SERVE_GPU = "serve-cu128-sm120-wheel"
BASE_LOCK, SERVE_LOCK = f"{BASE_FOLDER}/lock/debian.toml", f"{SERVE}/lock/wheel-cpu.toml"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_locked_project(tmp_path)
    return tmp_path


def steps_of(root: Path, *cells: str) -> dict[str, Step]:
    matrix = load_matrix(root)
    made = make_steps(matrix, make_plan(matrix, Selection(cells or ["*-cpu"])), BuildOptions())
    return {step.name: step for step in made}


def ids_of(root: Path) -> dict[str, str]:
    return {name: step.build_id for name, step in steps_of(root).items()}


def relock(root: Path, place: str, **fields: object) -> None:
    """Give a lock another first file, as an update would."""
    lock = read_lock(root / place, place)
    changed = dataclasses.replace(lock.files[0], **fields)  # type: ignore[arg-type]
    write_lock(root / place, Lock(lock.config, lock.epoch, (changed, *lock.files[1:])))


def test_parents_come_first_and_each_step_once(root: Path) -> None:
    steps = steps_of(root)
    assert list(steps) == ["base", "serve-cpu", "train-cpu"]
    assert steps["serve-cpu"].parent is steps["train-cpu"].parent is steps["base"]
    assert steps["base"].parent is None
    assert len({step.build_id for step in steps.values()}) == 3


def test_a_step_has_the_files_of_its_lock_by_what_becomes_of_them(root: Path) -> None:
    steps = steps_of(root)
    assert [file.kind for file in steps["base"].packages] == ["deb"] and not steps["base"].wheels
    assert [file.file for file in steps["serve-cpu"].wheels] == ["images-serve-lock-wheel-cpu.wheel"]
    assert not steps["serve-cpu"].packages
    assert steps["serve-cpu"].python == "3.11.2" and steps["base"].python == ""


def test_the_same_project_elsewhere_has_the_same_ids(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    write_locked_project(other)
    assert ids_of(other) == ids_of(root)


def test_which_cells_are_built_together_makes_no_difference(root: Path) -> None:
    alone = steps_of(root, "serve-cpu")
    assert list(alone) == ["base", "serve-cpu"]
    assert alone["serve-cpu"].build_id == ids_of(root)["serve-cpu"]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (f"{SERVE}/smoke.py", "import probe", "import probe as other"),
        (f"{SERVE}/README.md", "# serve", "# Serve"),
        (f"{SERVE}/image.toml", "timeout_s = 60", "timeout_s = 61"),
        (f"{SERVE}/image.toml", 'checks = ["load", "serve"]', 'checks = ["load"]'),
        (f"{SERVE}/image.toml", "memory_gib = 2", "memory_gib = 3"),
        ("matrix.toml", 'reason = "proves nothing"', 'reason = "another"'),
        ("matrix.toml", 'driver = "570.124.06"', 'driver = "571"'),
        ("matrix.toml", 'name = "any x86-64 processor"', 'name = "a processor"'),
        ("images/train/Dockerfile", "FROM parent", "FROM parent\nRUN true"),
    ],
)
def test_what_does_not_go_into_a_build_leaves_its_id(file: str, old: str, new: str, root: Path) -> None:
    before = ids_of(root)
    edit(root / file, old, new)
    after = ids_of(root)
    assert (after["base"], after["serve-cpu"]) == (before["base"], before["serve-cpu"])


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (f"{SERVE}/Dockerfile", "FROM parent", "FROM parent\nRUN true"),
        (f"{SERVE}/image.toml", 'version = "1.2.0"', 'version = "1.2.1"'),
        (f"{SERVE}/image.toml", 'revision = "v1.2.0"', 'revision = "v1.2.0-1"'),
        (f"{SERVE}/image.toml", 'summary = "A server"', 'summary = "The server"'),
        (f"{SERVE}/image.toml", 'licenses = "Apache-2.0"', 'licenses = "MIT"'),
    ],
)
def test_what_goes_into_a_build_changes_its_id_and_not_its_parents(file: str, old: str, new: str, root: Path) -> None:
    before = ids_of(root)
    edit(root / file, old, new)
    after = ids_of(root)
    assert after["serve-cpu"] != before["serve-cpu"]
    assert after["base"] == before["base"]


@pytest.mark.parametrize("fields", [{"sha256": "0" * 64}, {"file": "renamed.whl"}])
def test_another_input_changes_the_id(fields: dict[str, object], root: Path) -> None:
    before = ids_of(root)
    relock(root, SERVE_LOCK, **fields)
    after = ids_of(root)
    assert [name for name in after if after[name] != before[name]] == ["serve-cpu"]


def test_where_an_input_comes_from_leaves_the_id(root: Path) -> None:
    before = ids_of(root)
    relock(root, SERVE_LOCK, url="https://example.org/elsewhere.whl")
    assert ids_of(root) == before


def test_another_parent_changes_the_ids_of_all_that_stand_on_it(root: Path) -> None:
    before = ids_of(root)
    edit(root / BASE_FOLDER / "Dockerfile", "FROM scratch", "FROM scratch\nENV A=1")
    after = ids_of(root)
    assert all(after[name] != before[name] for name in before)


def test_a_file_more_in_the_context_changes_the_id_and_so_does_its_name(root: Path) -> None:
    before = ids_of(root)["serve-cpu"]
    write(root / SERVE / "context/one.patch", "text")
    one = ids_of(root)["serve-cpu"]
    (root / SERVE / "context/one.patch").rename(root / SERVE / "context/two.patch")
    assert len({before, one, ids_of(root)["serve-cpu"]}) == 3


def test_whether_a_file_can_be_run_is_part_of_the_id_and_the_rest_of_its_mode_is_not(root: Path) -> None:
    path = write(root / SERVE / "context/entry.sh", "#!/bin/sh\n")
    found = []
    for mode in (0o644, 0o664, 0o600, 0o755, 0o700):
        path.chmod(mode)
        found.append(ids_of(root)["serve-cpu"])
    assert found[0] == found[1] == found[2] != found[3] == found[4]


def test_the_epoch_is_the_newest_of_the_chain(root: Path) -> None:
    assert {step.epoch for step in steps_of(root).values()} == {EPOCH}
    lock = read_lock(root / BASE_LOCK, BASE_LOCK)
    write_lock(root / BASE_LOCK, Lock(lock.config, EPOCH + 5, lock.files))
    assert {step.epoch for step in steps_of(root).values()} == {EPOCH + 5}


def test_labels_say_what_an_image_is_and_is_for(root: Path) -> None:
    edit(root / SERVE / "image.toml", "[recipe.wheel.cpu]", '[recipe.wheel."12.8"]')
    edit(root / SERVE / "image.toml", "[[recipe.wheel.cpu.upstream]]", '[[recipe.wheel."12.8".upstream]]')
    write_locks(root, load_matrix(root))
    labels = steps_of(root, "serve-cu128-5090-wheel")[SERVE_GPU].labels
    assert (labels["io.hallmark.cuda"], labels["io.hallmark.driver"]) == ("12.8", "570.124.06")
    assert labels["io.hallmark.compute"] == "12.0"
    assert labels["org.opencontainers.image.version"] == "1.2.0"
    labels = steps_of(root, "train-cpu")["train-cpu"].labels
    assert not {"io.hallmark.cuda", "io.hallmark.compute"} & set(labels)


def test_targets_of_one_compute_capability_share_a_step_in_which_neither_is_named(root: Path) -> None:
    before = steps_of(root)
    pro = 'pro = { name = "RTX PRO", compute = "12.0", driver = "570", memory = 96, recipe = "source" }'
    edit(root / "matrix.toml", "cpu = {", f"{pro}\ncpu = {{")
    edit(root / SERVE / "image.toml", "[recipe.wheel.cpu]", '[recipe.wheel."12.8"]')
    edit(root / SERVE / "image.toml", "[[recipe.wheel.cpu.upstream]]", '[[recipe.wheel."12.8".upstream]]')
    write_locks(root, load_matrix(root))
    both = steps_of(root, "serve-cu128-*-wheel")
    assert list(both) == ["base", SERVE_GPU]
    for cell in ("serve-cu128-5090-wheel", "serve-cu128-pro-wheel"):
        alone = steps_of(root, cell)[SERVE_GPU]
        assert alone.build_id == both[SERVE_GPU].build_id
        assert not {"5090", "pro"} & set("-".join((alone.name, *alone.labels.values())).split("-"))
    assert steps_of(root, "train-cpu")["train-cpu"].build_id == before["train-cpu"].build_id


@pytest.mark.parametrize("place", [BASE_LOCK, SERVE_LOCK])
def test_a_missing_or_stale_lock_stops_before_anything_is_built(place: str, root: Path) -> None:
    lock = read_lock(root / place, place)
    write_lock(root / place, Lock("0" * 64, lock.epoch, lock.files))
    with pytest.raises(ConfigError, match="older than the matrix"):
        steps_of(root)
    (root / place).unlink()
    with pytest.raises(ConfigError, match=f"{place}: there is no lock file"):
        steps_of(root)


def test_a_chain_of_parents_is_built_from_its_end(root: Path) -> None:
    write(root / "images/middle/image.toml", BASE + 'parent = "base"\n')
    write(root / "images/middle/Dockerfile", "FROM parent\n")
    edit(root / SERVE / "image.toml", 'parent = "base"', 'parent = "middle"')
    write_locks(root, load_matrix(root))
    steps = steps_of(root, "serve-cpu")
    assert list(steps) == ["base", "middle", "serve-cpu"]
    assert steps["serve-cpu"].parent is steps["middle"] and steps["middle"].parent is steps["base"]
    assert steps["serve-cpu"].python == "3.11.2", "the nearest below that has one"


# --- wheels for a GPU: what is left out, cut down, or given to the program

SERVE_GPU_LOCK = f"{SERVE}/lock/wheel-cu128.toml"
OMIT = '[[omit]]\ndistributions = ["big"]\nreason = "not needed"\n'


@pytest.fixture
def gpu_root(root: Path) -> Path:
    """The same project, whose server is obtained for CUDA 12.8 both ways; each lock has another wheel more."""
    path = root / SERVE / "image.toml"
    text = path.read_text().replace("[recipe.wheel.cpu]", '[recipe.wheel."12.8"]')
    text = text.replace("[[recipe.wheel.cpu.upstream]]", '[[recipe.wheel."12.8".upstream]]')
    text += '[recipe.source."12.8"]\nversion = "1.2.0"\nrevision = "v1.2.0"\nrequirements = ["serve==1.2.0"]\n'
    write(path, text)
    write_locks(root, load_matrix(root))
    for name in ("wheel", "source"):
        place = f"{SERVE}/lock/{name}-cu128.toml"
        lock = read_lock(root / place, place)
        big = lock_bytes(b"big", file="big-1.0-cp311-cp311-linux_x86_64.whl")
        write_lock(root / place, Lock(lock.config, lock.epoch, (big, *lock.files)))
    return root


def gpu_steps(root: Path, *, slim: bool = True) -> dict[str, Step]:
    matrix = load_matrix(root)
    plan = make_plan(matrix, Selection(["serve-cu128-*", "train-cpu"]))
    made = make_steps(matrix, plan, BuildOptions(slim=slim))
    return {step.name: step for step in made}


def append(root: Path, text: str) -> None:
    with (root / SERVE / "image.toml").open("a") as stream:
        stream.write(text)


def test_wheels_for_a_gpu_are_cut_down_to_it_whatever_else_is_compiled(gpu_root: Path) -> None:
    assert {name: step.slim for name, step in gpu_steps(gpu_root).items()} == {
        "base": "",
        "serve-cu128-sm120": "12.0",
        SERVE_GPU: "12.0",
        "train-cpu": "",
    }
    assert {step.slim for step in gpu_steps(gpu_root, slim=False).values()} == {""}


def test_whether_and_how_wheels_are_cut_down_changes_the_id(gpu_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(before: dict[str, Step], after: dict[str, Step]) -> list[str]:
        return [name for name in before if before[name].build_id != after[name].build_id]

    whole, slim = gpu_steps(gpu_root, slim=False), gpu_steps(gpu_root)
    both = ["serve-cu128-sm120", SERVE_GPU]
    assert changed(whole, slim) == both
    monkeypatch.setattr(module, "SLIMMER", 999)
    assert changed(slim, gpu_steps(gpu_root)) == both, "another slimmer"
    assert changed(whole, gpu_steps(gpu_root, slim=False)) == []
    slim = gpu_steps(gpu_root)
    edit(gpu_root / "matrix.toml", 'compute = "12.0"', 'compute = "12.1"')
    assert SERVE_GPU not in (steps := gpu_steps(gpu_root))
    assert steps["serve-cu128-sm121-wheel"].build_id != slim[SERVE_GPU].build_id, "another GPU"


def test_a_guard_is_of_gpu_images_that_ask_for_one_and_changes_their_ids(
    gpu_root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = gpu_steps(gpu_root)
    edit(gpu_root / SERVE / "image.toml", 'parent = "base"\n', 'parent = "base"\nguard = true\n')
    after = gpu_steps(gpu_root)
    assert [name for name in before if before[name].build_id != after[name].build_id] == [
        "serve-cu128-sm120",
        SERVE_GPU,
    ]
    assert after[SERVE_GPU].guard == {"compute": "12.0", "cuda": "12.8", "driver": "570.124.06"}
    other = tmp_path / "guard"
    other.write_text("another program")
    monkeypatch.setattr(module, "GUARD", other)
    assert gpu_steps(gpu_root)[SERVE_GPU].build_id != after[SERVE_GPU].build_id


def test_an_image_for_the_cpu_has_no_guard(root: Path) -> None:
    before = ids_of(root)
    edit(root / SERVE / "image.toml", 'parent = "base"\n', 'parent = "base"\nguard = true\n')
    assert steps_of(root)["serve-cpu"].guard == {} and ids_of(root) == before


def test_what_is_omitted_is_no_input_and_changes_the_id(gpu_root: Path) -> None:
    before = gpu_steps(gpu_root)
    append(gpu_root, OMIT + 'recipe = "wheel"\n')
    after = gpu_steps(gpu_root)
    assert "big" in [file.name for file in before[SERVE_GPU].files]
    assert "big" not in [file.name for file in after[SERVE_GPU].files]
    assert "big" in [file.name for file in after["serve-cu128-sm120"].files], "the rule is about the other recipe"
    assert [name for name in after if after[name].build_id != before[name].build_id] == [SERVE_GPU]


def test_the_lock_does_not_depend_on_what_is_omitted(gpu_root: Path) -> None:
    text = (gpu_root / SERVE_GPU_LOCK).read_bytes()
    append(gpu_root, OMIT)
    gpu_steps(gpu_root)
    assert (gpu_root / SERVE_GPU_LOCK).read_bytes() == text


def test_an_omission_of_what_is_not_there_is_refused(gpu_root: Path) -> None:
    append(gpu_root, OMIT.replace('"big"', '"big", "bgi", "abc"'))
    with pytest.raises(ConfigError, match="serve-cu128-sm120 has no distribution abc, bgi") as caught:
        gpu_steps(gpu_root)
    assert caught.value.problems[0].place == "images/serve/image.toml: [[omit]]"


def test_an_audit_rule_does_not_go_into_a_build(gpu_root: Path) -> None:
    before = gpu_steps(gpu_root)
    append(gpu_root, '[[audit]]\naccept = "native"\nlibraries = ["*.so"]\n')
    assert {name: step.build_id for name, step in gpu_steps(gpu_root).items()} == {
        name: step.build_id for name, step in before.items()
    }


def test_a_programs_arguments_are_quoted_and_change_the_id(gpu_root: Path) -> None:
    before = gpu_steps(gpu_root)
    recipe = '[recipe.wheel."12.8"]\n'
    edit(gpu_root / SERVE / "image.toml", recipe, recipe + 'arguments = ["--backend", "a b", "$HOME", "it\'s"]\n')
    after = gpu_steps(gpu_root)
    assert after[SERVE_GPU].arguments["ARGUMENTS"] == """--backend 'a b' '$HOME' 'it'"'"'s'"""
    assert {step.arguments.get("ARGUMENTS", "") for name, step in after.items() if name != SERVE_GPU} == {""}
    assert [name for name in after if after[name].build_id != before[name].build_id] == [SERVE_GPU]
    write_again = (gpu_root / SERVE / "image.toml").read_text().replace('"--backend", "a b"', '"a b", "--backend"')
    write(gpu_root / SERVE / "image.toml", write_again)
    assert gpu_steps(gpu_root)[SERVE_GPU].build_id != after[SERVE_GPU].build_id, "their order counts"


def test_the_sites_compression_goes_into_every_id_(gpu_root: Path) -> None:
    matrix = load_matrix(gpu_root)
    plan = make_plan(matrix, Selection())
    plan = [planned for planned in plan if planned.recipe]
    usual = {step.name: step for step in make_steps(matrix, plan, BuildOptions())}
    gzip = {step.name: step for step in make_steps(matrix, plan, BuildOptions(compression="gzip"))}
    assert {step.compression for step in gzip.values()} == {"gzip"}
    assert all(usual[name].build_id != gzip[name].build_id for name in usual)


def test_the_time_of_its_files_is_part_of_the_id(root: Path) -> None:
    before = ids_of(root)
    lock = read_lock(root / SERVE_LOCK, SERVE_LOCK)
    write_lock(root / SERVE_LOCK, Lock(lock.config, EPOCH + 5, lock.files))
    after = ids_of(root)
    assert [name for name in after if after[name] != before[name]] == ["serve-cpu"]


def test_a_file_beside_the_context_is_no_part_of_it(root: Path) -> None:
    before = ids_of(root)
    write(root / SERVE / "notes.txt", "text")
    write(root / SERVE / "tools/more.py", "text")
    write(root / SERVE / "context/__pycache__/tool.cpython-311.pyc", "text")
    assert ids_of(root) == before


def test_another_writer_of_layers_changes_the_ids_of_what_has_some(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ids_of(root)
    monkeypatch.setattr(module, "WRITER", 999)
    after = ids_of(root)
    assert [name for name in after if after[name] != before[name]] == ["serve-cpu", "train-cpu"]


@pytest.mark.parametrize(
    ("rule", "other"),
    [
        ('[[overlap]]\npath = "a.py"\nkeep = "one"\nreason = "r"\n', 'keep = "two"'),
        ('[[link]]\npath = "/usr/local/a"\ntarget = "/opt/venv/lib"\nreason = "r"\n', 'target = "/opt/venv/bin"'),
    ],
)
def test_rules_over_files_are_part_of_the_id_and_their_reasons_are_not(rule: str, other: str, root: Path) -> None:
    before = ids_of(root)["serve-cpu"]
    append(root, rule)
    one = ids_of(root)["serve-cpu"]
    edit(root / SERVE / "image.toml", 'reason = "r"', 'reason = "another"')
    assert ids_of(root)["serve-cpu"] == one
    old = 'keep = "one"' if "keep" in rule else 'target = "/opt/venv/lib"'
    edit(root / SERVE / "image.toml", old, other)
    assert len({before, one, ids_of(root)["serve-cpu"]}) == 3


def test_another_python_changes_the_ids_of_what_stands_on_it(root: Path) -> None:
    before = steps_of(root)["serve-cpu"]
    relock(root, BASE_LOCK, version="3.11.9-1")
    after = steps_of(root)["serve-cpu"]
    assert after.python == "3.11.9" and after.build_id != before.build_id


def test_a_base_without_the_platforms_python_is_refused(root: Path) -> None:
    relock(root, BASE_LOCK, name="python3.12")
    with pytest.raises(ConfigError, match=r"no package `python3\.11`"):
        steps_of(root)


# --- an image in cells that installs packages and unpacks archives of its own

ARCHIVE = """
[[recipe.source."12.8".archives]]
file = "nvcc-linux-x86_64-12.8.93-archive.tar.xz"
sha256 = "2222222222222222222222222222222222222222222222222222222222222222"
size = 3
url = "https://example.com/nvcc-linux-x86_64-12.8.93-archive.tar.xz"
"""
SERVE_SOURCE = "serve-cu128-sm120"


def add_inputs(root: Path, *, epoch: int = EPOCH) -> None:
    """Give the server, compiled for CUDA 12.8, a package and an archive, and lock both."""
    path = root / SERVE / "image.toml"
    recipe = '[recipe.source."12.8"]\nversion = "1.2.0"\nrevision = "v1.2.0"\nrequirements = ["serve==1.2.0"]\n'
    write(path, path.read_text().replace(recipe, recipe + ARCHIVE))
    edit(path, 'parent = "base"', 'parent = "base"\npackages = ["xz-utils"]')
    write_locks(root, load_matrix(root))
    place = f"{SERVE}/lock/source-cu128.toml"
    lock = read_lock(root / place, place)
    archive = lock_bytes(b"...", file="nvcc-linux-x86_64-12.8.93-archive.tar.xz", kind="archive")
    write_lock(root / place, Lock(lock.config, lock.epoch, (*lock.files, archive)))
    place = f"{SERVE}/lock/debian.toml"
    lock = read_lock(root / place, place)
    write_lock(root / place, Lock(lock.config, epoch, lock.files))


def test_packages_and_archives_of_an_image_in_cells_are_its_inputs(gpu_root: Path) -> None:
    add_inputs(gpu_root)
    step = gpu_steps(gpu_root)[SERVE_SOURCE]
    assert [file.kind for file in step.files] == ["deb", "wheel", "archive"]
    assert step.inputs == (*step.packages, step.files[2])
    assert [file.kind for file in step.wheels] == ["wheel"]
    assert step.python == "3.11.2", "the interpreter is the parent's, whatever packages it has itself"


def test_packages_and_archives_of_an_image_in_cells_change_its_id(gpu_root: Path) -> None:
    add_inputs(gpu_root)
    before = gpu_steps(gpu_root)
    relock(gpu_root, f"{SERVE}/lock/debian.toml", sha256="0" * 64)
    package = gpu_steps(gpu_root)
    assert {name for name in before if before[name].build_id != package[name].build_id} == {SERVE_SOURCE, SERVE_GPU}
    place = f"{SERVE}/lock/source-cu128.toml"
    lock = read_lock(gpu_root / place, place)
    other = dataclasses.replace(lock.files[-1], sha256="0" * 64)
    write_lock(gpu_root / place, Lock(lock.config, lock.epoch, (*lock.files[:-1], other)))
    archive = gpu_steps(gpu_root)
    assert [name for name in before if package[name].build_id != archive[name].build_id] == [SERVE_SOURCE]


def test_the_time_of_its_packages_counts_too(gpu_root: Path) -> None:
    add_inputs(gpu_root, epoch=EPOCH + 7)
    assert gpu_steps(gpu_root)[SERVE_SOURCE].epoch == EPOCH + 7


def test_a_missing_lock_of_its_packages_stops_before_anything_is_built(gpu_root: Path) -> None:
    add_inputs(gpu_root)
    (gpu_root / SERVE / "lock/debian.toml").unlink()
    with pytest.raises(ConfigError, match=r"serve/lock/debian\.toml: there is no lock file"):
        gpu_steps(gpu_root)
