"""Where a candidate comes from: the disk, the engine, the registry, and only then is it built."""

from __future__ import annotations

import json

import pytest

from scripts.assemble.tree import make_file
from scripts.errors import ExitCode, Undecided
from scripts.fetch import Cache
from scripts.model import Verdict
from scripts.pipeline import Stage
from scripts.pipeline.candidate import read_candidate
from scripts.pipeline.obtain import load, obtain, obtain_layout
from tests.unit.builders import edit
from tests.unit.pipeline.lab import Lab, damage, list_files

CPU, GPU = "serve-cpu", "serve-cu128-5090-wheel"
CANDIDATE = "serve-cu128-sm120-wheel"
TAG = "hallmark/serve:1.2.0-cpu"


def build_again_otherwise(lab: Lab, name: str = CPU) -> None:
    """As another version of the builder would."""
    lab.workshop.altered[name] = [make_file("opt/other", b"other")]


def test_what_is_on_the_disk_is_asked_of_nobody_else(lab: Lab) -> None:
    lab.use_registry()
    lab.run(CPU)
    lab.docker.tags.clear()
    sent = len(lab.registry.requests)
    step = lab.step(CPU)
    made = obtain(lab.bench, step)
    assert made.how == "unchanged"
    assert obtain_layout(lab.bench, step, made.candidate, may_build=False).folder == lab.workspace.layout(step.build_id)
    assert len(lab.registry.requests) == sent


def test_an_image_that_the_engine_lost_is_loaded_again_from_the_disk(lab: Lab) -> None:
    digest = lab.run(CPU)[CPU].digest
    lab.forget(layouts=False)
    assert lab.run(CPU)[CPU].build == "unchanged"
    assert lab.ran == [f"{CPU} load"] and TAG in lab.docker.tags[digest]


def test_a_layout_that_was_cleaned_is_not_missed_while_the_engine_has_the_image(lab: Lab) -> None:
    lab.run(CPU)
    lab.forget(engine=False)
    assert lab.run(CPU)[CPU].build == "unchanged" and lab.ran == []


def test_the_engine_comes_before_the_registry(lab: Lab) -> None:
    lab.use_registry()
    digest = lab.run(CPU, last=Stage.SMOKE)[CPU].digest
    lab.forget(engine=False)
    sent = len(lab.registry.requests)
    step = lab.step(CPU)
    made = obtain(lab.bench, step)
    layout = obtain_layout(lab.bench, step, made.candidate, may_build=True)
    assert (made.how, layout.digest) == ("unchanged", digest) and lab.ran[-1] == f"{CPU} export"
    assert len(lab.registry.requests) == sent
    layout.verify()


def test_the_registry_comes_before_a_build(lab: Lab) -> None:
    lab.use_registry()
    digest = lab.run(CPU)[CPU].digest
    lab.forget()
    row = lab.run(CPU)[CPU]
    assert lab.ran == [f"{CPU} pull", f"{CPU} load", f"{CPU} publish"]
    assert (row.build, row.digest, row.exit_code) == ("unchanged", digest, ExitCode.ACCEPTED)


def test_a_build_of_which_nothing_is_left_is_built_again_and_says_so(lab: Lab) -> None:
    digest = lab.run(CPU)[CPU].digest
    lab.forget()
    row = lab.run(CPU)[CPU]
    assert lab.ran == ["base shell", f"{CPU} shell", f"{CPU} load"], "the same digest: its evidence still counts"
    assert (row.build, row.digest, row.tag) == ("built in 0 s", digest, TAG)


@pytest.mark.parametrize("what", ["index", "blob", "record", "another digest"])
def test_a_layout_that_is_damaged_is_made_again(what: str, lab: Lab) -> None:
    digest = lab.run(CPU)[CPU].digest
    layout, record = lab.layout(CPU), lab.folder(CPU) / "build.json"
    if what == "index":
        (layout.folder / "index.json").write_text("{")
    elif what == "blob":
        layout.blob_path(layout.layers[0].digest).unlink()
    elif what == "record":
        record.write_text("{")
    else:
        record.write_text(json.dumps(json.loads(record.read_text()) | {"digest": "sha256:" + "9" * 64}))
    lab.docker.tags.clear()
    row = lab.run(CPU)[CPU]
    assert lab.ran == [f"{CPU} shell", f"{CPU} load"]
    assert (row.build, row.digest, row.exit_code) == ("built in 0 s", digest, ExitCode.ACCEPTED)


def test_a_parent_that_is_damaged_is_made_again(lab: Lab) -> None:
    lab.run(CPU, last=Stage.BUILD)
    [parent] = [step for step in [lab.step(CPU).parent] if step]
    (lab.workspace.layout(parent.build_id) / "index.json").unlink()
    lab.run("train-cpu", last=Stage.BUILD)
    assert lab.ran == ["base shell", "train-cpu shell"]


def test_a_change_of_the_parent_builds_everything_on_it_again(lab: Lab) -> None:
    lab.run(CPU, "train-cpu")
    edit(lab.root / "images/base/Dockerfile", "FROM scratch", "FROM scratch\nENV A=1")
    lab.run(CPU, "train-cpu")
    assert [line for line in lab.ran if "shell" in line] == ["base shell", f"{CPU} shell", "train-cpu shell"]


def test_a_rebuilt_image_of_another_digest_is_undecided_until_it_was_tested(lab: Lab) -> None:
    tested = lab.run(CPU)[CPU].digest
    lab.forget(engine=False)
    build_again_otherwise(lab)
    step = lab.step(CPU)
    known = read_candidate(lab.workspace, step.build_id)
    assert known and known.digest == tested
    lab.docker.tags.clear()
    with pytest.raises(Undecided, match=f"but {tested} is what was audited or tested"):
        obtain_layout(lab.bench, step, known, may_build=True)
    row = lab.run(CPU)[CPU]
    assert row.build == "unchanged" and row.digest != tested and lab.ran == [f"{CPU} load", f"{CPU} smoke default"]
    assert row.verdict is Verdict.ACCEPTED and TAG in lab.docker.tags[row.digest]


def test_what_was_rebuilt_as_something_else_is_audited_anew(lab: Lab) -> None:
    first = lab.run(GPU)[GPU].digest
    lab.forget()
    build_again_otherwise(lab, CANDIDATE)
    row = lab.run(GPU)[GPU]
    assert row.digest != first and row.build == "built in 0 s"
    assert f"{CANDIDATE} audit" in lab.ran and f"{GPU} smoke default" in lab.ran
    audit = json.loads((lab.folder(GPU) / "audit.json").read_text())
    assert audit["digest"] == row.digest


def test_bytes_that_may_not_be_built_are_undecided_where_they_are_nowhere(lab: Lab) -> None:
    lab.run(CPU, last=Stage.BUILD)
    step = lab.step(CPU)
    known = read_candidate(lab.workspace, step.build_id)
    lab.forget()
    assert known
    with pytest.raises(Undecided, match="neither on this disk"):
        load(lab.bench, step, known, may_build=False)
    assert len(lab.builder.ran) == 2 and not lab.workspace.layouts.exists()


def test_wheels_that_are_other_bytes_have_another_build_id(lab: Lab) -> None:
    before = lab.step(GPU).build_id
    first = lab.run(GPU)[GPU].digest
    lab.write_locks("120")
    after = lab.step(GPU).build_id
    row = lab.run(GPU)[GPU]
    assert before != after and row.digest != first and row.build == "built in 0 s"
    assert lab.workspace.layout(before) != lab.workspace.layout(after)


def test_a_layer_that_was_damaged_in_the_cache_is_not_filed_as_a_build(lab: Lab) -> None:
    lab.run(CPU, last=Stage.BUILD)
    edit(lab.root / "images/serve/Dockerfile", "FROM base", "FROM base\nRUN true")
    for path in (Cache(lab.site.cache).root / "layers").rglob("*"):
        if path.is_file() and path.name != "layer.json":
            data = path.read_bytes()
            path.unlink()
            path.write_bytes(bytes(len(data)))
    row = lab.run(CPU, last=Stage.BUILD)[CPU]
    assert row.exit_code is ExitCode.BUILD_FAILED
    assert not lab.workspace.layout(lab.step(CPU).build_id).exists()
    assert lab.run(CPU, last=Stage.BUILD)[CPU].exit_code is ExitCode.ACCEPTED, "the next run makes the layer anew"


def test_what_is_damaged_in_place_does_not_reach_the_engine(lab: Lab) -> None:
    lab.run(CPU, last=Stage.BUILD)
    damage(lab.layout(CPU))
    row = lab.run(CPU)[CPU]
    assert row.exit_code is ExitCode.INCONCLUSIVE and lab.docker.created == [] and lab.tags == set()
    assert list_files(lab.workspace.work) == {}
