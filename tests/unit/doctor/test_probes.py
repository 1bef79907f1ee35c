"""The probes, each on a machine that is a few files, and all of them without a trace left behind."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from collections import namedtuple
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scripts.doctor import probes as module
from scripts.doctor.probes import (
    Probes,
    ask_registry,
    count_nvidia_devices,
    describe_system,
    find_access,
    find_tags_in_engine,
    find_tags_in_registry,
    look_at_disk,
    look_at_gate,
    read_cgroup,
    read_clock,
    read_memory,
    read_revision,
)
from scripts.doctor.seen import Cgroup, Memory
from scripts.errors import ConfigError, Undecided
from scripts.oci.descriptor import OCI_MANIFEST
from scripts.registry.client import Manifest
from scripts.registry.failures import RegistryRefused
from scripts.registry.withdrawn import make_withdrawal
from scripts.smoke.gpu import find_gpus
from tests.unit.builders import write
from tests.unit.doctor.made import RTX
from tests.unit.fake_docker import FakeDocker, FarDocker, raise_

Usage = namedtuple("Usage", "total used free")


def test_gpus_are_counted_on_the_bus_and_nothing_else_is(tmp_path: Path) -> None:
    devices = [("0x10de", "0x030000"), ("0x10de", "0x030200"), ("0x10de", "0x040300"), ("0x8086", "0x030000")]
    for number, (vendor, kind) in enumerate(devices):
        write(tmp_path / f"{number}/vendor", f"{vendor}\n")
        write(tmp_path / f"{number}/class", f"{kind}\n")
    (tmp_path / "gone").mkdir()
    assert count_nvidia_devices(tmp_path) == 2
    assert count_nvidia_devices(tmp_path / "no-bus") == 0


def test_how_a_gpu_is_handed_out_is_what_a_test_would_ask_for() -> None:
    docker = FakeDocker()
    docker.info = lambda: {"Runtimes": {"nvidia": {}}}  # type: ignore[method-assign]
    assert find_access(docker.engine(), RTX) == "nvidia"
    docker.info = lambda: {"DiscoveredDevices": [{"ID": "nvidia.com/gpu=0"}]}  # type: ignore[method-assign]
    assert find_access(docker.engine(), RTX) == "cdi"
    docker.info = dict  # type: ignore[method-assign]
    with pytest.raises(Undecided, match="NVIDIA Container Toolkit"):
        find_access(docker.engine(), RTX)


def test_a_disk_is_that_of_the_folder_or_of_where_it_would_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10, 3, 7) if path == tmp_path else raise_(OSError()))
    found = look_at_disk(tmp_path / "not/yet")
    assert (found.folder, found.free, found.writable) == (tmp_path / "not/yet", 7, True)
    assert found.device == tmp_path.stat().st_dev
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_we_may_not_write_to_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert not look_at_disk(tmp_path).writable


def test_a_folder_that_cannot_be_reached_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "stat", lambda self: raise_(PermissionError(13, "Permission denied", str(self))))
    with pytest.raises(PermissionError):
        look_at_disk(tmp_path / "locked")


def test_memory_is_read_in_bytes(tmp_path: Path) -> None:
    file = write(
        tmp_path / "meminfo", "MemTotal:       1000 kB\nMemFree:  1 kB\nMemAvailable:    600 kB\nHugePages_Total: 0\n"
    )
    assert read_memory(file) == Memory(1024000, 614400)
    with pytest.raises(KeyError):
        read_memory(write(tmp_path / "old", "MemTotal: 1000 kB\n"))


def test_control_groups_are_told_by_their_files(tmp_path: Path) -> None:
    write(tmp_path / "two/cgroup.controllers", "cpuset cpu io memory pids\n")
    write(tmp_path / "poor/cgroup.controllers", "cpuset cpu\n")
    (tmp_path / "one/memory").mkdir(parents=True)
    (tmp_path / "bare/cpu").mkdir(parents=True)
    found = [read_cgroup(tmp_path / name) for name in ("two", "poor", "one", "bare")]
    assert found == [Cgroup("2", True), Cgroup("2", False), Cgroup("1", True), Cgroup("1", False)]
    with pytest.raises(OSError, match="No such file"):
        read_cgroup(tmp_path / "none")


def test_the_newest_time_is_that_of_any_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 50.0)
    assert read_clock(tmp_path).newest == 0
    write(tmp_path / "matrix.lock", "version = 1\nepoch = 10\n")
    write(tmp_path / "images/a/lock/x.toml", "# epoch = 99\nepoch = 30\nfile = []\n")
    write(tmp_path / "images/b/lock/x.toml", "epoch = 20\n")
    write(tmp_path / "images/b/lock/y.toml", "version = 1\n")
    assert (read_clock(tmp_path).now, read_clock(tmp_path).newest) == (50.0, 30)


# --- the registry


class Transport:
    """Answers with these headers, or raises."""

    def __init__(self, headers: dict[str, str] | None = None, error: Exception | None = None) -> None:
        self.headers, self.error = headers or {}, error
        self.sent: list[str] = []

    def send(self, repository: Any, method: str, url: str, expected: tuple[int, ...]) -> Any:
        self.sent.append(f"{method} {url}")
        if self.error:
            raise self.error
        return SimpleNamespace(headers=self.headers)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """The hosts that credentials are kept for."""
    hosts: dict[str, bool] = {}
    monkeypatch.setattr(module, "find_credentials", hosts.get)
    return hosts


def test_a_registry_is_asked_once_and_tells_the_time(known: dict[str, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)
    known["r.example:5000"] = True
    transport: Any = Transport({"Date": formatdate(1_800_000_090, usegmt=True)})
    seen = ask_registry("r.example:5000/team", transport)
    assert (seen.host, seen.credentials, seen.ahead, seen.refusal) == ("r.example:5000", True, 90.0, None)
    assert transport.sent == ["GET https://r.example:5000/v2/"]


@pytest.mark.parametrize("headers", [{}, {"Date": "yesterday"}])
def test_a_registry_that_tells_no_time_is_well(headers: dict[str, str], known: dict[str, bool]) -> None:
    transport: Any = Transport(headers)
    seen = ask_registry("r.example/team", transport)
    assert (seen.credentials, seen.ahead) == (False, None)


def test_a_registry_that_refuses_is_not_asked_again(known: dict[str, bool]) -> None:
    transport: Any = Transport(error=RegistryRefused("HTTP 401", "GET x", "log in"))
    seen = ask_registry("r.example/team", transport)
    assert seen.refusal and (seen.refusal.cause, seen.refusal.next_step) == ("GET x: HTTP 401", "log in")
    assert len(transport.sent) == 1


def test_a_name_that_no_registry_has_is_not_asked(known: dict[str, bool]) -> None:
    transport: Any = Transport()
    with pytest.raises(ConfigError, match="not a repository"):
        ask_registry("https://r.example", transport)
    assert transport.sent == []


def test_tags_are_looked_up_one_by_one() -> None:
    class Registry:
        def get_manifest(self, repository: object, tag: str) -> Manifest | None:
            held = {"1.0": Manifest(b"{}", OCI_MANIFEST), "3.0": make_withdrawal("sha256:" + "1" * 64, "rejected")}
            return held.get(tag) if str(repository) == "r.example/team/serve" else None

    registry: Any = Registry()
    wanted = [("serve", "1.0"), ("serve", "2.0"), ("serve", "3.0"), ("train", "1.0")]
    assert find_tags_in_registry("r.example/team", wanted, registry) == {("serve", "1.0")}
    docker = FakeDocker()
    docker.tags = {"sha256:1": {"hallmark/train:1.0", "other/serve:1.0"}}
    assert find_tags_in_engine(docker.engine(), wanted) == {("train", "1.0")}


# --- what a report says, and what it does not


def test_the_revision_says_whether_the_files_are_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers = {"rev-parse": (0, "0123456789ab\n"), "status": (0, " M README.md\n")}

    def run(command: list[str], **_: Any) -> Any:
        assert command[:4] == ["git", "--no-optional-locks", "-C", str(tmp_path)]
        code, output = answers[command[4]]
        return SimpleNamespace(returncode=code, stdout=output)

    monkeypatch.setattr(subprocess, "run", run)
    assert read_revision(tmp_path) == "0123456789ab, with changes"
    answers["status"] = (0, "")
    assert read_revision(tmp_path) == "0123456789ab"
    answers["rev-parse"] = (128, "")
    with pytest.raises(ValueError, match="git knows no revision"):
        read_revision(tmp_path)


def test_the_system_is_told_by_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "release", lambda: "6.1.0-40-amd64")
    assert "6.1.0-40-amd64" in describe_system() and platform.node() not in describe_system().split()


def test_the_gpus_are_those_that_a_test_of_an_image_would_find() -> None:
    assert Probes().gpus is find_gpus


def test_another_machine_is_asked_for_its_version_and_its_way_to_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    docker = FarDocker()
    monkeypatch.setattr("scripts.doctor.probes.open_remote", lambda address, path: docker.far_engine())
    seen = look_at_gate("ssh://me@gpubox", None)
    assert (seen.address, seen.version, seen.access) == ("ssh://me@gpubox", "28.5.1", "")
    assert seen.refusal and "has no NVIDIA runtime" in seen.refusal.cause and docker.created == []
    there = docker.info() | {"Runtimes": {"nvidia": {}}}
    monkeypatch.setattr(docker, "info", lambda: there)
    assert look_at_gate("ssh://me@gpubox", None).access == "nvidia"
