"""What the catalogue says of a cell: its state, and of which build and suite that is. Nothing is claimed unseen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.catalogue.gather import gather
from scripts.catalogue.types import Standing, State
from scripts.errors import ConfigError
from scripts.feed import RETIRED, RETURNED
from scripts.files import format_size
from scripts.model import Verdict
from tests.unit.builders import edit
from tests.unit.catalogue.made import CPU, DIGEST, GPU, OTHER, PRO, Checkout, fail

IMAGE_TOML = "images/serve/image.toml"
MORE = '[[scenario]]\nname = "more"\nchecks = ["load"]\ntimeout_s = 60\nmemory_gib = 2\n'


def told(checkout: Checkout, cell: str) -> tuple[State, Standing]:
    page = checkout.page(cell)
    return page.state, page.standing


def test_a_cell_of_which_nothing_is_known_is_not_built(checkout: Checkout) -> None:
    assert told(checkout, GPU) == (State.NOT_BUILT, Standing.CURRENT)
    assert checkout.page(GPU).shown is None
    assert [page.cell.id for page in checkout.catalogue().pages] == [GPU, PRO, CPU, "train-cpu"]
    assert "serve-cu128-5090" in [planned.cell.id for planned in checkout.catalogue().gaps]


@pytest.mark.parametrize("cell", [CPU, GPU])
def test_what_a_run_here_accepted_is_stamped(cell: str, checkout: Checkout) -> None:
    checkout.build(cell, evidence=checkout.evidence(cell))
    assert told(checkout, cell) == (State.STAMPED, Standing.CURRENT)
    page = checkout.page(cell)
    assert page.shown and (page.shown.digest, format_size(page.shown.size)) == (DIGEST, "12.0 MB")
    assert page.driver == ("575.51.03" if cell == GPU else ""), "the audit asks for more than CUDA does"


def test_what_a_run_here_rejected_is_rejected(checkout: Checkout) -> None:
    checkout.build(CPU, evidence=fail(checkout.evidence(CPU), "serve"))
    assert told(checkout, CPU) == (State.REJECTED, Standing.CURRENT)
    assert checkout.page(CPU).reasons == ("default/serve: wrong",)


def test_what_was_built_and_not_tested_is_undecided(checkout: Checkout) -> None:
    checkout.build(CPU)
    checkout.say(CPU, Verdict.INCONCLUSIVE, build=checkout.job(CPU).step.build_id)
    assert told(checkout, CPU)[0] is State.UNDECIDED
    assert checkout.page(CPU).reasons == ("not smoke-tested yet",)


def test_evidence_of_this_build_by_another_suite_is_undecided_and_says_so(checkout: Checkout) -> None:
    checkout.build(CPU, evidence=checkout.evidence(CPU, todays=False))
    assert told(checkout, CPU) == (State.UNDECIDED, Standing.EARLIER_SUITE)


def test_evidence_of_another_digest_is_of_an_earlier_build(checkout: Checkout) -> None:
    checkout.build(CPU, OTHER)
    checkout.keep(CPU, checkout.evidence(CPU))
    assert told(checkout, CPU) == (State.STAMPED, Standing.EARLIER_BUILD)


def test_evidence_of_another_suite_is_by_an_earlier_one(checkout: Checkout) -> None:
    checkout.keep(CPU, checkout.evidence(CPU, todays=False))
    assert told(checkout, CPU) == (State.STAMPED, Standing.EARLIER_SUITE)


def test_evidence_alone_does_not_say_that_this_checkout_builds_that_digest(checkout: Checkout) -> None:
    checkout.keep(CPU, checkout.evidence(CPU))
    assert told(checkout, CPU) == (State.STAMPED, Standing.UNPLACED)
    checkout.say(CPU, Verdict.ACCEPTED, build=checkout.job(CPU).step.build_id)
    assert told(checkout, CPU) == (State.STAMPED, Standing.CURRENT), "and the feed does"


@pytest.mark.parametrize(
    ("outcome", "state"),
    [("failed", State.REJECTED), ("error", State.UNDECIDED), ("skipped", State.UNDECIDED), (None, State.UNDECIDED)],
)
def test_evidence_alone_stamps_only_what_is_all_there_and_passed(
    outcome: str | None, state: State, checkout: Checkout
) -> None:
    evidence = checkout.evidence(GPU)
    serve = evidence["results"].pop(1)
    if outcome:
        evidence["results"].append(serve | {"outcome": outcome})
    checkout.keep(GPU, evidence)
    assert told(checkout, GPU)[0] is state
    assert any("default/serve" in reason for reason in checkout.page(GPU).reasons)


def test_a_scenario_that_was_not_run_leaves_it_undecided(checkout: Checkout) -> None:
    with (checkout.root / IMAGE_TOML).open("a") as stream:
        stream.write(MORE)
    checkout.keep(CPU, checkout.evidence(CPU))
    assert told(checkout, CPU)[0] is State.UNDECIDED
    assert checkout.page(CPU).not_run["more"] == "there is no evidence of it"


def test_a_scenario_that_decides_nothing_decides_nothing(checkout: Checkout) -> None:
    with (checkout.root / IMAGE_TOML).open("a") as stream:
        stream.write(f"{MORE}required = false\n")
    more = fail(checkout.evidence(CPU), "load") | {"scenario": "more"}
    checkout.keep(CPU, checkout.evidence(CPU))
    checkout.keep(CPU, more)
    assert told(checkout, CPU)[0] is State.STAMPED


def test_one_gpu_says_nothing_of_another(checkout: Checkout) -> None:
    checkout.keep(GPU, checkout.evidence(GPU))
    assert told(checkout, PRO)[0] is State.NOT_BUILT
    assert checkout.page(GPU).siblings == (PRO,)


def test_the_newest_build_is_shown_and_the_others_are_kept(checkout: Checkout) -> None:
    old = fail(checkout.evidence(CPU, OTHER, todays=False), "serve") | {"finished": "2026-01-01T00:00:00Z"}
    checkout.keep(CPU, old, "rejected")
    checkout.keep(CPU, checkout.evidence(CPU))
    page = checkout.page(CPU)
    assert page.shown and page.shown.digest == DIGEST
    assert [build.digest for build in page.others] == [OTHER]


def test_the_feed_speaks_for_what_there_is_no_evidence_of(checkout: Checkout) -> None:
    entry = checkout.say(CPU, Verdict.REJECTED, OTHER, reasons=("default/serve: no answer",))
    page = checkout.page(CPU)
    assert (page.state, page.standing, page.history) == (State.REJECTED, Standing.UNPLACED, (entry,))
    assert page.reasons == entry.reasons


def test_evidence_from_before_there_were_scenarios_is_read(checkout: Checkout) -> None:
    evidence = checkout.evidence(CPU, todays=False) | {"version": 1}
    del evidence["scenario"]
    (checkout.root / f"docs/evidence/{CPU}.json").write_text(json.dumps(evidence))
    page = checkout.page(CPU)
    assert page.shown and [each.scenario for each in page.shown.evidence] == ["default"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"results": 1}', '{"smoke_id": "x"'])
def test_what_is_no_evidence_is_named_and_not_shown(text: str, checkout: Checkout) -> None:
    checkout.keep(CPU, checkout.evidence(CPU))
    (checkout.root / f"docs/evidence/{CPU}/broken.json").write_text(text)
    found = checkout.catalogue()
    assert found.unread == (f"{CPU}: broken.json is no evidence that this version reads",)
    assert told(checkout, CPU)[0] is State.STAMPED


@pytest.mark.parametrize("text", ["", "[]", '{"version": 1}', "{}"])
def test_what_is_no_comparison_is_named_and_not_shown(text: str, checkout: Checkout) -> None:
    checkout.compare(DIGEST)
    (checkout.root / "docs/evidence/compare/pro6000.json").write_text(text)
    found = checkout.catalogue()
    assert found.unread == ("pro6000.json is no comparison that this version reads",)
    assert [each.target for each in found.comparisons] == ["5090"]


def test_a_comparison_of_a_target_that_is_no_more_is_named_and_not_shown(checkout: Checkout) -> None:
    checkout.compare(DIGEST, target="4090")
    found = checkout.catalogue()
    assert (found.comparisons, found.unread) == ((), ("4090.json: the matrix has no such target",))


def test_what_was_compared_in_this_checkout_stands_for_what_the_repository_has(checkout: Checkout) -> None:
    checkout.compare(OTHER, title="kept")
    here = checkout.project.workspace.comparisons
    here.mkdir(parents=True)
    kept = checkout.root / "docs/evidence/compare/5090.json"
    (here / "5090.json").write_text(kept.read_text().replace("kept", "new"))
    assert [each.machine for each in checkout.catalogue().comparisons] == ["new"]


@pytest.mark.parametrize("field", ["digest", "finished", "host", "results", "seconds"])
def test_evidence_with_values_of_other_types_is_none(field: str, checkout: Checkout) -> None:
    checkout.keep(CPU, checkout.evidence(CPU) | {field: ["<b>"]})
    assert len(checkout.catalogue().unread) == 1 and told(checkout, CPU)[0] is State.NOT_BUILT


@pytest.mark.parametrize("digest", ["", "latest", "sha256:abc", f"{DIGEST}; reboot", f"{DIGEST}\n"])
def test_a_digest_that_people_copy_is_a_digest(digest: str, checkout: Checkout) -> None:
    checkout.keep(CPU, checkout.evidence(CPU) | {"digest": digest})
    assert len(checkout.catalogue().unread) == 1 and told(checkout, CPU)[0] is State.NOT_BUILT


def test_what_was_not_run_has_its_reason(checkout: Checkout) -> None:
    edit(checkout.root / IMAGE_TOML, "timeout_s", 'except = [{ cuda = "cpu", reason = "is for GPUs" }]\ntimeout_s')
    assert checkout.page(CPU).not_run == {"default": "not for this cell: is for GPUs"}
    checkout.keep(GPU, checkout.evidence(GPU))
    assert checkout.page(GPU).not_run == {"audit": "its record is not among this evidence"}


def test_versions_come_from_the_lock(checkout: Checkout) -> None:
    assert checkout.page(GPU).versions == {"serve": "1.2.0", "CUDA": "12.8.1", "Python": "3.11.2"}


def test_the_manual_gives_the_commands_of_this_kind_of_cell(checkout: Checkout) -> None:
    [cpu], [gpu] = checkout.page(CPU).serve, checkout.page(PRO).serve
    assert cpu == "docker run --rm hallmark/serve:1.2.0-cpu --port <port>"
    assert gpu == "docker run --rm --gpus all hallmark/serve:1.2.0-cu128-pro6000-wheel"


def test_feeds_of_other_checkouts_are_taken_in_once(checkout: Checkout, tmp_path: Path) -> None:
    entry = checkout.say(CPU, Verdict.ACCEPTED)
    feed = checkout.project.workspace.feed
    copy = tmp_path / "copy.jsonl"
    earlier = feed.read_text().replace("2026-11-28", "2026-11-27")
    copy.write_text(f"{earlier}{feed.read_text()}torn")
    found = gather(checkout.project, [], [copy])
    assert found.feed == (replace(entry, finished="2026-11-27T00:00:00Z"), entry)
    assert found.unread == ("copy.jsonl: 1 lines that this version does not read",)


def test_what_is_not_there_is_said(checkout: Checkout, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        gather(checkout.project, [tmp_path / "nowhere"], [])
    with pytest.raises(ConfigError, match="no such feed"):
        gather(checkout.project, [], [tmp_path / "nowhere.jsonl"])


# --- what owners have seen


def lines(checkout: Checkout) -> list[tuple[str, str]]:
    return [(entry.by, entry.verdict) for entry in checkout.catalogue().feed]


def test_what_owners_alone_have_seen_pass_is_a_state_of_its_own(checkout: Checkout) -> None:
    checkout.hear("alice")
    checkout.hear("bob")
    assert told(checkout, GPU) == (State.OWNERS, Standing.CURRENT)
    page = checkout.page(GPU)
    assert page.reasons[0] == "seen to pass by alice, bob, and not by us: that gives no tag"
    assert [run.entry.by for run in page.owners] == ["alice", "bob"] and page.shown is None
    assert told(checkout, PRO)[0] is State.NOT_BUILT, "another GPU is another question"
    assert lines(checkout) == [("alice", "accepted"), ("bob", "accepted")]


def test_an_owner_who_saw_it_fail_is_heard(checkout: Checkout) -> None:
    checkout.hear("alice")
    checkout.hear("bob", passed=False)
    page = checkout.page(GPU)
    assert (page.state, page.reasons[0]) == (State.UNDECIDED, "bob has seen it rejected, which moves no tag of ours")


@pytest.mark.parametrize("passed", [True, False])
def test_owners_move_no_state_of_ours(passed: bool, checkout: Checkout) -> None:
    digest = checkout.hear("alice", passed=passed)
    checkout.build(GPU, digest, checkout.evidence(GPU, digest))
    page = checkout.page(GPU)
    assert (page.state, page.standing) == (State.STAMPED, Standing.CURRENT)
    assert page.reasons == (() if passed else ("alice has seen it rejected, which moves no tag of ours",))
    checkout.build(GPU, digest, fail(checkout.evidence(GPU, digest), "serve"))
    assert told(checkout, GPU)[0] is State.REJECTED


def test_a_run_of_another_digest_than_the_build_came_to_here_is_not_shown(checkout: Checkout) -> None:
    checkout.build(GPU, evidence=checkout.evidence(GPU))
    checkout.hear("alice")
    assert checkout.page(GPU).owners == () and f"came to {DIGEST} here" in checkout.catalogue().unread[0]


def test_what_owners_saw_of_an_earlier_suite_says_nothing_of_todays(checkout: Checkout) -> None:
    checkout.hear("alice", todays=False)
    page = checkout.page(GPU)
    assert (page.state, page.owners[0].earlier) == (State.NOT_BUILT, "by an earlier suite")


def test_what_owners_say_of_a_digest_does_not_make_it_ours(checkout: Checkout) -> None:
    checkout.keep(GPU, checkout.evidence(GPU))
    checkout.hear("alice")
    assert told(checkout, GPU) == (State.STAMPED, Standing.UNPLACED), "as without them"


def test_an_owners_run_that_does_not_hold_is_named_and_not_shown(checkout: Checkout) -> None:
    checkout.hear("alice", memory="81920")
    assert told(checkout, GPU)[0] is State.NOT_BUILT
    [line] = checkout.catalogue().unread
    assert line.startswith(f"owners/{GPU}/alice.json: ") and "has 80 GB" in line


# --- out of service


def test_a_cell_that_was_retired_says_so_and_why_until_it_is_back(checkout: Checkout) -> None:
    checkout.build(CPU, DIGEST, checkout.evidence(CPU))
    checkout.say(CPU, Verdict.ACCEPTED)
    assert checkout.page(CPU).state is State.STAMPED
    checkout.say(CPU, Verdict.ACCEPTED, reasons=("too old",), service=RETIRED, finished="2026-11-29T06:00:00Z")
    page = checkout.page(CPU)
    assert (page.state, page.reasons) == (State.RETIRED, ("retired on 2026-11-29: too old",))
    assert page.shown and page.shown.verdict is Verdict.ACCEPTED and page.shown.reasons == ()
    checkout.say(CPU, Verdict.ACCEPTED, reasons=("asked for",), service=RETURNED, finished="2026-11-29T07:00:00Z")
    assert checkout.page(CPU).state is State.STAMPED
