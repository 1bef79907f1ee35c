"""What owners have sent, read anew each time: runs that hold, runs that held for their build, and what is none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from scripts.__main__ import main
from scripts.bundle.form import NOBODY
from scripts.bundle.owners import OwnersRun, merge_entries, read_owners
from scripts.feed import Entry, trace_stamps
from scripts.model import Verdict
from tests.unit.builders import edit
from tests.unit.bundle import GPU, OWNER, Said, World, dump, result, scenario

DIGEST = "sha256:" + "a" * 64


def read(world: World) -> tuple[list[OwnersRun], list[str]]:
    return read_owners(world.lab.project, [world.folder])


def keep(world: World, data: bytes, name: str = "alice.json") -> None:
    world.write(data, f"owners/{GPU}/{name}")


def test_a_run_that_holds_is_a_line_with_its_owner(world: World) -> None:
    keep(world, world.data)
    [run], unread = read(world)
    entry = run.entry
    assert (unread, run.earlier, run.file) == ([], "", "alice.json")
    assert (entry.cell, entry.by, entry.verdict, entry.passed, entry.total) == (GPU, OWNER, Verdict.ACCEPTED, 8, 8)
    assert (entry.gpu, entry.driver) == ("NVIDIA GeForce RTX 5090", "580.95.05")
    assert entry.build == world.said["build"]["id"]


def test_an_owner_without_a_name_is_one_too(world: World) -> None:
    keep(world, world.change(lambda said: said.update(by="")))
    [run], _ = read(world)
    assert run.entry.by == NOBODY, "never nobody, which would be us"


def test_a_run_of_an_earlier_suite_is_shown_as_that(world: World) -> None:
    keep(world, world.change(lambda said: scenario(said).update(smoke_id="0" * 64)))
    [run], unread = read(world)
    assert (run.earlier, unread) == ("by an earlier suite", [])


def test_a_run_of_an_earlier_build_is_shown_as_that(world: World) -> None:
    path = world.lab.root / "images/serve/Dockerfile"
    before = path.read_text()
    keep(world, world.data)
    edit(path, "# serve", "# serve, newer")
    try:
        [run], unread = read(world)
    finally:
        path.write_text(before)
    assert (run.earlier, unread, run.entry.verdict) == ("of an earlier build", [], Verdict.ACCEPTED)


def test_an_earlier_run_must_not_contradict_itself(world: World) -> None:
    def change(said: Said) -> None:
        scenario(said).update(smoke_id="0" * 64)
        result(said, "serve").update(outcome="failed")

    keep(world, world.change(change))
    runs, [line] = read(world)
    assert runs == [] and line.startswith(f"owners/{GPU}/alice.json: ")


@pytest.mark.parametrize("key", ["gpu", "driver", "memory_mib"])
def test_what_could_not_have_been_is_not_shown_though_it_is_old(key: str, world: World) -> None:
    def change(said: Said) -> None:
        scenario(said).update(smoke_id="0" * 64)
        scenario(said)["host"][key] = "0"

    keep(world, world.change(change))
    assert read(world)[0] == []


@pytest.mark.parametrize("data", [b"", b"{}", dump({"form": "hallmark-owner-run", "version": 1})])
def test_what_is_no_bundle_is_named(data: bytes, world: World) -> None:
    keep(world, data)
    runs, [line] = read(world)
    assert runs == [] and "alice.json" in line


def test_what_lies_elsewhere_is_no_run(world: World, tmp_path: Path) -> None:
    world.write(world.data, f"{GPU}/alice.json")
    assert read(world) == ([], [])
    world.write(world.data, "owners/serve-cu128-pro6000-wheel/alice.json")
    assert "it lies among the runs of" in read(world)[1][0]


def entry(day: int, **fields: Any) -> Entry:
    given: dict[str, Any] = {
        "cell": GPU,
        "build": "b",
        "digest": DIGEST,
        "verdict": Verdict.ACCEPTED,
        "reasons": (),
        "gpu": "x",
    }
    given |= {"driver": "1", "finished": f"2026-11-{day:02}T00:00:00Z", "passed": 1, "total": 1, "tool": "0"}
    return Entry(**given | fields)


def test_what_owners_saw_stands_where_it_fell_and_the_feed_keeps_its_order() -> None:
    feed = [entry(3), entry(2), entry(9)]
    runs = [OwnersRun(entry(5, by="a"), "a"), OwnersRun(entry(1, by="b"), "b"), OwnersRun(entry(20, by="c"), "c")]
    merged = merge_entries(feed, runs)
    assert [each.by for each in merged] == ["b", "", "", "a", "", "c"]
    assert [each for each in merged if not each.by] == feed


@pytest.mark.parametrize("verdict", list(Verdict))
def test_an_owners_run_moves_no_stamp(verdict: Verdict) -> None:
    theirs = [
        entry(1, by="a"),
        entry(5, by="a", verdict=verdict),
        entry(6, by="a", verdict=verdict, digest="sha256:other"),
    ]
    assert [done for _, done in trace_stamps(theirs)] == ["none"] * 3
    traced = trace_stamps([entry(2), *theirs, entry(7, verdict=Verdict.REJECTED)])
    assert [done for each, done in traced if not each.by] == ["given", "taken back"]


def test_the_history_names_the_owner(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("HALLMARK_")]:
        monkeypatch.delenv(name)
    path = world.lab.root / f"docs/evidence/owners/{GPU}/alice.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(world.data)
    path.with_name("broken.json").write_bytes(b"{}")
    try:
        assert main(["--project", str(world.lab.root), "history", GPU]) == 0
        printed = capsys.readouterr()
        assert main(["--project", str(world.lab.root), "history", GPU, "--feed", str(world.lab.workspace.feed)]) == 0
    finally:
        for each in path.parent.iterdir():
            each.unlink()
    [line] = [line for line in printed.out.splitlines() if OWNER in line]
    assert f"driver 580.95.05, by {OWNER}" in line and " none " in line
    assert "broken.json: it is JSON, and no bundle" in " ".join(printed.err.split())
    assert OWNER not in capsys.readouterr().out, "another checkout's feed has its own owners"
