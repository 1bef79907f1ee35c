"""Every gate is seen rejecting: what was not shown to pass did not pass."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scripts.errors import ExitCode
from scripts.model import Outcome, Result, Verdict
from scripts.smoke.trial import CONTAINER
from scripts.verdict import EXIT_CODES, decide

PASSED, FAILED, SKIPPED, ERROR = Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED, Outcome.ERROR
REQUIRED = ("load", "serve", CONTAINER)


def results(**outcomes: Outcome) -> list[Result]:
    return [Result(check, outcome) for check, outcome in outcomes.items()]


ALL_PASSED = results(load=PASSED, serve=PASSED, container=PASSED)


def test_all_required_checks_and_the_container_passed() -> None:
    assert decide(ALL_PASSED, REQUIRED) == (Verdict.ACCEPTED, [])


def test_checks_beyond_the_required_ones_may_be_skipped() -> None:
    assert decide([*ALL_PASSED, Result("extra", SKIPPED)], REQUIRED) == (Verdict.ACCEPTED, [])


@pytest.mark.parametrize(
    ("shown", "required", "reason"),
    [
        pytest.param([], REQUIRED, "load: no result", id="no results"),
        pytest.param(results(container=PASSED), REQUIRED, "load: no result", id="nothing but the container"),
        pytest.param(results(load=PASSED, container=PASSED), REQUIRED, "serve: no result", id="missing"),
        pytest.param(results(load=PASSED, Serve=PASSED, container=PASSED), REQUIRED, "serve: no result", id="misspelt"),
        pytest.param(results(load=PASSED, serve=PASSED), REQUIRED, "container: no result", id="no container"),
        pytest.param(
            results(load=PASSED, serve=SKIPPED, container=PASSED),
            REQUIRED,
            "serve: skipped, but required",
            id="skipped",
        ),
        pytest.param(
            [*ALL_PASSED, Result("serve", SKIPPED)], REQUIRED, "serve: skipped, but required", id="passed and skipped"
        ),
        pytest.param(
            results(load=PASSED, serve=PASSED, container=SKIPPED),
            REQUIRED,
            "container: skipped",
            id="skipped container",
        ),
        pytest.param([*ALL_PASSED, Result("extra", FAILED, "bad")], REQUIRED, "extra: bad", id="failed, not required"),
        pytest.param([*ALL_PASSED, Result("serve", FAILED)], REQUIRED, "serve: failed", id="passed and failed"),
        pytest.param(ALL_PASSED, (), "no check is required", id="empty required"),
        pytest.param([], (), "no check is required", id="nothing at all"),
        pytest.param(
            # What the container module makes of a child killed for memory while its parent ended with 0.
            [*ALL_PASSED[:2], Result(CONTAINER, FAILED, "a process was killed for memory", {"exit_code": 0})],
            REQUIRED,
            "container: a process was killed for memory",
            id="out of memory with exit code 0",
        ),
    ],
)
def test_what_was_not_shown_is_rejected(shown: list[Result], required: tuple[str, ...], reason: str) -> None:
    verdict, reasons = decide(shown, required)
    assert verdict is Verdict.REJECTED
    assert any(reason in line for line in reasons), reasons


def test_a_check_that_could_not_run_leaves_it_open() -> None:
    shown = [*ALL_PASSED[:2], Result(CONTAINER, ERROR, "the engine stopped answering")]
    assert decide(shown, REQUIRED) == (Verdict.INCONCLUSIVE, ["container: the engine stopped answering"])
    assert decide(results(other=ERROR), REQUIRED) == (Verdict.INCONCLUSIVE, ["other: could not run"])


@pytest.mark.parametrize("order", [(ERROR, FAILED), (FAILED, ERROR)])
def test_a_failure_outweighs_an_error(order: tuple[Outcome, Outcome]) -> None:
    verdict, reasons = decide([Result(str(n), outcome) for n, outcome in enumerate(order)], REQUIRED)
    assert verdict is Verdict.REJECTED and len(reasons) == 1


def test_every_reason_is_named() -> None:
    _, reasons = decide(results(load=SKIPPED), REQUIRED)
    assert reasons == ["load: skipped, but required", "serve: no result", "container: no result"]
    _, reasons = decide([Result("load", FAILED, "a"), Result("serve", FAILED, "b")], REQUIRED)
    assert reasons == ["load: a", "serve: b"]


def test_each_verdict_has_an_exit_code_and_only_accepted_is_zero() -> None:
    assert EXIT_CODES.keys() == set(Verdict)
    assert [verdict for verdict, code in EXIT_CODES.items() if code == 0] == [Verdict.ACCEPTED]
    assert EXIT_CODES[Verdict.REJECTED] is ExitCode.REJECTED
    assert EXIT_CODES[Verdict.INCONCLUSIVE] is ExitCode.INCONCLUSIVE


_CHECKS = st.sampled_from(["load", "serve", "extra", CONTAINER])


@given(
    st.lists(st.builds(Result, _CHECKS, st.sampled_from([PASSED] * 5 + list(Outcome)), st.text(max_size=3))),
    st.lists(st.sampled_from(["load", "serve", CONTAINER]), max_size=3),
)
@example(ALL_PASSED, list(REQUIRED))
def test_accepted_means_all_was_shown_and_nothing_else_is(shown: list[Result], required: list[str]) -> None:
    verdict, reasons = decide(shown, required)
    outcomes = {outcome: {result.check for result in shown if result.outcome is outcome} for outcome in Outcome}
    needed = set(required)
    clean = not outcomes[FAILED] and not outcomes[ERROR]
    complete = bool(required) and needed <= outcomes[PASSED] and not needed & outcomes[SKIPPED]
    assert (verdict is Verdict.ACCEPTED) == (clean and complete)
    assert (verdict is Verdict.INCONCLUSIVE) == (bool(outcomes[ERROR]) and not outcomes[FAILED])
    assert bool(reasons) == (verdict is not Verdict.ACCEPTED)
