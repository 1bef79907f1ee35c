"""A server from its start to its end, however that comes: nothing of it is left."""

from __future__ import annotations

import http.client
import json
from pathlib import Path

import pytest
from docker.errors import APIError

from scripts.errors import ConfigError, ExitCode, Undecided
from scripts.locks import hold
from scripts.serve import serve as module
from scripts.serve.container import LABEL, STOP_S, name_container
from scripts.serve.network import Way
from tests.unit.builders import RTX
from tests.unit.fake_docker import FakeContainer, raise_
from tests.unit.serve.made import HUB, PORT, Serving, make_subject


def left(serving: Serving) -> list[str]:
    """What there still is of containers and networks."""
    made = [each.name for each in serving.docker.made.values() if not each.removed]
    return made + [name for name in serving.docker.networks.there if name not in ("none", "host")]


def test_it_serves_until_ctrl_c_and_then_stops_in_peace(serving: Serving, capsys: pytest.CaptureFixture[str]) -> None:
    assert serving.run() is ExitCode.ACCEPTED
    assert serving.printed == ["answered"], "what was said before it was well is not said again"
    assert serving.container.stopped == STOP_S and serving.container.removed
    assert serving.carried == [(("127.0.0.1", 8000), 77)] and serving.listener.closed
    assert left(serving) == []
    said = capsys.readouterr().err
    assert "serve-cpu: hallmark/serve:1.0-cpu serves" in said and "no network at all" in said


def test_an_interruption_before_it_is_well_is_one(serving: Serving) -> None:
    serving.answers = [False, KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        serving.run()
    assert left(serving) == [] and serving.listener.closed


def test_a_second_ctrl_c_does_not_wait(serving: Serving) -> None:
    serving.on_container = lambda container: setattr(container, "on_stop", lambda: raise_(KeyboardInterrupt()))
    assert serving.run() is ExitCode.ACCEPTED
    assert serving.container.stopped is None and left(serving) == []


def test_a_container_that_cannot_be_stopped_is_removed(serving: Serving) -> None:
    serving.on_container = lambda container: setattr(container, "on_stop", lambda: raise_(APIError("no")))
    serving.run()
    assert left(serving) == []


@pytest.mark.parametrize("oom", [False, True])
def test_a_server_that_ends_while_it_starts_is_shown_with_its_last_words(serving: Serving, oom: bool) -> None:
    def end() -> bool:
        serving.container.status, serving.container.code, serving.container.oom_killed = "exited", 78, oom
        return False

    serving.answers = [end]
    serving.said[2:] = [b"this image is for another GPU"]
    with pytest.raises(
        Undecided, match=r"exit code 78(: something in it was killed for memory)?\n    loading"
    ) as caught:
        serving.run()
    assert str(caught.value).splitlines()[3] == "    this image is for another GPU"
    assert ("memory" in str(caught.value)) is oom
    assert left(serving) == [] and serving.container.stopped is None


def test_a_server_that_ends_later_is_no_good_end(serving: Serving) -> None:
    serving.said[-1] = lambda: setattr(serving.container, "status", "exited")
    with pytest.raises(Undecided, match="ended by itself with exit code 0"):
        serving.run()
    assert serving.printed == ["answered"] and left(serving) == []


def test_an_engine_that_fails_leaves_nothing_here(serving: Serving) -> None:
    def refuse(container: FakeContainer) -> None:
        container.on_start = lambda: raise_(APIError("no such device"))

    serving.on_container = refuse
    with pytest.raises(Undecided, match="no such device"):
        serving.run()
    assert left(serving) == [] and serving.listener.closed


def test_a_gpu_is_held_while_its_server_runs(serving: Serving) -> None:
    serving.on_container = lambda container: serving.answers.append(serving.held == 1)
    serving.answers = []
    serving.run(subject=make_subject(target=RTX))
    [device] = serving.options["device_requests"]
    assert device.device_ids == ["GPU-1"] and serving.held == 0
    assert "VLLM_CPU_KVCACHE_SPACE" not in serving.options["environment"]


def test_the_port_is_held_before_anything_starts(serving: Serving, tmp_path: Path) -> None:
    with (
        hold(tmp_path / f"locks/serve-{PORT}.lock", "a test"),
        pytest.raises(Undecided, match=f"another `serve` on port {PORT}"),
    ):
        serving.run()
    assert serving.docker.created == []


def test_what_a_killed_run_left_goes_first(serving: Serving) -> None:
    name = name_container(PORT)
    old = serving.docker.made[name] = FakeContainer(serving.docker, name)
    other = serving.docker.made[f"{name}0"] = FakeContainer(serving.docker, f"{name}0")
    serving.docker.networks.there |= {name: {}, f"{name}0": {}}
    serving.run(Way.INTERNAL)
    assert old.removed and not other.removed
    assert left(serving) == [f"{name}0", f"{name}0"], "one port's name is the beginning of another's"


def test_a_network_of_its_own_leads_nowhere_else(serving: Serving) -> None:
    made: list[dict[str, object]] = []
    serving.on_container = lambda container: made.append(serving.docker.networks.there[name_container(PORT)])
    serving.run(Way.INTERNAL)
    assert made == [{"driver": "bridge", "internal": True, "labels": {LABEL: "1"}}]
    assert serving.options["network"] == name_container(PORT) and serving.options["ports"] == {}
    assert serving.carried == [(("172.30.0.2", 8000), None)]


def test_a_published_port_is_on_this_machine_alone(serving: Serving) -> None:
    serving.model = HUB
    serving.run(Way.PUBLISHED)
    assert serving.options["ports"] == {"8000/tcp": ("127.0.0.1", PORT)}
    assert serving.options["network"] == "bridge" and serving.carried == []


def test_how_to_ask_it_is_printed_to_be_copied(capsys: pytest.CaptureFixture[str], lab: object) -> None:
    module.show_use("team/model", PORT)
    line = capsys.readouterr().out
    assert line.startswith(f"curl http://127.0.0.1:{PORT}/v1/chat/completions -H ")
    assert json.loads(line.split(" -d ")[1].strip().strip("'"))["model"] == "team/model"


@pytest.mark.parametrize(
    ("answer", "well"),
    [(200, True), (503, False), (ConnectionRefusedError(), False), (http.client.BadStatusLine(""), False)],
)
def test_a_server_is_well_when_it_says_so(answer: int | Exception, well: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    class Connection:
        def __init__(self, *words: object, timeout: float) -> None:
            asked.append(words)
            self.status = answer

        def request(self, *words: object) -> None:
            asked.append(words)
            if isinstance(answer, Exception):
                raise answer

        def getresponse(self) -> Connection:
            return self

        def close(self) -> None:
            asked.append(())

    monkeypatch.setattr(http.client, "HTTPConnection", Connection)
    assert module.is_healthy(PORT) is well
    assert asked == [("127.0.0.1", PORT), ("GET", "/health"), ()]


def test_a_port_that_is_taken_is_a_mistake_of_usage(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "open_listener", lambda port: raise_(ConfigError("taken")))
    with pytest.raises(ConfigError):
        serving.run()
    assert serving.docker.created == []
