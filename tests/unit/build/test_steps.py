"""The build id: everything that goes into a build, and nothing that does not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from scripts.build import steps as module
from scripts.build.steps import Step, list_context, make_arguments, make_labels, make_steps
from scripts.errors import ConfigError
from scripts.lock import Lock, recipe_slot, tools_slot
from scripts.lock.lockfile import read_lock, write_lock
from scripts.matrix import load_matrix
from scripts.plan import Selection, make_plan
from tests.unit.builders import BASE, EPOCH, edit, lock_bytes, write, write_locked_project, write_locks

SERVE, BASE_FOLDER = "images/serve", "images/base"
BASE_LOCK, SERVE_LOCK = f"{BASE_FOLDER}/lock/debian.toml", f"{SERVE}/lock/wheel-cpu.toml"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_locked_project(tmp_path)
    return tmp_path


def steps_of(root: Path, *cells: str) -> dict[str, Step]:
    matrix = load_matrix(root)
    made = make_steps(matrix, make_plan(matrix, Selection(cells or ["*-cpu"])))
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


def test_a_step_has_the_inputs_of_its_lock_and_the_installer_where_there_are_wheels(root: Path) -> None:
    steps = steps_of(root)
    assert [file.kind for file in steps["base"].inputs] == ["deb"]
    assert [file.file for file in steps["serve-cpu"].files] == ["images-serve-lock-wheel-cpu.wheel"]
    assert [file.file for file in steps["serve-cpu"].tools] == ["matrix.lock.wheel"], (
        "the engine is no input of a build"
    )


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
        ("matrix.toml", 'name = "any x86-64 processor"', 'name = "a processor"'),
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


def test_another_installer_changes_the_ids_of_what_it_installs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ids_of(root)
    monkeypatch.setattr(module, "INSTALLER", write(root / "install-wheels", "#!/bin/sh\n"))
    other_script = ids_of(root)
    assert other_script["base"] == before["base"] and other_script["serve-cpu"] != before["serve-cpu"]
    relock(root, "matrix.lock", sha256="0" * 64)
    assert ids_of(root)["serve-cpu"] != other_script["serve-cpu"], "another uv"


def test_a_file_more_in_the_context_changes_the_id_and_so_does_its_name(root: Path) -> None:
    before = ids_of(root)["serve-cpu"]
    write(root / SERVE / "patches/one.patch", "text")
    one = ids_of(root)["serve-cpu"]
    (root / SERVE / "patches/one.patch").rename(root / SERVE / "patches/two.patch")
    assert len({before, one, ids_of(root)["serve-cpu"]}) == 3


def test_whether_a_file_can_be_run_is_part_of_the_id_and_the_rest_of_its_mode_is_not(root: Path) -> None:
    path = write(root / SERVE / "entry.sh", "#!/bin/sh\n")
    found = []
    for mode in (0o644, 0o664, 0o600, 0o755, 0o700):
        path.chmod(mode)
        found.append(ids_of(root)["serve-cpu"])
    assert found[0] == found[1] == found[2] != found[3] == found[4]


def test_what_python_caches_in_the_folder_leaves_the_id(root: Path) -> None:
    before = ids_of(root)
    write(root / SERVE / "__pycache__/smoke.cpython-311.pyc", "x")
    write(root / SERVE / "tools/__pycache__/tool.cpython-311.pyc", "x")
    assert ids_of(root) == before


def test_the_context_is_the_folder_less_what_no_build_sees(root: Path) -> None:
    write(root / SERVE / "patches/one.patch", "text")
    image = load_matrix(root).images["serve"]
    assert [path.relative_to(image.folder).as_posix() for path in list_context(image)] == [
        "Dockerfile",
        "patches/one.patch",
    ]


def test_the_epoch_is_the_newest_of_the_chain(root: Path) -> None:
    assert {step.epoch for step in steps_of(root).values()} == {EPOCH}
    lock = read_lock(root / BASE_LOCK, BASE_LOCK)
    write_lock(root / BASE_LOCK, Lock(lock.config, EPOCH + 5, lock.files))
    assert {step.epoch for step in steps_of(root).values()} == {EPOCH + 5}


def test_labels_say_what_an_image_is_and_is_for(root: Path) -> None:
    edit(root / SERVE / "image.toml", "[recipe.wheel.cpu]", '[recipe.wheel."12.8"]')
    edit(root / SERVE / "image.toml", "[[recipe.wheel.cpu.upstream]]", '[[recipe.wheel."12.8".upstream]]')
    write_locks(root, load_matrix(root))
    labels = steps_of(root, "serve-cu128-5090-wheel")["serve-cu128-5090-wheel"].labels
    assert labels["io.hallmark.cell"] == "serve-cu128-5090-wheel"
    assert (labels["io.hallmark.cuda"], labels["io.hallmark.driver"]) == ("12.8", "570.124.06")
    assert labels["io.hallmark.target"] == "NVIDIA GeForce RTX 5090"
    assert labels["org.opencontainers.image.version"] == "1.2.0"
    assert "io.hallmark.cuda" not in steps_of(root, "train-cpu")["train-cpu"].labels


@pytest.mark.parametrize("place", ["matrix.lock", BASE_LOCK, SERVE_LOCK])
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


def test_every_wheel_of_the_tools_is_an_input_and_no_package(root: Path) -> None:
    matrix = load_matrix(root)
    wheel = lock_bytes(b"second", file="second-1.0-py3-none-any.whl")
    lock = read_lock(root / "matrix.lock", "matrix.lock")
    write_lock(root / "matrix.lock", Lock(tools_slot(matrix).config_id, EPOCH, (*lock.files, wheel)))
    assert [file.kind for file in steps_of(root)["serve-cpu"].tools] == ["wheel", "wheel"]
    assert recipe_slot(matrix, matrix.images["serve"], ("wheel", "cpu")).place == SERVE_LOCK


# --- wheels for a GPU: what is left out, cut down, or given to the program

SERVE_GPU = "serve-cu128-5090-wheel"
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
    matrix = dataclasses.replace(load_matrix(root), slim=slim)
    made = make_steps(matrix, make_plan(matrix, Selection(["serve-cu128-*", "train-cpu"])))
    return {step.name: step for step in made}


def append(root: Path, text: str) -> None:
    with (root / SERVE / "image.toml").open("a") as stream:
        stream.write(text)


def test_upstreams_wheels_for_a_gpu_are_cut_down_to_it_and_nothing_else_is(gpu_root: Path) -> None:
    assert {name: step.slim for name, step in gpu_steps(gpu_root).items()} == {
        "base": "",
        "serve-cu128-5090": "",
        SERVE_GPU: "12.0",
        "train-cpu": "",
    }
    assert {step.slim for step in gpu_steps(gpu_root, slim=False).values()} == {""}


def test_whether_and_how_wheels_are_cut_down_changes_the_id(gpu_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(before: dict[str, Step], after: dict[str, Step]) -> list[str]:
        return [name for name in before if before[name].build_id != after[name].build_id]

    whole, slim = gpu_steps(gpu_root, slim=False), gpu_steps(gpu_root)
    assert changed(whole, slim) == [SERVE_GPU]
    monkeypatch.setattr(module, "SLIMMER", 999)
    assert changed(slim, gpu_steps(gpu_root)) == [SERVE_GPU], "another slimmer"
    assert changed(whole, gpu_steps(gpu_root, slim=False)) == []
    slim = gpu_steps(gpu_root)
    edit(gpu_root / "matrix.toml", 'compute = "12.0"', 'compute = "12.1"')
    assert changed(slim, gpu_steps(gpu_root)) == [SERVE_GPU], "another GPU"


def test_the_matrix_can_leave_wheels_whole(gpu_root: Path) -> None:
    edit(gpu_root / "matrix.toml", "version = 1\n", "version = 1\nslim = false\n")
    assert steps_of(gpu_root, SERVE_GPU)[SERVE_GPU].slim == ""


def test_what_is_omitted_is_no_input_and_changes_the_id(gpu_root: Path) -> None:
    before = gpu_steps(gpu_root)
    append(gpu_root, OMIT + 'recipe = "wheel"\n')
    after = gpu_steps(gpu_root)
    assert "big" in [file.name for file in before[SERVE_GPU].files]
    assert "big" not in [file.name for file in after[SERVE_GPU].inputs]
    assert "big" in [file.name for file in after["serve-cu128-5090"].files], "the rule is about the other recipe"
    assert [name for name in after if after[name].build_id != before[name].build_id] == [SERVE_GPU]


def test_the_lock_does_not_depend_on_what_is_omitted(gpu_root: Path) -> None:
    text = (gpu_root / SERVE_GPU_LOCK).read_bytes()
    append(gpu_root, OMIT)
    gpu_steps(gpu_root)
    assert (gpu_root / SERVE_GPU_LOCK).read_bytes() == text


def test_an_omission_of_what_is_not_there_is_refused(gpu_root: Path) -> None:
    append(gpu_root, OMIT.replace('"big"', '"big", "bgi", "abc"'))
    with pytest.raises(ConfigError, match="serve-cu128-5090 has no distribution abc, bgi") as caught:
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
    assert after[SERVE_GPU].arguments == """--backend 'a b' '$HOME' 'it'"'"'s'"""
    assert {step.arguments for name, step in after.items() if name != SERVE_GPU} == {""}
    assert [name for name in after if after[name].build_id != before[name].build_id] == [SERVE_GPU]
    write_again = (gpu_root / SERVE / "image.toml").read_text().replace('"--backend", "a b"', '"a b", "--backend"')
    write(gpu_root / SERVE / "image.toml", write_again)
    assert gpu_steps(gpu_root)[SERVE_GPU].build_id != after[SERVE_GPU].build_id, "their order counts"


def test_the_sites_compression_goes_into_every_id_unless_it_is_the_usual_one(gpu_root: Path) -> None:
    matrix = load_matrix(gpu_root)
    plan = make_plan(matrix, Selection())
    plan = [planned for planned in plan if planned.recipe]
    usual = {step.name: step for step in make_steps(matrix, plan)}
    gzip = {step.name: step for step in make_steps(dataclasses.replace(matrix, compression="gzip"), plan)}
    assert {step.compression for step in gzip.values()} == {"gzip"}
    assert all(usual[name].build_id != gzip[name].build_id for name in usual)


# --- what a build is told of its step


def test_a_programs_arguments_are_given_to_the_build_where_there_are_any(root: Path) -> None:
    step = steps_of(root)["serve-cpu"]
    assert make_arguments(step) == {"SOURCE_DATE_EPOCH": str(EPOCH)}
    step = dataclasses.replace(step, arguments="--backend 'a b'")
    assert make_arguments(step) == {"SOURCE_DATE_EPOCH": str(EPOCH), "ARGUMENTS": "--backend 'a b'"}


def test_labels_have_the_build_its_time_and_its_parent(root: Path) -> None:
    step = steps_of(root)["serve-cpu"]
    added = {"io.hallmark.build-id": step.build_id, "org.opencontainers.image.created": "2023-11-14T22:13:20Z"}
    assert make_labels(step) == step.labels | added
    based = {"org.opencontainers.image.base.name": "hallmark/base", "org.opencontainers.image.base.digest": "sha256:d"}
    assert make_labels(step, "sha256:d") == step.labels | added | based
