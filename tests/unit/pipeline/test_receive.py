"""A candidate from elsewhere: known by its digest and its label, and never built here."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.errors import ConfigError, ExitCode, HallmarkError, Undecided
from scripts.oci.layout import Layout
from scripts.pipeline.candidate import read_candidate
from scripts.pipeline.receive import receive
from tests.unit.pipeline.lab import REGISTRY, Lab, damage, list_files, write_shell

CPU, GPU = "serve-cpu", "serve-cu128-5090-wheel"
CANDIDATE = "serve-cu128-sm120-wheel"
OTHER = "sha256:" + "9" * 64


@pytest.fixture
def away(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The candidate as a folder and a file, as another machine wrote them; here it was never built."""
    folder = tmp_path_factory.mktemp("away")
    lab.gpus = {}
    for name in ("layout", "image.tar"):
        lab.write(GPU, path=folder / name)
    lab.use_registry()
    lab.run(GPU)
    lab.site = replace(lab.site, registry="")
    lab.gpus = Lab.GPUS
    forget_all(lab)
    return folder


def forget_all(lab: Lab) -> None:
    lab.forget()
    for path in sorted(lab.workspace.runs.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    lab.builder.ran.clear()
    lab.builder.code = 1  # nothing is to be built from here on


def from_folder(lab: Lab, away: Path) -> str:
    return str(away / "layout")


def from_archive(lab: Lab, away: Path) -> str:
    return str(away / "image.tar")


def from_engine(lab: Lab, away: Path) -> str:
    lab.docker.tags[digest_of(away)] = set()
    lab.docker.archives[digest_of(away)] = (away / "image.tar").read_bytes()
    return "engine"


def from_registry(lab: Lab, away: Path) -> str:
    return f"{REGISTRY}/serve@{digest_of(away)}"


SOURCES = pytest.mark.parametrize("source", [from_folder, from_archive, from_engine, from_registry])
Source = Callable[[Lab, Path], str]


def digest_of(away: Path) -> str:
    return Layout.open(away / "layout").digest


def check_nothing_was_kept(lab: Lab) -> None:
    build_id = lab.step(GPU).build_id
    assert not lab.workspace.layout(build_id).exists() and read_candidate(lab.workspace, build_id) is None
    assert list_files(lab.workspace.work) == {} and lab.builder.ran == [] and lab.tags == set()


@SOURCES
def test_a_candidate_from_elsewhere_is_audited_tested_and_tagged(source: Source, lab: Lab, away: Path) -> None:
    place = source(lab, away)
    row = lab.run(GPU, digest=digest_of(away), source=place)[GPU]
    assert (row.build, row.audit, row.digest) == (f"taken from {place}", "1 native", digest_of(away))
    assert row.exit_code is ExitCode.ACCEPTED and row.tag in lab.docker.tags[digest_of(away)]
    assert f"{CANDIDATE} take" in lab.ran and lab.builder.ran == []
    assert lab.layout(GPU).digest == digest_of(away)
    lab.run(GPU, digest=digest_of(away), source=place)
    assert lab.ran == [], "what is here already is not taken again"


def test_with_no_source_it_is_found_in_the_engine(lab: Lab, away: Path) -> None:
    from_engine(lab, away)
    row = lab.run(GPU, digest=digest_of(away))[GPU]
    assert row.build == "taken as it is" and f"{CANDIDATE} export" in lab.ran
    assert row.exit_code is ExitCode.ACCEPTED and lab.builder.ran == []


def test_with_no_source_it_is_found_in_the_sites_registry(lab: Lab, away: Path) -> None:
    lab.use_registry()
    row = lab.run(GPU, digest=digest_of(away))[GPU]
    assert row.build == "taken as it is" and f"{CANDIDATE} pull" in lab.ran
    assert row.exit_code is ExitCode.ACCEPTED and lab.builder.ran == []


def test_with_no_source_it_is_found_on_the_disk(lab: Lab) -> None:
    lab.gpus = {}
    digest = lab.run(GPU)[GPU].digest
    lab.gpus = Lab.GPUS
    row = lab.run(GPU, digest=digest)[GPU]
    assert lab.ran == [f"{CANDIDATE} load", f"{GPU} smoke default"] and row.exit_code is ExitCode.ACCEPTED


def test_what_is_nowhere_is_undecided(lab: Lab, away: Path) -> None:
    lab.use_registry()
    row = lab.run(GPU, digest=OTHER)[GPU]
    assert row.exit_code is ExitCode.INCONCLUSIVE
    assert "nor in the engine or the registry" in row.problems[0].cause and "--from" in row.problems[0].next_step
    check_nothing_was_kept(lab)


@pytest.mark.parametrize("source", [from_folder, from_archive, from_registry])
def test_another_digest_than_was_asked_for_is_refused(source: Source, lab: Lab, away: Path) -> None:
    row = lab.run(GPU, digest=OTHER, source=source(lab, away))[GPU]
    assert row.exit_code is ExitCode.INCONCLUSIVE and OTHER in str(row.problems[0])
    check_nothing_was_kept(lab)


@pytest.mark.parametrize("source", ["/no/such/place", "./no.tar", "No/Name"])
def test_a_source_that_cannot_be_meant_is_a_mistake(source: str, lab: Lab, away: Path) -> None:
    with pytest.raises(ConfigError):
        receive(lab.bench, lab.step(GPU), digest_of(away), source)
    check_nothing_was_kept(lab)


def test_an_engine_that_has_not_got_it_says_so(lab: Lab, away: Path) -> None:
    with pytest.raises(Undecided, match="the engine does not have it"):
        receive(lab.bench, lab.step(GPU), digest_of(away), "engine")


NAMED = [(source, True) for source in (from_folder, from_archive, from_engine, from_registry)]
UNNAMED = [(from_engine, False), (from_registry, False)]


@pytest.mark.parametrize(
    ("source", "named"),
    [(source, True) for source in (from_folder, from_archive, from_engine, from_registry)] + UNNAMED,
)
def test_an_image_of_other_inputs_is_refused_and_not_filed_as_this_build(
    source: Source, named: bool, lab: Lab, away: Path
) -> None:
    place = source(lab, away)
    lab.use_registry()
    lab.write_locks("120")  # this checkout is at another commit
    row = lab.run(GPU, digest=digest_of(away), source=place if named else "")[GPU]
    assert row.exit_code is ExitCode.INCONCLUSIVE
    assert "it was built from other inputs" in row.problems[0].cause
    assert "check out the commit" in row.problems[0].next_step
    check_nothing_was_kept(lab)


def test_what_this_checkout_built_stays_when_something_else_is_refused(lab: Lab, away: Path) -> None:
    lab.builder.code = 0
    lab.write_locks("120")
    own = lab.run(GPU)[GPU].digest
    lab.use_registry()
    assert lab.run(GPU, digest=digest_of(away))[GPU].exit_code is ExitCode.INCONCLUSIVE
    assert lab.layout(GPU).digest == own
    row = lab.run(GPU)[GPU]
    assert (row.build, row.digest, row.exit_code) == ("unchanged", own, ExitCode.ACCEPTED)


def test_an_image_without_labels_is_refused(lab: Lab, tmp_path: Path) -> None:
    layout = write_shell(tmp_path / "stranger", b"x", {})
    with pytest.raises(Undecided, match="build id none"):
        receive(lab.bench, lab.step(GPU), layout.digest, str(layout.folder))
    check_nothing_was_kept(lab)


@pytest.mark.parametrize("what", ["altered", "missing", "index", "cut archive"])
def test_what_is_damaged_is_undecided_and_no_failed_build(what: str, lab: Lab, away: Path) -> None:
    layout, source = Layout.open(away / "layout"), away / "layout"
    digest = layout.digest
    if what == "altered":
        damage(layout)
    elif what == "missing":
        layout.blob_path(layout.layers[0].digest).unlink()
    elif what == "index":
        (source / "index.json").write_text(json.dumps({"manifests": []}))
    else:
        source = away / "image.tar"
        source.write_bytes(source.read_bytes()[:-6000])
    with pytest.raises(HallmarkError) as caught:
        receive(lab.bench, lab.step(GPU), digest, str(source))
    assert caught.value.exit_code is ExitCode.INCONCLUSIVE and str(source) in str(caught.value)
    check_nothing_was_kept(lab)


def test_wheels_are_not_asked_for(lab: Lab, away: Path) -> None:
    for path in (lab.site.cache / "sha256").rglob("*"):
        if path.is_file():
            path.unlink()
    row = lab.run(GPU, digest=digest_of(away), source=from_archive(lab, away))[GPU]
    assert row.exit_code is ExitCode.ACCEPTED and not [line for line in lab.ran if "wheels" in line or "fetch" in line]
