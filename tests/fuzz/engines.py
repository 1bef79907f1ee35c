"""Engines: what one answers over its API, and what a build prints of its progress."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import docker
import requests

from scripts.audit.local import find_local, read_export, read_local
from scripts.buildkit.progress import Progress
from scripts.doctor.engines import judge_cgroup, judge_engine
from scripts.doctor.find_engine import _ask
from scripts.doctor.seen import Unseen
from scripts.engine import Engine, probe_host
from scripts.engine.images import digest_of_tag, has_image, list_images, remove_image, set_tag, tags_of
from scripts.engine.sandbox import remove_abandoned
from scripts.serve.container import remove_leftover
from scripts.serve.subject import find_server
from scripts.smoke.gpu import request_device
from scripts.smoke.trial import run_trial
from tests.fuzz.mutate import mutate_json
from tests.fuzz.subject import Subject, choose
from tests.unit.builders import SCENARIO, make_cell
from tests.unit.buildkit.streams import output
from tests.unit.fake_docker import FakeEngine
from tests.unit.pipeline.lab import RTX_5090
from tests.unit.registry.fake_registry import reply

DIGEST = "sha256:" + "a" * 64
_INFO = {
    "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
    "DockerRootDir": "/var/lib/docker",
    "DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}],
    "Runtimes": {"nvidia": {"path": "x"}, "runc": {"path": "runc"}},
    "MemoryLimit": True,
    "PidsLimit": True,
    "SwapLimit": False,
    "CgroupVersion": "2",
    "Name": "host",
    "SecurityOptions": ["name=seccomp,profile=builtin"],
}
_STATE = {"ExitCode": 0, "OOMKilled": False, "Status": "exited", "FinishedAt": "2026-01-02T03:04:05.678Z", "Pid": 7}
ANSWERS: dict[str, Any] = {
    "version": {"Version": "28.5.1", "ApiVersion": "1.51"},
    "info": _INFO,
    "image": {"Id": DIGEST, "RepoTags": ["a:b"], "Config": {"Entrypoint": ["vllm", "serve"], "Volumes": None}},
    "images": [{"Id": DIGEST, "RepoTags": ["a:b"]}],
    "create": {"Id": "c0ffee", "Warnings": []},
    "container": {"Id": "c0ffee", "Name": "/hallmark-1", "State": _STATE, "Config": {"Tty": False, "Image": DIGEST}},
    "containers": [{"Id": "c0ffee", "Names": ["/hallmark-1"]}],
    "wait": {"StatusCode": 0},
    "networks": [{"Name": "hallmark-8000", "Id": "n"}],
    "logs": '{"end": 0}\n',
    "buildx": "github.com/docker/buildx v0.29.1 abc",
    "status": {},
}


def make_answers() -> list[bytes]:
    """An engine that is well, and some that refuse in the ways that engines do."""
    other: list[dict[str, Any]] = [
        {},
        {"image": {"message": "No such image"}, "status": {"image": 404}},
        {"info": {"message": "no"}, "status": {"info": 500, "create": 409, "start": 500}},
        {"container": {**ANSWERS["container"], "State": {**_STATE, "ExitCode": 137, "OOMKilled": True}}},
    ]
    return [json.dumps(ANSWERS | each).encode() for each in other]


class _Socket(requests.adapters.BaseAdapter):
    """Answers each request as the input says."""

    def __init__(self) -> None:
        super().__init__()
        self.said: dict[str, Any] = {}

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:  # type: ignore[override]
        kind = _kind_of(str(request.method), urlsplit(str(request.url)).path.partition("/v1.44")[2])
        body, status = self.said.get(kind), self.said.get("status")
        code = status.get(kind, 200) if isinstance(status, dict) else 200
        code = code if isinstance(code, int) and 100 <= code <= 999 else 200
        if kind == "logs":
            text = str(body).encode("utf-8", "replace")
            return reply(request, code, struct.pack(">BxxxL", 1, len(text)) + text)
        data = body if isinstance(body, str) and kind == "export" else json.dumps(body)
        return reply(request, code, data.encode("utf-8", "replace"), {"Content-Type": "application/json"})

    def close(self) -> None:
        pass


def _kind_of(method: str, path: str) -> str:
    first, *rest = path.strip("/").split("/")
    if first == "images":
        return {"json": "images" if len(rest) == 1 else "image", "get": "export", "load": "load"}.get(rest[-1], "done")
    if first == "containers":
        names = {"json": "containers" if len(rest) == 1 else "container", "create": "create", "wait": "wait"}
        return names.get(rest[-1], rest[-1] if rest[-1] in ("logs", "start") else "done")
    return first if first in ("version", "info", "networks") else "done"


@cache
def _client() -> tuple[docker.DockerClient, _Socket]:
    client, socket = docker.DockerClient(base_url="tcp://127.0.0.1:9", version="1.44"), _Socket()
    client.api.mount("http://", socket)
    client.api.trust_env = False
    return client, socket


class _Engine(FakeEngine):
    """Its command line prints what the input says."""

    def query(self, arguments: list[str]) -> str:
        return str(_client()[1].said.get("buildx"))


def ask(data: bytes, folder: Path) -> None:
    """Ask an engine one of the things that engines are asked."""
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        return
    client, socket = _client()
    socket.said = said if isinstance(said, dict) else {}
    engine: Engine = _Engine("unix:///run/fake.sock", embedded=False, version="28.5.1")
    engine.__dict__["client"] = client
    with ExitStack() as stack:
        stack.enter_context(patch("scripts.engine.host.Client", lambda *_: client))
        stack.enter_context(patch("scripts.engine.host.subprocess.run"))
        stack.enter_context(patch("scripts.engine.sandbox.KILL_S", 0))
        choose(_CALLS, data)(engine, folder)


def _doctor(engine: Engine, folder: Path) -> None:
    seen = _ask(engine)
    for finding in (judge_engine(seen), judge_cgroup(Unseen("not asked"), seen)):
        str(finding.text)


_CALLS: tuple[Callable[[Engine, Path], object], ...] = (
    lambda engine, folder: probe_host(),
    lambda engine, folder: engine.data_root,
    _doctor,
    lambda engine, folder: request_device(engine, RTX_5090),
    lambda engine, folder: (has_image(engine, DIGEST), tags_of(engine, DIGEST), digest_of_tag(engine, "a:b")),
    lambda engine, folder: list_images(engine),
    lambda engine, folder: set_tag(engine, DIGEST, "a:b"),
    lambda engine, folder: remove_image(engine, "a:b"),
    lambda engine, folder: remove_abandoned(engine),
    lambda engine, folder: remove_leftover(engine, "hallmark-8000"),
    lambda engine, folder: find_server(engine, make_cell(), DIGEST),
    lambda engine, folder: find_local(engine, "a:b"),
    lambda engine, folder: read_local(engine, "a:b"),
    lambda engine, folder: read_export(engine, DIGEST, lambda text: None),
    lambda engine, folder: run_trial(engine, DIGEST, folder, SCENARIO, {}),
)


def make_progress() -> list[bytes]:
    """What buildx prints, in both of its forms."""
    vertex = {"digest": "sha256:1", "name": "[2/4] RUN make", "started": "2026-01-02T03:04:05.6Z"}
    messages: list[dict[str, Any]] = [
        {"vertexes": [vertex]},
        output("sha256:1", b"cc -o x\n50%\r60%"),
        {"statuses": [{"vertex": "sha256:1", "id": "sha256:2", "current": 10, "total": 100, "completed": "x"}]},
        {"warnings": [{"vertex": "sha256:1", "short": "bm8="}]},
        {"vertexes": [{**vertex, "completed": "2026-01-02T03:04:09Z", "error": "exit code: 1"}]},
    ]
    lines = [json.dumps(each) for each in messages]
    return [
        "\n".join([*lines, "ERROR: no"]).encode(),
        "\n".join(json.dumps(each, indent=1) for each in messages).encode(),
    ]


def mutate_lines(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    lines = data.split(b"\n")
    for _ in range(random.choice((1, 1, 2))):
        place = random.randrange(len(lines))
        lines[place] = mutate_json(random, lines[place], lines)
    return b"\n".join(lines)


def follow(data: bytes, folder: Path) -> None:
    progress = Progress()
    for line in data.decode("utf-8", "replace").split("\n"):
        progress.feed(line)
        _ = progress.text
    progress.end()
    _ = progress.failure


SUBJECTS = (
    Subject("engine", 25_000, make_answers, mutate_json, ask),
    Subject("progress", 90_000, make_progress, mutate_lines, follow),
)
