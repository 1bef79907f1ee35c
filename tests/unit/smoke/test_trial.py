"""Whatever an image does becomes a result; only what the engine fails to do is an error; no container stays behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from scripts.errors import Undecided
from scripts.files import canonical_json
from scripts.model import Outcome, Result, Verdict
from scripts.smoke.trial import LABEL, Trial, parse_results, run_trial
from scripts.verdict import decide
from tests.unit.builders import SCENARIO
from tests.unit.fake_docker import FakeContainer, FakeDocker, raise_

DIGEST = "sha256:" + "d" * 64
Setup = Callable[[FakeContainer], None]


def line(check: str = "load", outcome: str = "passed", detail: str = "fine", **measured: Any) -> str:
    return json.dumps({"check": check, "outcome": outcome, "detail": detail, "measured": measured}) + "\n"


ALL_PASSED = "".join(line(check) for check in SCENARIO.checks).encode()


def run(setup: Setup, docker: FakeDocker | None = None) -> Trial:
    """A container that prints that all passed, unless `setup` has it otherwise. It is removed in any case."""
    docker = docker or FakeDocker()
    containers: list[FakeContainer] = []

    def behave(container: FakeContainer) -> None:
        containers.append(container)
        container.stdout = ALL_PASSED
        setup(container)

    docker.behave = behave
    ended = run_trial(docker.engine(), DIGEST, Path("/smoke"), SCENARIO, {"HALLMARK_TARGET": "cpu"})
    assert all(container.removed for container in containers) or not docker.alive
    return ended


def ending(ended: Trial) -> Result:
    assert ended.results[-1].check == "container", "how the container ended is the last result"
    return ended.results[-1]


def change(**fields: Any) -> Setup:
    def setup(container: FakeContainer) -> None:
        for name, value in fields.items():
            setattr(container, name, value)

    return setup


# --- how a container ends


def test_a_container_that_ends_by_itself_has_passed() -> None:
    ended = run(change(stderr=b"a log\xff\n"))
    assert [(result.check, result.outcome) for result in ended.results] == [
        ("load", Outcome.PASSED),
        ("serve", Outcome.PASSED),
        ("container", Outcome.PASSED),
    ]
    assert ended.results[-1].measured == {"exit_code": 0}
    assert ended.log == "a log�\n"
    assert decide(ended.results, SCENARIO.checks)[0] is Verdict.ACCEPTED


@pytest.mark.parametrize(
    ("setup", "detail"),
    [
        pytest.param(change(oom_killed=True), "killed for memory: it needs more than 2 GiB", id="memory, exit code 0"),
        pytest.param(change(oom_killed=True, code=137), "killed for memory", id="memory, exit code 137"),
        pytest.param(change(code=1), "exit code 1: an error", id="1"),
        pytest.param(change(code=134), "exit code 134: aborted", id="134"),
        pytest.param(change(code=137), "exit code 137: killed (SIGKILL)", id="137"),
        pytest.param(change(code=139), "exit code 139: segmentation fault", id="139"),
        pytest.param(change(hangs=True), "did not end within 60 s and was killed", id="too slow"),
    ],
)
def test_a_container_that_ends_badly_is_rejected_even_if_every_check_passed(setup: Setup, detail: str) -> None:
    ended = run(setup)
    assert ending(ended).outcome is Outcome.FAILED and detail in ending(ended).detail
    assert decide(ended.results, SCENARIO.checks)[0] is Verdict.REJECTED


def test_what_a_container_printed_before_it_was_killed_is_kept() -> None:
    containers: list[FakeContainer] = []

    def setup(container: FakeContainer) -> None:
        containers.append(container)
        container.hangs, container.stdout, container.stderr = True, line().encode(), b"the log"

    ended = run(setup)
    assert [result.check for result in ended.results] == ["load", "container"]
    assert ended.log == "the log" and containers[0].killed


def test_a_container_that_ends_while_nobody_looks_is_judged_by_its_exit_code() -> None:
    ended = run(change(on_wait=lambda: raise_(requests.ReadTimeout("late")), code=139))
    assert ending(ended).detail.startswith("exit code 139")
    assert ending(run(change(on_wait=lambda: raise_(requests.ReadTimeout("late"))))).outcome is Outcome.PASSED


# --- what the engine fails to do


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (APIError("500", explanation="no space for a layer"), "could not run the container: no space for a layer"),
        (ImageNotFound("404", explanation="no such image"), "does not have the image: no such image"),
        (DockerException("strange"), "stopped answering: DockerException"),
        (requests.ConnectionError("gone"), "stopped answering: ConnectionError"),
        (requests.ReadTimeout("slow"), "stopped answering: ReadTimeout"),
    ],
)
def test_a_container_that_does_not_start_is_an_error_and_no_failure(error: Exception, detail: str) -> None:
    ended = run(change(on_start=lambda: raise_(error)))
    assert [(result.check, result.outcome) for result in ended.results] == [("container", Outcome.ERROR)]
    assert detail in ending(ended).detail
    assert decide(ended.results, SCENARIO.checks)[0] is Verdict.INCONCLUSIVE


def test_an_engine_that_is_gone_before_is_an_error() -> None:
    docker = FakeDocker()
    docker.alive = False
    ended = run(change(), docker)
    assert ending(ended).outcome is Outcome.ERROR and docker.created == []


def test_an_engine_that_goes_away_meanwhile_is_an_error_and_says_what_it_leaves() -> None:
    docker = FakeDocker()

    def die() -> None:
        docker.alive = False

    with pytest.raises(Undecided, match=r"hallmark-[0-9a-f]+: a container is left behind"):
        run(change(on_wait=die), docker)


def test_an_engine_that_came_back_meanwhile_is_still_an_error() -> None:
    docker = FakeDocker()

    def die() -> None:
        docker.alive = False

    def come_back() -> None:
        docker.alive = True

    ended = run(change(on_wait=die, on_remove=come_back), docker)
    assert [result.outcome for result in ended.results] == [Outcome.ERROR]


def test_a_container_that_is_gone_already_needs_no_removing() -> None:
    docker = FakeDocker()
    docker.behave = change(stdout=ALL_PASSED, on_remove=lambda: raise_(NotFound("gone")))
    ended = run_trial(docker.engine(), DIGEST, Path("/smoke"), SCENARIO, {})
    assert ending(ended).outcome is Outcome.PASSED


def test_an_interruption_removes_the_container() -> None:
    containers: list[FakeContainer] = []

    def setup(container: FakeContainer) -> None:
        containers.append(container)
        container.on_wait = lambda: raise_(KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        run(setup)
    assert containers[0].removed


# --- what a script prints


@pytest.mark.parametrize(
    "text",
    [
        "garbage",
        "{",
        "1",
        "[]",
        "null",
        '"load"',
        '{"check": "load"}',
        '{"check": "load", "outcome": "perfect", "detail": "", "measured": {}}',
        '{"check": "load", "outcome": ["passed"], "detail": "", "measured": {}}',
        '{"check": "load", "outcome": "passed", "detail": "", "measured": 3}',
        '{"check": "load", "outcome": "passed", "measured": {}}',
        "\N{REPLACEMENT CHARACTER}\0",
        "",
        "   ",
    ],
)
def test_a_line_that_is_no_result_is_a_failure(text: str) -> None:
    results = parse_results(f"{line()}{text}\n{line('serve')}")
    assert [result.check for result in results] == ["load", "protocol", "serve"]
    assert results[1].outcome is Outcome.FAILED and results[1].detail == f"not a result: {text}"


def test_a_line_without_end_is_shown_in_part() -> None:
    [result] = parse_results("x" * 100_000)
    assert len(result.detail) < 300


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[" * 100_000, id="too deep"),
        pytest.param(line(seconds=float("nan")), id="not a number"),
        pytest.param(line(seconds=float("-inf")), id="infinity"),
        pytest.param(line(detail="half \ud800"), id="half a character"),
        pytest.param(line(name="half \ud800"), id="half a character among the numbers"),
    ],
)
def test_what_no_evidence_could_hold_is_a_failure(text: str) -> None:
    [result] = parse_results(text)
    assert (result.check, result.outcome, result.measured) == ("protocol", Outcome.FAILED, {})
    assert canonical_json(result.detail)


def test_garbage_rejects_what_passed_otherwise() -> None:
    ended = run(change(stdout=ALL_PASSED + b"Segmentation fault\n"))
    assert decide(ended.results, SCENARIO.checks)[0] is Verdict.REJECTED


def test_silence_rejects() -> None:
    assert decide(run(change(stdout=b"")).results, SCENARIO.checks)[0] is Verdict.REJECTED


def test_a_script_cannot_claim_that_nothing_could_be_decided() -> None:
    [result] = parse_results(line(outcome="error", detail="no GPU"))
    assert (result.outcome, result.detail) == (Outcome.FAILED, "no GPU")


def test_a_script_cannot_speak_for_its_container() -> None:
    ended = run(change(stdout=ALL_PASSED + line("container").encode(), code=139))
    assert decide(ended.results, SCENARIO.checks)[0] is Verdict.REJECTED


def test_results_keep_their_numbers() -> None:
    [result] = parse_results(line("load", "skipped", "why", seconds=1.5, names=["a"]))
    assert result == Result("load", Outcome.SKIPPED, "why", {"seconds": 1.5, "names": ["a"]})


# --- what a container is allowed


@pytest.fixture
def options() -> dict[str, Any]:
    docker = FakeDocker()
    run(change(), docker)
    [(image, options)] = docker.created
    assert image == DIGEST, "by digest: a name could be another image by now"
    return options


def test_a_container_has_no_network_no_privileges_and_no_place_to_write(options: dict[str, Any]) -> None:
    assert options["network_mode"] == "none"
    assert options["read_only"] is True
    assert options["cap_drop"] == ["ALL"]
    assert options["security_opt"] == ["no-new-privileges"]
    assert not options["user"].startswith(("0", "root"))
    assert options["cap_add"] == []
    assert list(options["tmpfs"]) == ["/tmp"]
    for word in ("nosuid", "nodev", "size="):
        assert word in options["tmpfs"]["/tmp"]


def test_its_only_mount_is_the_smoke_folder_and_cannot_be_written_to(options: dict[str, Any]) -> None:
    [mount] = options["mounts"]
    assert (mount["Source"], mount["Target"], mount["Type"], mount["ReadOnly"]) == ("/smoke", "/hallmark", "bind", True)


def test_what_it_keeps_for_other_scenarios_is_in_one_folder_that_the_runs_user_can_remove(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    docker = FakeDocker()
    monkeypatch.setattr("os.getuid", lambda: 1001)
    monkeypatch.setattr("os.getgid", lambda: 1002)
    run_trial(docker.engine(), DIGEST, Path("/smoke"), SCENARIO, {}, cache=Path("/scratch/cache"))
    [(_, options)] = docker.created
    assert [(mount["Source"], mount["Target"], mount["ReadOnly"]) for mount in options["mounts"]] == [
        ("/smoke", "/hallmark", True),
        ("/scratch/cache", "/tmp/.cache", False),
    ]
    assert options["user"] == "1001:1002"


def test_it_is_bounded_in_memory_processes_and_log(options: dict[str, Any]) -> None:
    assert options["mem_limit"] == options["memswap_limit"] == SCENARIO.memory_gib * 1024**3, "no swap beyond it"
    assert 0 < options["pids_limit"] < 10_000
    assert options["log_config"].config == {"max-size": str(50 << 20)}
    assert options["init"] is True, "children of the script are reaped"


def test_it_runs_the_script_and_nothing_of_the_images_own(options: dict[str, Any]) -> None:
    assert options["entrypoint"] == ["python3", "-B", "/hallmark/smoke.py"]
    assert options["command"] == []
    assert options["environment"] == {"HALLMARK_TARGET": "cpu"}
    assert LABEL in options["labels"]
