from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from threading import Barrier
from typing import Any

import pytest

from scripts.assemble.bytecode import SandboxCompiler
from scripts.buildkit.builder import EngineBuilder
from scripts.errors import ConfigError, HallmarkError
from scripts.pipeline import bench as module
from scripts.pipeline.bench import open_bench
from scripts.project import Project
from tests.unit.builders import lock_bytes
from tests.unit.fake_docker import FarDocker
from tests.unit.pipeline.lab import Lab


def test_what_the_cache_holds_is_not_fetched(lab: Lab) -> None:
    lab.bench.fetch("serve-cpu", lab.step("serve-cpu").files)
    assert lab.ran == []


def test_what_is_not_there_is_fetched_and_its_step_is_named(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(module, "fetch_files", lambda files, site, platform: asked.append([*files]))
    missing = lock_bytes(b"missing")
    lab.bench.fetch("serve-cpu", [*lab.step("serve-cpu").files, missing])
    assert asked == [[*lab.step("serve-cpu").files, missing]] and lab.ran == ["serve-cpu fetch"]


def test_a_site_has_its_engine_its_builder_and_one_cache(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(project: Project) -> object:
        return lab.engine

    monkeypatch.setattr(module, "open_engine", find)
    bench = open_bench(lab.project)
    assert isinstance(bench.builder, EngineBuilder)
    assert (bench.builder.engine, bench.builder.name) == (lab.engine, "default")
    assert bench.cache.root == bench.workshop.cache.root == lab.site.cache
    lab.run("serve-cpu")
    assert isinstance(bench.workshop.compiler_on(lab.layout("serve-cpu")), SandboxCompiler)


def test_the_gate_is_the_engine_of_the_gpu_host_where_there_is_one(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "open_engine", lambda project: replace(lab.engine, environment={"PATH": "/opt/bin"}))
    assert open_bench(lab.project).gate.host == lab.engine.host
    asked: list[object] = []

    def open_remote(address: str, path: str | None) -> object:
        asked.append((address, path))
        return FarDocker().far_engine()

    monkeypatch.setattr("scripts.engines.open_remote", open_remote)
    lab.site = replace(lab.site, gpu_host="gpubox")
    bench = open_bench(lab.project)
    assert asked == [("gpubox", "/opt/bin")] and bench.gate is bench.remote is not bench.engine


def test_an_engine_that_is_not_there_ends_it(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(project: Project) -> object:
        raise ConfigError("no engine")

    monkeypatch.setattr(module, "open_engine", fail)
    with pytest.raises(HallmarkError, match="no engine"):
        open_bench(lab.project)


@pytest.mark.parametrize(("builders", "at_once"), [(("a",), 1), (("a", "b"), 2)])
def test_each_builder_compiles_one_step_at_a_time(
    builders: tuple[str, ...], at_once: int, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy: list[int] = []
    most: list[int] = []
    meeting = Barrier(at_once)

    def compile_wheel(*_: object, **__: object) -> None:
        busy.append(1)
        meeting.wait(10)
        time.sleep(0.1)  # who may come in beside these does so now
        most.append(len(busy))
        meeting.wait(10)
        busy.pop()

    monkeypatch.setattr(module, "compile_wheel", compile_wheel)
    monkeypatch.setattr(module, "step_folder", lambda _: None)
    bench = replace(lab.bench, project=replace(lab.project, site=replace(lab.site, builders=builders)))
    nothing: Any = None
    with ThreadPoolExecutor(4) as pool:
        work = partial(bench.compile, nothing, nothing, nothing, nothing, lambda _: None)
        begun = [pool.submit(work) for _ in range(4)]
    assert [each.result() for each in begun] == [None] * 4
    assert most == [at_once] * 4
