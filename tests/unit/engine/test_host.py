from __future__ import annotations

import subprocess
from typing import Any

import pytest
import requests
from docker.errors import DockerException
from hypothesis import given
from hypothesis import strategies as st

from scripts.engine.engine import Engine
from scripts.engine.host import CONTAINERD, find_shortcoming, probe_host
from scripts.errors import Undecided
from tests.unit.conftest import find_faults_of_line


@pytest.mark.parametrize(
    "version", ["26.0.0", "26.1.5+dfsg1", "27.0.0-rc.1", "28.5.2", "28.2.2-0ubuntu1~24.04.1", "28", "100.0"]
)
def test_an_engine_that_is_new_enough_and_keeps_images_in_containerd_will_do(version: str) -> None:
    assert find_shortcoming(version, CONTAINERD) == ""


@pytest.mark.parametrize("version", ["20.10.24+dfsg1", "24.0.7-0ubuntu4.1", "25.0.5", "26.0.0-rc.1", "9.9", "dev", ""])
def test_an_engine_that_is_too_old_or_does_not_say_will_not_do(version: str) -> None:
    why = find_shortcoming(version, CONTAINERD)
    assert version in why and "too old" in why and "26 or newer" in why


@pytest.mark.parametrize("store", ["", "overlay2", "io.containerd.snapshotter.v2"])
def test_an_engine_with_another_image_store_will_not_do(store: str) -> None:
    assert "does not use the containerd image store" in find_shortcoming("28.5.1", store)


class Client:
    """What the SDK says of an engine, or raises."""

    def __init__(self, version: str, status: Any, error: Exception | None = None) -> None:
        self._version, self._status, self._error = version, status, error

    def version(self) -> dict[str, str]:
        if self._error:
            raise self._error
        return {"Version": self._version}

    def info(self) -> dict[str, Any]:
        return {"DriverStatus": self._status}


def probe(monkeypatch: pytest.MonkeyPatch, client: Client | Exception, buildx: int | Exception = 0) -> Any:
    def connect(host: str, timeout_s: int) -> Client:
        if isinstance(client, Exception):
            raise client
        return client

    def run(command: list[str], check: bool, **_: Any) -> None:
        if isinstance(buildx, Exception):
            raise buildx
        if buildx and check:
            raise subprocess.CalledProcessError(buildx, command)

    monkeypatch.setattr("scripts.engine.host.Client", connect)
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/some.sock")
    return probe_host()


GOOD = Client("28.5.1", [["driver-type", CONTAINERD]])


def test_a_good_engine_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, why = probe(monkeypatch, GOOD)
    assert why == ""
    assert (engine.host, engine.embedded, engine.version) == ("unix:///run/some.sock", False, "28.5.1")


@pytest.mark.parametrize(
    ("client", "buildx", "said"),
    [
        (DockerException("no socket"), 0, "no Docker Engine answers at unix:///run/some.sock"),
        (FileNotFoundError("no socket"), 0, "no Docker Engine answers"),
        (Client("28.5.1", None, requests.ConnectionError("reset")), 0, "no Docker Engine answers"),
        (Client("20.10.24", [["driver-type", CONTAINERD]]), 0, "too old"),
        (Client("28.5.1", [["Backing Filesystem", "extfs"]]), 0, "containerd image store"),
        (Client("28.5.1", None), 0, "containerd image store"),
        (GOOD, 1, "`docker buildx` does not answer"),
        (GOOD, FileNotFoundError("docker"), "`docker buildx` does not answer"),
        (GOOD, subprocess.TimeoutExpired("docker", 30), "`docker buildx` does not answer"),
    ],
)
def test_any_other_is_left_alone_and_the_reason_is_said(
    client: Client | Exception, buildx: int | Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, why = probe(monkeypatch, client, buildx)
    assert engine is None and said in why


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["Version", "a"]), inner, max_size=2),
    max_leaves=6,
)


@given(_JSON, _JSON)
def test_an_answer_of_anything_is_an_engine_or_a_reason(version: Any, status: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        engine, why = probe(patch, Client(version, status))
        assert (engine is None) == bool(why) and find_faults_of_line(why) == []
        client = Client("", None)
        patch.setattr(client, "version", lambda: version)
        patch.setattr(client, "info", lambda: status)
        engine, why = probe(patch, client)
        assert (engine is None) == bool(why) and find_faults_of_line(why) == []


@pytest.mark.parametrize("host", ["nonsense", "tcp://[::1", "http://a:b:c", "unix", "\n::error::x", "x" * 9999])
def test_an_address_that_is_none_is_an_engine_that_does_not_answer(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(host: str, timeout_s: int) -> None:
        raise ValueError("Invalid IPv6 URL")

    monkeypatch.setattr("scripts.engine.host.Client", connect)
    monkeypatch.setattr("scripts.engine.engine.Client", connect)
    monkeypatch.setenv("DOCKER_HOST", host)
    engine, why = probe_host()
    assert engine is None and "is no Docker Engine" in why
    assert find_faults_of_line(why) == [] and len(why) < 400
    with pytest.raises(Undecided, match="the engine does not answer"):
        _ = Engine(host, embedded=False, version="28").client.api
