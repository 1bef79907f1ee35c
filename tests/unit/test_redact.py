"""Nothing that names a person, a machine, a place or a device is left; versions are."""

from __future__ import annotations

import getpass
import os
import platform
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripts.doctor.probes import Probes
from scripts.doctor.seen import Disk, RegistrySeen, Unseen
from scripts.doctor.text import render_report
from scripts.errors import Undecided
from scripts.redact import Private, add_private, find_private, redact
from scripts.site import Site
from tests.unit.doctor.made import GB, H200, RTX, fail, look, make_engine, write_gpu_project
from tests.unit.fake_docker import raise_

PRIVATE = Private(
    words=frozenset({"tower", "alice"}),
    folders=frozenset({"/home/alice", "/srv/my builds/hallmark", "/"}),
    names=frozenset({"registry.corp:5000/team", "registry.corp:5000"}),
)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("on tower, tower.lan and Tower: alice's", "on <name>, <name> and <name>: <name>'s"),
        ("alice_2 on tower-eth0", "<name>_2 on <name>-eth0"),
        ("malice and towers stay", "malice and towers stay"),
        ("/home/alice/x y", "<path> y"),
        ("'/srv/my builds/hallmark/a': full", "'<path>': full"),
        ("no space on /mnt/disk 2", "no space on <path> 2"),
        ("~/.docker/config.json is damaged", "<path> is damaged"),
        ("at unix:///run/x.sock.", "at <address>."),
        ("GET https://u:p@other.corp/v2/: HTTP 500", "GET <address>: HTTP 500"),
        ("registry.corp:5000/team/vllm:1.0", "<address>/vllm:1.0"),
        ("HTTPConnectionPool(host='h.corp', port=1)", "HTTPConnectionPool(host=<address>, port=1)"),
        ("write to bob@corp.example", "write to <address>"),
        ("10.0.0.1: refused, tcp:192.168.1.7.", "<address>: refused, tcp:<address>."),
        ("fe80::1%eth0, [2001:db8::7]:80, ::1: no", "<address>, [<address>]:80, <address> no"),
        ("at tcp:fe80::1", "at tcp:<address>"),
        ("aa:bb:cc:dd:ee:0f", "<address>"),
        ("GPU-8f3c5a10-1111-2222-3333-0123456789ab, MIG-8f3c", "<id>, <id>"),
        ("8F3C5A10-1111-2222-3333-0123456789AB", "<id>"),
    ],
)
def test_what_is_private_has_a_word_in_its_place(text: str, left: str) -> None:
    assert redact(text, PRIVATE) == left


@pytest.mark.parametrize(
    "text",
    [
        "✓ gpu        driver 570.124.06: 2 × NVIDIA GeForce RTX 5090 (12.0)",
        "host's Docker Engine 26.1.5+dfsg1-9+deb13u1, containerd image store, buildx v0.30.1",
        "Python 3.11.2, Linux 5.15.153.1-microsoft-standard-WSL2, x86_64, 16 processors",
        "2026-11-29 06:23:44 UTC, 0 s from the registry's",
        "hallmark/vllm:0.19.1-cu128-5090-wheel, `nox -s build-5090 -- vllm-cu128-5090-wheel`",
        "revision 0123456789ab, with changes",
        "installed and/or GPU-accelerated, HTTP/1.1",
        "void at::native::add<c10::Half>, std::vector, deep_gemm::sm90_fp8",
        "copy_kernel(at::TensorIteratorBase&)::{lambda()#3}::operator()() const::{lambda()#4}",
    ],
)
def test_what_an_issue_needs_stays(text: str) -> None:
    assert redact(text, PRIVATE) == text


# --- what is private here


def test_names_of_the_machine_and_of_who_asks_are_private(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(platform, "node", lambda: "tower.corp.example")
    monkeypatch.setattr(getpass, "getuser", lambda: "alice")
    monkeypatch.setenv("HOME", str(tmp_path / "al"))
    monkeypatch.setenv("DOCKER_HOST", "tcp://far.example:2375")
    found = find_private()
    assert found.words == {"tower.corp.example", "tower", "alice", "al"}
    assert {str(tmp_path / "al"), str(Path.cwd())} <= found.folders
    assert found.names == {"tcp://far.example:2375"}


def test_names_that_everybody_has_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "localhost")
    monkeypatch.setattr(getpass, "getuser", lambda: "root")
    monkeypatch.setenv("HOME", "/")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    found = find_private()
    assert not found.words and not found.names


def test_a_user_without_an_account_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "tower")
    monkeypatch.setattr(getpass, "getuser", lambda: raise_(KeyError("uid not found")))
    monkeypatch.setenv("HOME", "/")
    assert find_private().words == {"tower"}


# --- the whole report, with something private in every probe

NAME = st.from_regex(r"[a-z][a-z0-9]{1,8}(-[a-z0-9]{1,5})?", fullmatch=True)


@dataclass(frozen=True)
class Secrets:
    host: str
    user: str
    ipv4: IPv4Address
    ipv6: IPv6Address
    id: uuid.UUID

    @property
    def home(self) -> str:
        return f"/home/{self.user}"

    @property
    def text(self) -> str:
        """A sentence with all of them, as errors and versions have them."""
        return (
            f"{self.host}: {self.user} cannot open {self.home}/my.file at {self.ipv4}:5000, [{self.ipv6}]:80 or "
            f"tcp://{self.host}.corp:2375 ({self.user}@{self.host}; GPU-{self.id}, {self.id}; '{self.home}')"
        )

    def find_in(self, text: str) -> list[str]:
        """Those that a text has, other than in the words that stand in their place."""
        text = re.sub(r"<(?:name|path|address|id)>|```(?:text)?", "", text)
        words = [self.host, self.user, self.home, str(self.ipv4), str(self.id), "checkout-of-mine", "private.example"]
        found = [word for word in words if re.search(rf"(?i)(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])", text)]
        return found + [str(self.ipv6)] * (f"[{self.ipv6}]" in text)


SECRETS = st.builds(Secrets, NAME, NAME, st.ip_addresses(v=4), st.ip_addresses(v=6), st.uuids())


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in [name for name in os.environ if name.startswith("HALLMARK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HALLMARK_REGISTRY", "private.example:5000/team")
    write_gpu_project(tmp_path / "checkout-of-mine")
    yield tmp_path / "checkout-of-mine"


def plant(secrets: Secrets) -> dict[str, Any]:
    """Probes that say something private in everything that they say."""
    text = secrets.text
    info = {"Name": secrets.host, "DockerRootDir": f"{secrets.home}/docker", "CgroupVersion": text, "MemoryLimit": True}
    return {
        "engine": make_engine(embedded=True, why=text, lacking=text, next_step=text, version=text, info=info),
        "gpus": [replace(RTX, trouble=text, uuid=f"GPU-{secrets.id}"), replace(H200, name=text, driver=text)],
        "access": lambda *_: text,
        "disk": lambda folder: Disk(Path(secrets.home), 1, 900 * GB, writable=False),
        "registry": RegistrySeen("private.example", credentials=False, refusal=Unseen(text, text)),
        "revision": text,
        "system": text,
        "private": Private(frozenset({secrets.host, secrets.user}), frozenset({secrets.home})),
    }


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(secrets=SECRETS)
def test_a_report_says_nothing_private_whatever_the_probes_say(secrets: Secrets, root: Path) -> None:
    found = look(root, **plant(secrets))
    assert secrets.find_in("\n".join(finding.text for finding in found.findings)), "nothing was planted"
    assert secrets.find_in("\n".join(render_report(found))) == []


@pytest.mark.parametrize("kind", [OSError, Undecided, RuntimeError])
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(secrets=SECRETS)
def test_a_report_says_nothing_private_however_the_probes_fail(kind: Any, secrets: Secrets, root: Path) -> None:
    error = OSError(13, secrets.text, f"{secrets.home}/x") if kind is OSError else kind(secrets.text)
    probes = {field.name: fail(error) for field in fields(Probes)} | {"private": plant(secrets)["private"]}
    found = look(root, **probes)
    assert secrets.find_in("\n".join(finding.text for finding in found.findings)), "nothing was planted"
    assert secrets.find_in("\n".join(render_report(found))) == []


def test_where_nobody_knows_what_is_private_the_report_says_next_to_nothing(root: Path) -> None:
    found = look(root, system="the system", private=fail(OSError("no")))
    lines = render_report(found)
    assert "the system" not in "\n".join(lines) and "0123456789ab" not in "\n".join(lines)
    assert lines[2:4] == ["✓ engine", "✓ gpu"]


@pytest.mark.parametrize(
    ("host", "text", "left"),
    [
        (
            "ssh://me@gpubox.corp:2222",
            "ssh: connect to host gpubox port 22, as me",
            "ssh: connect to host <name> port 22, as <name>",
        ),
        (
            "ssh://me@gpubox.corp",
            "the GPU of ssh://me@gpubox.corp failed at gpubox.corp",
            "the GPU of <address> failed at <name>",
        ),
        ("tcp://10.0.0.7:2376", "dial tcp 10.0.0.7:2376, CUDA 10.0", "dial tcp <address>:2376, CUDA 10.0"),
        ("tcp://[fd00::7]:2376", "dial tcp [fd00::7]:2376", "dial tcp [<address>]:2376"),
        ("tower-gpu", "the GPU of tower-gpu failed", "the GPU of <address> failed"),
        ("", "root of all", "root of all"),
        ("ssh://root@localhost", "root of all on localhost", "root of all on localhost"),
    ],
)
def test_the_gpu_hosts_names_are_private(host: str, text: str, left: str, tmp_path: Path) -> None:
    site = Site("auto", "", (), (), tmp_path, gpu_host=host)
    assert redact(text, add_private(Private(), "", "", site, [])) == left
