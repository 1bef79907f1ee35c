"""A cell out of service, and back: what becomes of its tags, of the feed, and of those who would publish it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from scripts.errors import ConfigError, ExitCode, Undecided
from scripts.feed import RETIRED, RETURNED, read_feed, trace_stamps
from scripts.model import Verdict
from scripts.pipeline.service import restore, retire
from scripts.plan import PlannedCell
from scripts.registry.client import Manifest
from scripts.registry.withdrawn import read_withdrawal
from tests.unit.pipeline.lab import Lab
from tests.unit.pipeline.test_elsewhere import Away
from tests.unit.registry.fake_registry import fail

CELL, GPU = "serve-cpu", "serve-cu128-5090-wheel"


def planned(lab: Lab, cell: str = CELL) -> PlannedCell:
    [job] = lab.jobs(cell)
    return job.planned


def take_out(lab: Lab, cell: str = CELL) -> list[str]:
    return retire(lab.project, planned(lab, cell), "a newer\nline is there", lab.registry.client(), lab.engine)


def bring_back(lab: Lab, cell: str = CELL) -> list[str]:
    return restore(lab.project, planned(lab, cell), "still asked for", lab.registry.client())


@pytest.fixture
def stamped(lab: Lab) -> Lab:
    """A cell with its stamp, in the engine and in a registry."""
    lab.use_registry()
    assert lab.run(CELL)[CELL].exit_code is ExitCode.ACCEPTED
    return lab


def test_a_retired_cell_loses_its_moving_tags_and_keeps_those_of_its_build(stamped: Lab) -> None:
    digest, build = stamped.verdict(CELL).digest, stamped.step(CELL).build_id
    image, before = stamped.registry.tag(digest), stamped.tags
    moving = {tag for tag in before if tag.endswith("cpu")}
    done = take_out(stamped)
    assert len(moving) == 2 and len(done) == 4 and all(digest in line for line in done)
    for tag in (name.partition(":")[2] for name in moving):
        held = read_withdrawal(Manifest(stamped.registry.tag(tag) or b"", ""))
        assert held and held.retired
    assert stamped.registry.tag(f"1.2.0-cpu-{build[:12]}") == image
    assert stamped.tags == before - moving
    entry = read_feed(stamped.workspace.feed)[0][-1]
    assert (entry.service, entry.reasons, entry.digest, entry.build) == (
        RETIRED,
        ("a newer line is there",),
        digest,
        build,
    )
    assert (entry.verdict, entry.passed, entry.total) == (Verdict.ACCEPTED, entry.total, entry.total)


def test_nothing_is_tagged_as_a_retired_cell_until_it_is_back(stamped: Lab) -> None:
    take_out(stamped)
    left, writes = stamped.tags, len(stamped.registry.writes)
    row = stamped.run(CELL)[CELL]
    assert (row.exit_code, row.verdict, row.tag) == (ExitCode.USAGE, Verdict.ACCEPTED, "")
    assert "a newer line is there" in row.problems[0].cause and "--undo" in row.problems[0].next_step
    assert stamped.tags == left and len(stamped.registry.writes) == writes
    bring_back(stamped)
    assert stamped.run(CELL)[CELL].exit_code is ExitCode.ACCEPTED
    assert len(stamped.tags) == len(left) + 2
    traced = trace_stamps(read_feed(stamped.workspace.feed)[0])
    assert [(entry.said, done) for entry, done in traced] == [
        ("accepted", "given"),
        (RETIRED, "taken back"),
        ("accepted", "none"),
        (RETURNED, "none"),
        ("accepted", "given"),
    ]


def test_another_machine_that_promotes_is_told_by_the_registry(lab: Lab, tmp_path: Path) -> None:
    away = Away(lab, tmp_path / "away", GPU)
    away.promote()
    take_out(lab, GPU)
    lab.workspace.feed.unlink()  # what it knows nothing of
    [fixed] = [tag for tag in away.tags if tag.endswith(lab.step(GPU).build_id[:12])]
    del lab.registry.manifests[fixed]  # as for a build that was never published
    held = dict(lab.registry.manifests)
    row = away.promote()
    assert (row.exit_code, row.tag) == (ExitCode.USAGE, "")
    assert "a newer line is there" in row.problems[0].cause
    assert lab.registry.manifests == held, "no tag, and nothing attached"


def test_without_a_registry_the_engine_and_the_feed_know(lab: Lab) -> None:
    lab.run(CELL)
    done = retire(lab.project, planned(lab), "old", None, lab.engine)
    assert len(done) == 2 and all("in the engine" in line for line in done)
    assert lab.run(CELL)[CELL].exit_code is ExitCode.USAGE
    assert restore(lab.project, planned(lab), "asked for", None) == []
    assert lab.run(CELL)[CELL].exit_code is ExitCode.ACCEPTED


def test_a_cell_that_has_no_tag_yet_is_retired_in_the_feed(lab: Lab) -> None:
    lab.use_registry()
    done = take_out(lab)
    assert len(done) == 2 and all(line.startswith("the registry has no ") for line in done)
    [entry] = read_feed(lab.workspace.feed)[0]
    assert (entry.service, entry.digest, entry.verdict) == (RETIRED, "", Verdict.INCONCLUSIVE)


def test_what_was_not_retired_cannot_be_put_back(stamped: Lab) -> None:
    before = stamped.workspace.feed.read_bytes()
    with pytest.raises(ConfigError, match="not retired"):
        bring_back(stamped)
    assert stamped.workspace.feed.read_bytes() == before


def test_the_feed_says_nothing_of_what_the_registry_did_not_take(stamped: Lab) -> None:
    before = stamped.workspace.feed.read_bytes(), stamped.tags
    stamped.registry.faults, stamped.registry.from_then_on = {len(stamped.registry.requests) + 1: fail}, True
    with pytest.raises(Undecided):
        take_out(stamped)
    assert (stamped.workspace.feed.read_bytes(), stamped.tags) == before


def test_one_retired_tag_is_enough_to_keep_what_is_new_from_the_cell(stamped: Lab) -> None:
    take_out(stamped)
    stamped.workspace.feed.unlink()  # as on another machine
    del stamped.registry.manifests["1.2.0-cpu"]  # as for a version that was never published
    row = stamped.run(CELL)[CELL]
    assert (row.exit_code, row.tag) == (ExitCode.USAGE, "") and stamped.registry.tag("1.2.0-cpu") is None


@pytest.mark.parametrize("at", range(1, 40))
def test_an_interrupted_retirement_or_return_ends_well_when_it_is_repeated(at: int, stamped: Lab) -> None:
    for act, there in ((take_out, True), (bring_back, False)):
        stamped.registry.faults, stamped.registry.from_then_on = {len(stamped.registry.requests) + at: fail}, True
        with suppress(Undecided):
            act(stamped)
        stamped.registry.faults = {}
        with suppress(ConfigError):  # it was done, and is asked for twice
            act(stamped)
        held = [read_withdrawal(Manifest(stamped.registry.tag(tag) or b"", "")) for tag in ("cpu", "1.2.0-cpu")]
        assert [each and each.retired for each in held] == [there, there]
