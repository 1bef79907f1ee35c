"""The embedded engine is alone in its network, is started once, and holds on to nothing of ours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from scripts.engine import embedded as module
from scripts.engine.embedded import Embedded
from scripts.errors import Undecided
from scripts.model import LockedFile
from tests.unit.builders import lock_bytes
from tests.unit.debs import make_deb

PACKAGES = [lock_bytes(b"docker", file="docker.deb", kind="deb")]


class Lab:
    """An embedded engine whose daemon is a note of how it was started, and answers from then on."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, monkeypatch
        self.started: list[tuple[list[str], dict[str, Any]]] = []
        self.answers = False
        self.starts_well = True
        self.process: int | None = None
        self.engine = Embedded(folder / "engine")
        monkeypatch.setattr(Embedded, "run", folder / "run")
        monkeypatch.setattr(Embedded, "_pid", lambda _: self.process)
        monkeypatch.setattr(Embedded, "_ask_version", lambda _: "26.1.5" if self.answers else "")
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        monkeypatch.setattr(module, "START_S", 0.05)
        monkeypatch.setattr(module, "STOP_S", 0.05)
        monkeypatch.setattr(subprocess, "Popen", self._start)

    def _start(self, command: list[str], **options: Any) -> None:
        self.started.append((command, options))
        self.answers = self.starts_well
        self.process = 4711

    def up(self, fetch: Callable[[], Sequence[Path]] = lambda: []) -> Any:
        if not self.engine.programs(PACKAGES).is_dir():
            self.engine.programs(PACKAGES).mkdir(parents=True)
        return self.engine.up(PACKAGES, fetch)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(tmp_path, monkeypatch)


# --- how it is started


def test_it_has_a_network_of_its_own_and_touches_no_other(lab: Lab) -> None:
    lab.up()
    [(command, _)] = lab.started
    assert command[:3] == ["unshare", "--net", "dockerd"], "in the host's network it would delete the host's bridge"
    assert command[command.index("--bridge") + 1] == "none"
    assert {"--iptables=false", "--ip6tables=false"} <= set(command)


def test_it_has_a_socket_and_folders_of_its_own(lab: Lab) -> None:
    engine = lab.up()
    [(command, _)] = lab.started
    value = {word: command[at + 1] for at, word in enumerate(command) if word.startswith("--") and "=" not in word}
    assert value["--host"] == engine.host == f"unix://{lab.folder}/run/docker.sock"
    assert value["--data-root"] == str(lab.folder / "engine/data")
    assert value["--exec-root"] == str(lab.folder / "run/exec")
    assert value["--pidfile"] == str(lab.folder / "run/docker.pid")
    assert json.loads(Path(value["--config-file"]).read_text())["features"]["containerd-snapshotter"] is True
    assert (engine.embedded, engine.version) == (True, "26.1.5")


def test_it_inherits_no_pipe_that_somebody_waits_at_and_no_lock(lab: Lab) -> None:
    lab.up()
    [(_, options)] = lab.started
    assert options["stdin"] == subprocess.DEVNULL
    assert options["stdout"] is options["stderr"] and options["stdout"].name == str(lab.engine.log)
    assert options.get("close_fds", True) and not options.get("pass_fds")
    assert options["start_new_session"] is True, "Ctrl-C is for the build, not for the engine"


def test_its_programs_are_found_before_the_hosts(lab: Lab) -> None:
    engine = lab.up()
    [(_, options)] = lab.started
    programs = lab.engine.programs(PACKAGES)
    for environment in (options["env"], engine.environment):
        assert environment["PATH"].startswith(f"{programs}/usr/bin:{programs}/usr/sbin:")
    plugin = Path(engine.environment["DOCKER_CONFIG"]) / "cli-plugins/docker-buildx"
    assert plugin.readlink() == programs / "usr/libexec/docker/cli-plugins/docker-buildx"


# --- how often


def test_one_that_answers_is_not_started_again(lab: Lab) -> None:
    assert lab.up() == lab.up()
    assert len(lab.started) == 1


def test_one_that_is_there_and_does_not_answer_yet_is_waited_for(lab: Lab) -> None:
    lab.process = 4711
    asked: list[int] = []

    def ask(_: Embedded) -> str:
        asked.append(1)
        return "26.1.5" if len(asked) > 2 else ""

    lab.patch.setattr(Embedded, "_ask_version", ask)
    assert lab.up().version == "26.1.5"
    assert lab.started == []


def test_one_that_runs_is_found_and_one_that_does_not_is_not_started(lab: Lab) -> None:
    assert lab.engine.find(PACKAGES) is None
    lab.process = 4711
    assert lab.engine.find(PACKAGES) is None, "it does not answer"
    lab.answers = True
    assert lab.engine.find(PACKAGES) == lab.up()
    assert lab.started == []


def test_looking_for_it_writes_nothing(lab: Lab) -> None:
    lab.process, lab.answers = 4711, True
    engine = lab.engine.find(PACKAGES)
    assert engine and engine.embedded and engine.version == "26.1.5"
    assert not lab.engine.folder.exists()


def test_one_that_does_not_start_is_undecided_and_shows_its_log(lab: Lab) -> None:
    lab.starts_well = False

    def start(command: list[str], **options: Any) -> None:
        options["stdout"].write(b"first\n" * 10 + b"failed to mount overlay\n")

    lab.patch.setattr(subprocess, "Popen", start)
    with pytest.raises(Undecided, match="did not start within") as caught:
        lab.up()
    assert str(caught.value).count("first") == 4 and "failed to mount overlay" in str(caught.value)
    assert caught.value.problems[0].place == str(lab.engine.log)


def test_whoever_is_not_root_is_told_what_to_do(lab: Lab) -> None:
    lab.patch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Undecided, match="needs root") as caught:
        lab.up()
    assert lab.started == [] and "install Docker Engine 26" in caught.value.problems[0].next_step


def test_a_pid_file_that_a_dead_engine_left_is_removed_before_a_new_one_starts(lab: Lab) -> None:
    (lab.folder / "run").mkdir()
    (lab.folder / "run/docker.pid").write_text("1")
    lab.up()
    assert len(lab.started) == 1 and not (lab.folder / "run/docker.pid").exists()


# --- its programs


def test_packages_are_fetched_and_unpacked_once(lab: Lab, tmp_path: Path) -> None:
    members = [("./usr/sbin/dockerd", b"#!"), ("./etc/default/docker", b"no"), ("./usr/bin/../../x", b"no")]
    deb = make_deb(tmp_path / "docker.deb", members)
    fetched: list[Sequence[LockedFile]] = []

    def fetch() -> list[Path]:
        fetched.append(PACKAGES)
        return [deb]

    for _ in range(2):
        lab.engine.up(PACKAGES, fetch)
    assert len(fetched) == 1
    programs = lab.engine.programs(PACKAGES)
    files = [path.relative_to(programs).as_posix() for path in programs.rglob("*") if path.is_file()]
    assert files == ["usr/sbin/dockerd"]
    assert (programs / "usr/sbin/dockerd").stat().st_mode & 0o777 == 0o755


def test_other_packages_lie_in_another_folder(lab: Lab) -> None:
    other = [lock_bytes(b"newer", file="docker.deb", kind="deb")]
    assert lab.engine.programs(PACKAGES) != lab.engine.programs(other)


# --- its end


def test_one_that_does_not_run_needs_no_stopping(lab: Lab) -> None:
    assert lab.engine.down() is False
    assert lab.engine.status() == "embedded engine: not running"


def test_stopping_asks_and_waits(lab: Lab) -> None:
    lab.up()
    signals: list[tuple[int, int]] = []

    def kill(pid: int, number: int) -> None:
        signals.append((pid, number))
        lab.process = None

    lab.patch.setattr(os, "kill", kill)
    assert lab.engine.is_running and "26.1.5" in lab.engine.status() and "4711" in lab.engine.status()
    assert lab.engine.down() is True
    assert signals == [(4711, signal.SIGTERM)]
    assert not lab.engine.is_running and not (lab.folder / "run").exists()


def test_one_that_does_not_stop_is_named_and_never_killed(lab: Lab) -> None:
    lab.up()
    signals: list[int] = []
    lab.patch.setattr(os, "kill", lambda pid, number: signals.append(number))
    with pytest.raises(Undecided, match=r"dockerd \(process 4711\) does not stop") as caught:
        lab.engine.down()
    assert signals == [signal.SIGTERM] and caught.value.problems[0].next_step == "kill -9 4711"


# --- whose process it is


@pytest.mark.parametrize("pid", ["", "no number", "999999999"])
def test_a_pid_file_that_names_no_process_is_none(pid: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Embedded, "run", tmp_path)
    (tmp_path / "docker.pid").write_text(pid)
    assert not Embedded(tmp_path / "engine").is_running


def test_a_process_that_took_a_dead_engines_number_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Embedded, "run", tmp_path)
    (tmp_path / "docker.pid").write_text(str(os.getpid()))
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("somebody else's process"))
    assert Embedded(tmp_path / "engine").down() is False
