"""A sandbox can be asked for much, and never for less isolation; and whatever happens in it, it is gone afterwards."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import DeviceRequest

from scripts.engine import sandbox as module
from scripts.engine.sandbox import Ending, Mount, Request, open_sandbox, remove_abandoned
from scripts.errors import Undecided
from tests.unit.fake_docker import FakeContainer, FakeDocker, raise_

DIGEST = "sha256:" + "d" * 64
REQUEST = Request(DIGEST, ("python3", "-c", "pass"), "io.hallmark.test", memory=1 << 30, timeout_s=5)
Setup = Callable[[FakeContainer], None]


def run(
    setup: Setup = lambda container: None,
    request: Request = REQUEST,
    on_line: Callable[[bytes], None] | None = None,
    docker: FakeDocker | None = None,
) -> Ending:
    """A container that is as `setup` has it; while the engine lives, none stays behind."""
    docker = docker or FakeDocker()
    docker.behave = setup
    try:
        with open_sandbox(docker.engine(), request) as sandbox:
            return sandbox.run(on_line)
    finally:
        assert all(container.removed for container in docker.made.values()) or not docker.alive


def change(**fields: Any) -> Setup:
    def setup(container: FakeContainer) -> None:
        for name, value in fields.items():
            setattr(container, name, value)

    return setup


# --- what it allows


def options_of(request: Request) -> dict[str, Any]:
    docker = FakeDocker()
    run(request=request, docker=docker)
    [(image, options)] = docker.created
    assert image == DIGEST, "by digest: a name could be another image by now"
    return options


PLAIN = options_of(REQUEST)
# As much as can be asked for.
LAVISH = dataclasses.replace(
    REQUEST,
    mounts=(Mount(Path("/sources"), "/in"), Mount(Path("/results"), "/out", writable=True)),
    environment={"HOME": "/tmp"},
    user="0:0",
    working_dir="/tmp",
    capabilities=("DAC_READ_SEARCH",),
    devices=(DeviceRequest(driver="cdi", device_ids=["nvidia.com/gpu=0"]),),
    tmpfs={"/tmp": 4096},
    shm=1 << 30,
    pids=4096,
    log_size=1000,
    init=True,
)


@pytest.mark.parametrize("request_", [REQUEST, LAVISH])
def test_isolation_is_nothing_that_a_request_has_words_for(request_: Request) -> None:
    options = options_of(request_)
    assert options["network_mode"] == "none"
    assert options["read_only"] is True
    assert options["cap_drop"] == ["ALL"]
    assert options["security_opt"] == ["no-new-privileges"]
    assert options["healthcheck"] == {"test": ["NONE"]}, "nothing of the image's own runs beside the command"
    assert options["command"] == [], "the image's own arguments are not appended"
    forbidden = {"privileged", "devices", "pid_mode", "ipc_mode", "userns_mode", "volumes", "volumes_from", "ports"}
    assert not options.keys() & forbidden


def test_what_is_not_asked_for_is_not_there() -> None:
    assert PLAIN["user"] == "65534:65534", "nobody"
    for name in ("cap_add", "mounts", "device_requests"):
        assert PLAIN[name] == []
    assert PLAIN["environment"] == PLAIN["tmpfs"] == {}


def test_it_is_bounded_in_memory_processes_shared_memory_and_log() -> None:
    assert PLAIN["mem_limit"] == PLAIN["memswap_limit"] == 1 << 30, "no swap beyond it"
    assert 0 < PLAIN["pids_limit"] <= 1000
    assert PLAIN["shm_size"] == 64 << 20
    assert (PLAIN["log_config"].type, PLAIN["log_config"].config) == ("json-file", {"max-size": str(50 << 20)})


def test_what_is_asked_for_is_given_as_it_was_asked_for() -> None:
    options = options_of(LAVISH)
    assert options["entrypoint"] == ["python3", "-c", "pass"]
    assert options["labels"] == {"io.hallmark.test": "1"}
    assert options["environment"] == {"HOME": "/tmp"}
    assert (options["user"], options["working_dir"], options["init"]) == ("0:0", "/tmp", True)
    assert options["cap_add"] == ["DAC_READ_SEARCH"]
    assert options["device_requests"] == list(LAVISH.devices)
    assert options["tmpfs"] == {"/tmp": "rw,exec,nosuid,nodev,mode=1777,size=4096"}
    assert (options["shm_size"], options["pids_limit"]) == (1 << 30, 4096)
    assert options["log_config"].config == {"max-size": "1000"}


def test_mounts_can_be_written_to_where_that_is_asked_for_alone() -> None:
    mounts = [(m["Source"], m["Target"], m["Type"], m["ReadOnly"]) for m in options_of(LAVISH)["mounts"]]
    assert mounts == [("/sources", "/in", "bind", True), ("/results", "/out", "bind", False)]


# --- how it ends


def test_an_ending_has_everything_that_can_be_known_of_it() -> None:
    ending = run(change(stdout=b"out\n", stderr=b"err\xff"))
    assert ending == Ending(0, False, False, b"out\n", b"err\xff", ending.seconds)
    assert ending.succeeded and ending.seconds >= 0


@pytest.mark.parametrize(
    ("setup", "expected"),
    [
        pytest.param(change(code=139), (139, False, False), id="a crash"),
        pytest.param(change(oom_killed=True), (0, True, False), id="a child killed for memory, exit code 0"),
        pytest.param(change(oom_killed=True, code=137), (137, True, False), id="killed for memory"),
        pytest.param(change(hangs=True), (137, False, True), id="too slow"),
    ],
)
def test_what_did_not_end_well_has_not_succeeded(setup: Setup, expected: tuple[int, bool, bool]) -> None:
    ending = run(setup)
    assert (ending.exit_code, ending.oom, ending.timed_out) == expected
    assert not ending.succeeded


def test_what_was_printed_before_it_was_killed_is_kept() -> None:
    docker = FakeDocker()
    ending = run(change(hangs=True, stdout=b"out", stderr=b"err"), docker=docker)
    assert (ending.stdout, ending.stderr) == (b"out", b"err")
    assert all(container.killed for container in docker.made.values())


def test_one_that_ends_while_nobody_looks_has_ended_by_itself() -> None:
    ending = run(change(on_wait=lambda: raise_(requests.ReadTimeout("late")), code=3))
    assert (ending.exit_code, ending.timed_out) == (3, False)


def test_one_that_ends_just_before_it_is_killed_was_too_slow() -> None:
    def setup(container: FakeContainer) -> None:
        def kill() -> None:
            container.killed = True
            raise APIError("is not running")

        container.hangs = True
        container.kill = kill  # type: ignore[method-assign]

    assert run(setup).timed_out


# --- its lines while it runs


def test_lines_are_handed_on_while_it_runs() -> None:
    lines: list[bytes] = []
    seen: list[list[bytes]] = []

    def setup(container: FakeContainer) -> None:
        def settle() -> None:
            while len(lines) < 2:
                time.sleep(0.001)
            seen.append(list(lines))

        container.stream = [b"one\ntw", b"o\r\nthr", settle, b"ee\n"]
        container.stdout = b"one\ntwo\r\nthree\n"

    run(setup, on_line=lines.append)
    assert lines == [b"one", b"two", b"three"]
    assert seen == [[b"one", b"two"]], "before the container had ended"


@pytest.mark.parametrize(
    "stream",
    [
        [],
        [b"one\n"],
        [b"one\ntw", requests.ConnectionError("read timed out")],
        [DockerException("no stream")],
        [b"one\ntwo\r\nthr"],
        [b"one\ntwo\r\nthree"],
    ],
)
def test_each_line_is_handed_on_once_whatever_becomes_of_the_stream(stream: list[Any]) -> None:
    lines: list[bytes] = []
    run(change(stream=stream, stdout=b"one\ntwo\r\nthree"), on_line=lines.append)
    assert lines == [b"one", b"two", b"three"]


def test_silence_has_no_lines() -> None:
    run(on_line=lambda line: pytest.fail("there is no line"))


def test_what_prints_without_end_is_not_followed_without_end() -> None:
    docker = FakeDocker()
    request = dataclasses.replace(REQUEST, log_size=100)
    lines: list[bytes] = []
    run(change(stream=[b"x" * 60 + b"\n"] * 10, stdout=b""), request, lines.append, docker)
    assert len(lines) == 1


def test_what_is_followed_has_no_more_time_than_others() -> None:
    def setup(container: FakeContainer) -> None:
        container.hangs = True
        container.stream = [b"one\n", lambda: time.sleep(30)]
        container.stdout = b"one\ntwo\n"

    lines: list[bytes] = []
    started = time.monotonic()
    ending = run(setup, dataclasses.replace(REQUEST, timeout_s=0.05), lines.append)
    assert ending.timed_out and time.monotonic() - started < 10
    assert lines == [b"one", b"two"]


def test_what_prints_all_the_time_has_no_more_time_than_others() -> None:
    def setup(container: FakeContainer) -> None:
        container.hangs = True
        container.stream = [b"x\n" * 1000] * 1000

    lines: list[bytes] = []

    def slowly(line: bytes) -> None:
        lines.append(line)
        time.sleep(0.01)

    ending = run(setup, dataclasses.replace(REQUEST, timeout_s=0.5), slowly)
    assert ending.timed_out and 0 < len(lines) < 100


def test_who_reads_the_lines_may_end_it() -> None:
    docker = FakeDocker()
    with pytest.raises(ValueError, match="enough"):
        run(change(stream=[b"one\n"]), on_line=lambda line: raise_(ValueError("enough")), docker=docker)
    assert [container.removed for container in docker.made.values()] == [True]


# --- nothing stays behind


@pytest.mark.parametrize(
    "error",
    [APIError("500"), ImageNotFound("404"), DockerException("x"), requests.ReadTimeout("y"), KeyboardInterrupt()],
)
def test_what_ends_a_run_removes_the_container(error: Any) -> None:
    for moment in ("on_start", "on_wait"):
        docker = FakeDocker()
        setup = change(**{moment: lambda: raise_(error)}, hangs=True)
        if isinstance(error, requests.RequestException) and moment == "on_wait":
            continue  # the time is over: another test's
        with pytest.raises(type(error)):
            run(setup, docker=docker)
        assert [container.removed for container in docker.made.values()] == [True]


@pytest.mark.parametrize("error", [requests.ReadTimeout("the answer is lost"), KeyboardInterrupt()])
def test_what_ends_the_making_removes_what_was_made(error: Any) -> None:
    docker = FakeDocker()
    docker.on_create = lambda: raise_(error)
    with pytest.raises(type(error)):
        run(docker=docker)
    assert [container.removed for container in docker.made.values()] == [True]


def test_an_engine_that_makes_none_says_why() -> None:
    docker = FakeDocker()
    docker.create = lambda *_, **__: raise_(ImageNotFound("no such image"))  # type: ignore[method-assign]
    with pytest.raises(ImageNotFound, match="no such image"):
        run(docker=docker)


def test_one_that_is_gone_already_needs_no_removing() -> None:
    docker = FakeDocker()
    docker.behave = change(on_remove=lambda: raise_(NotFound("gone")))
    with open_sandbox(docker.engine(), REQUEST) as sandbox:
        assert sandbox.run().succeeded


@pytest.mark.parametrize("error", [APIError("in use"), requests.ConnectionError("gone")])
def test_one_that_is_left_behind_is_reported(error: Exception) -> None:
    docker = FakeDocker()
    docker.behave = change(on_remove=lambda: raise_(error))
    with (
        pytest.raises(Undecided, match="a container is left behind") as caught,
        open_sandbox(docker.engine(), REQUEST) as sandbox,
    ):
        sandbox.run()
    assert caught.value.problems[0].place in docker.made and caught.value.problems[0].next_step


def test_an_engine_that_goes_away_leaves_one_behind() -> None:
    docker = FakeDocker()

    def die() -> None:
        docker.alive = False

    with pytest.raises(Undecided, match="a container is left behind"):
        run(change(on_wait=die), docker=docker)


def test_an_interruption_stays_one_and_says_what_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(module, "note", said.append)
    docker = FakeDocker()
    docker.behave = change(
        on_wait=lambda: raise_(KeyboardInterrupt()),
        on_remove=lambda: raise_(requests.ConnectionError("gone")),
    )
    with pytest.raises(KeyboardInterrupt), open_sandbox(docker.engine(), REQUEST) as sandbox:
        sandbox.run()
    assert len(said) == 1 and "a container is left behind" in said[0]


# --- ended from another thread


def test_what_another_thread_has_running_is_ended_and_does_not_count_as_having_ended() -> None:
    docker = FakeDocker()
    engine = docker.engine()
    with pytest.raises(Undecided, match="interrupted"), open_sandbox(engine, REQUEST) as sandbox:
        [container] = docker.made.values()
        container.on_wait = engine.end_containers
        sandbox.run()
    assert container.removed


@pytest.mark.parametrize("error", [NotFound("it is gone"), requests.ConnectionError("aborted")])
def test_whatever_the_engine_says_of_one_that_was_ended_it_was_interrupted(error: Exception) -> None:
    docker = FakeDocker()
    engine = docker.engine()
    with pytest.raises(Undecided, match="interrupted"), open_sandbox(engine, REQUEST):
        engine.end_containers()
        raise error


def test_nothing_begins_after_the_end() -> None:
    docker = FakeDocker()
    engine = docker.engine()
    engine.end_containers()
    with pytest.raises(Undecided, match="interrupted"), open_sandbox(engine, REQUEST):
        raise AssertionError("it began")
    assert all(container.removed for container in docker.made.values())


def test_one_that_ended_before_is_not_touched() -> None:
    docker = FakeDocker()
    engine = docker.engine()
    with open_sandbox(engine, REQUEST) as sandbox:
        sandbox.run()
    [container] = docker.made.values()
    container.on_remove = lambda: raise_(AssertionError("it was removed twice"))
    engine.end_containers()


def test_an_engine_that_has_gone_does_not_keep_the_run_from_ending() -> None:
    docker = FakeDocker()
    engine = docker.engine()
    with pytest.raises(Undecided), open_sandbox(engine, REQUEST):
        docker.alive = False
        engine.end_containers()


# --- left by a run that was killed


def test_what_ended_long_ago_and_was_never_come_for_is_removed() -> None:
    docker = FakeDocker()
    engine = docker.engine()
    now = datetime.now(UTC)
    ages = {"hallmark-1": 2, "hallmark-2": 0.5, "hallmark-3": 24, "somebodys": 24}
    for name, hours in ages.items():
        container = docker.create(DIGEST, name=name)
        container.status = "running" if name == "hallmark-3" else "exited"
        container.finished = (now - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%S.123456789Z")
    remove_abandoned(engine)
    assert [name for name, container in docker.made.items() if container.removed] == ["hallmark-1"]


def test_an_engine_that_fails_to_say_what_is_left_is_undecided() -> None:
    docker = FakeDocker()
    engine = docker.engine()
    docker.alive = False
    with pytest.raises(Undecided, match="the engine failed"):
        remove_abandoned(engine)


# --- an engine that answers strangely


@pytest.mark.parametrize("error", [KeyError("Id"), TypeError(), ValueError(), Exception("Can't create Container")])
def test_one_that_makes_none_of_its_own_accord_is_the_sdks_failure(error: Exception) -> None:
    docker = FakeDocker()
    docker.on_create = lambda: raise_(error)
    with pytest.raises(DockerException, match="as no engine does"):
        run(docker=docker)


@pytest.mark.parametrize("code", [None, "x", [], {}])
def test_an_ending_that_cannot_be_read_is_the_sdks_failure(code: Any) -> None:
    with pytest.raises(DockerException, match="as no engine does"):
        run(change(code=code))


def test_one_whose_removal_is_answered_strangely_is_left_behind() -> None:
    docker = FakeDocker()
    docker.behave = change(on_remove=lambda: raise_(KeyError("message")))
    with (
        pytest.raises(Undecided, match="a container is left behind") as caught,
        open_sandbox(docker.engine(), REQUEST) as sandbox,
    ):
        sandbox.run()
    assert caught.value.problems[0].place in docker.made
