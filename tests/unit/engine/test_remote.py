"""An engine that shares no files with this machine: what containers see is copied there, and nothing stays behind."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from docker.errors import APIError

from scripts.engine import remote as module
from scripts.engine.host import CONTAINERD
from scripts.engine.remote import RemoteEngine, open_remote, remove_left
from scripts.engine.sandbox import Ending, Mount, Request, open_sandbox
from scripts.errors import ExitCode, Undecided
from tests.unit.fake_docker import FakeContainer, FarContainer, FarDocker, raise_

DIGEST = "sha256:" + "d" * 64
HOST = "ssh://me@gpubox"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as a scenario has it."""
    for name, text in {"smoke.py": "import probe\n", "model/config.json": "{}"}.items():
        (tmp_path / "suite" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "suite" / name).write_text(text)
        (tmp_path / "suite" / name).chmod(0o644)
    for each in (tmp_path / "suite", tmp_path / "suite/model"):
        each.chmod(0o755)
    return tmp_path / "suite"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    return tmp_path / "cache"


def run(engine: RemoteEngine, *mounts: Mount) -> Ending:
    request = Request(DIGEST, ("python3", "-c", "pass"), "io.hallmark.test", memory=1 << 30, timeout_s=5, mounts=mounts)
    with open_sandbox(engine, request) as sandbox:
        return sandbox.run()


def left(docker: FarDocker) -> list[str]:
    return [name for name, each in docker.made.items() if not each.removed]


# --- what travels


def test_a_container_finds_the_folder_as_it_is_here(folder: Path) -> None:
    docker = FarDocker()
    assert run(docker.far_engine(), Mount(folder, "/hallmark")).succeeded
    assert docker.seen == [
        {
            "/hallmark": 0o755,
            "/hallmark/smoke.py": b"import probe\n",
            "/hallmark/model": 0o755,
            "/hallmark/model/config.json": b"{}",
        }
    ]
    assert left(docker) == [] and docker.volumes == {}


def test_it_can_write_to_none_of_it_and_the_carrier_never_runs(folder: Path) -> None:
    docker = FarDocker()
    run(docker.far_engine(), Mount(folder, "/hallmark"))
    carrier, tested = docker.made.values()
    assert isinstance(tested, FarContainer) and {writable for _, writable in tested.mounts.values()} == {False}
    assert carrier.status == "created" and tested.status == "exited"
    (image, options), _ = docker.created
    assert image == DIGEST and options["network_mode"] == "none"


def test_isolation_is_what_it_is_on_this_machine(folder: Path) -> None:
    docker = FarDocker()
    run(docker.far_engine(), Mount(folder, "/hallmark"))
    options = docker.created[1][1]
    assert options["network_mode"] == "none" and options["read_only"] is True and options["cap_drop"] == ["ALL"]


def test_what_is_written_is_shared_while_it_is_asked_for_and_gone_afterwards(folder: Path, cache: Path) -> None:
    docker = FarDocker()
    engine = docker.far_engine()
    found: list[dict[str, Any]] = []

    def write(container: FakeContainer) -> None:
        def act() -> None:
            assert isinstance(container, FarContainer)
            volume, writable = container.mounts["/tmp/.cache"]
            assert writable
            found.append(dict(docker.volumes[volume]))
            docker.volumes[volume]["/kernel.so"] = b"compiled"

        container.on_start = act

    docker.behave = write
    mounts = (Mount(folder, "/hallmark"), Mount(cache, "/tmp/.cache", writable=True))
    with engine.sharing(cache):
        run(engine, *mounts)
        run(engine, *mounts)
        assert len(left(docker)) == len(docker.volumes) == 1
    assert found == [{"": 0o777}, {"": 0o777, "/kernel.so": b"compiled"}]
    with engine.sharing(cache):
        run(engine, *mounts)
    assert found[2] == {"": 0o777}, "another run begins with nothing"
    assert left(docker) == [] and docker.volumes == {} and list(cache.iterdir()) == []


def test_a_folder_that_nobody_shares_is_written_to_by_none(cache: Path) -> None:
    docker = FarDocker()
    with pytest.raises(AssertionError, match="nobody shares it"):
        run(docker.far_engine(), Mount(cache, "/out", writable=True))
    assert docker.created == []


def test_a_shared_folder_that_nobody_wrote_to_leaves_nothing_to_remove(cache: Path) -> None:
    docker = FarDocker()
    with docker.far_engine().sharing(cache):
        pass
    assert docker.created == []


def test_what_cannot_be_removed_is_said_and_hides_nothing(
    cache: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docker = FarDocker()
    engine = docker.far_engine()
    with engine.sharing(cache):
        run(engine, Mount(cache, "/out", writable=True))
        docker.alive = False
    assert f"{HOST}: what servers compiled there is left behind" in capsys.readouterr().err


# --- what goes wrong on the way


@pytest.mark.parametrize("error", [APIError("no space left on device"), requests.ConnectionError("gone")])
@pytest.mark.parametrize("when", ["carrier", "copy", "container"])
def test_a_failure_on_the_way_is_the_engines_and_nothing_stays(error: Exception, when: str, folder: Path) -> None:
    docker = FarDocker()
    if when == "copy":
        docker.on_put = lambda: raise_(error)
    else:
        made = 1 if when == "carrier" else 2
        docker.on_create = lambda: raise_(error) if len(docker.made) == made else None
    with pytest.raises(type(error)):
        run(docker.far_engine(), Mount(folder, "/hallmark"))
    assert left(docker) == [] and docker.volumes == {} and docker.seen == []


def test_a_copy_that_was_not_taken_runs_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker = FarDocker()
    monkeypatch.setattr(FarContainer, "put_archive", lambda *_: False)
    with pytest.raises(APIError, match="did not take /hallmark"):
        run(docker.far_engine(), Mount(folder, "/hallmark"))
    assert left(docker) == [] and docker.seen == []


def test_an_interruption_on_the_way_leaves_nothing(folder: Path) -> None:
    docker = FarDocker()
    docker.on_put = lambda: raise_(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run(docker.far_engine(), Mount(folder, "/hallmark"))
    assert left(docker) == [] and docker.volumes == {}


def test_what_fails_there_says_where_and_how_it_goes_on() -> None:
    docker = FarDocker()
    engine = docker.far_engine()
    docker.alive = False
    with pytest.raises(Undecided, match="the engine failed") as caught, engine.explaining():
        engine.client.info()
    [problem] = caught.value.problems
    assert problem.place == HOST and caught.value.exit_code is ExitCode.INCONCLUSIVE
    assert f"docker --host {HOST} version" in problem.next_step and "goes on with what is left" in problem.next_step


def test_carriers_of_runs_that_were_killed_are_removed_after_a_day(folder: Path) -> None:
    docker = FarDocker()
    old, new, other = (FarContainer(docker, name) for name in ("hallmark-1", "hallmark-2", "mine"))
    new.made_at = datetime.fromtimestamp(time.time() - 3600, UTC).isoformat()
    for each in (old, new, other):
        docker.made[each.name] = each
    old.mounts, old.anonymous = {"/hallmark": ("v", True)}, {"v"}
    docker.volumes["v"] = {}
    remove_left(docker.far_engine())
    assert left(docker) == ["hallmark-2", "mine"] and docker.volumes == {}


# --- how it is opened


def use(monkeypatch: pytest.MonkeyPatch, version: str, store: str = CONTAINERD) -> list[Any]:
    asked: list[Any] = []

    class Client:
        containers = None

        def info(self) -> dict[str, Any]:
            return {"DriverStatus": [["driver-type", store]]}

    def connect(*given: Any) -> Client:
        asked.append(given)
        return Client()

    monkeypatch.setattr(module, "ask_version", lambda *given: {"Version": version, "ApiVersion": "1.45"})
    monkeypatch.setattr(module, "connect", connect)
    return asked


def test_an_engine_that_will_do_is_asked_with_the_users_own_contexts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", "/home/me/.docker")
    asked = use(monkeypatch, "26.1.5+dfsg1")
    engine = open_remote("gpubox", "/opt/engine/bin:/usr/bin")
    assert (engine.host, engine.version, engine.away, engine.embedded) == ("gpubox", "26.1.5+dfsg1", True, False)
    [(address, environment, api, _)] = asked
    assert (address, api) == ("gpubox", "1.45")
    assert (environment["PATH"], environment["DOCKER_CONFIG"]) == ("/opt/engine/bin:/usr/bin", "/home/me/.docker")


@pytest.mark.parametrize(
    ("version", "store", "why"),
    [("25.0.5", CONTAINERD, "is too old"), ("28.5.1", "overlay2", "does not use the containerd image store")],
)
def test_an_engine_that_will_not_do_leaves_it_open(
    version: str, store: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, version, store)
    with pytest.raises(Undecided, match=why) as caught:
        open_remote(HOST, None)
    [problem] = caught.value.problems
    assert problem.place == HOST and "Docker Engine 26 or newer" in problem.next_step
