"""A whole examination of machines that are well, unwell, or answer nothing at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest

from scripts.doctor.examine import examine
from scripts.doctor.probes import Probes
from scripts.doctor.seen import Clock, Disk, Mark, RegistrySeen, Unseen
from scripts.doctor.text import MOST_LINES, render_findings, render_report
from scripts.engine import Engine
from scripts.errors import ExitCode, Undecided
from scripts.smoke.gpu import Gpu
from tests.unit.builders import edit
from tests.unit.doctor.made import GB, H200, RTX, fail, find_lines, look, make_engine, make_probes, write_gpu_project

TOPICS = ["engine", "gpu", "gpu access", "disk", "memory", "cgroup", "clock", "registry", "images"]


@pytest.fixture(autouse=True)
def _no_site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("HALLMARK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_gpu_project(tmp_path / "project")
    return tmp_path / "project"


def test_a_machine_with_all_that_is_needed_is_told_so_topic_by_topic(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALLMARK_REGISTRY", "registry.example.com/team")
    found = look(root)
    assert [finding.topic for finding in found.findings] == TOPICS
    assert {finding.mark for finding in found.findings} == {Mark.THERE}
    assert found.exit_code is ExitCode.ACCEPTED
    assert "registry.example.com/team/serve:cu130-5090-wheel" in found.findings[-1].text


def test_a_machine_without_a_gpu_lacks_nothing(root: Path) -> None:
    found = look(root, gpus=[], devices=0)
    assert found.exit_code is ExitCode.ACCEPTED
    marks = {finding.topic: finding.mark for finding in found.findings}
    assert [topic for topic, mark in marks.items() if mark is Mark.UNASKED] == [
        "gpu",
        "gpu access",
        "registry",
        "images",
    ]


@pytest.mark.parametrize(
    ("kinds", "registry"), [(1, ""), (1, "registry.example.com/team"), (2, "registry.example.com/team"), (7, "")]
)
def test_where_nothing_is_missing_ten_lines_say_all(
    kinds: int, registry: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if registry:
        monkeypatch.setenv("HALLMARK_REGISTRY", registry)
    others = [Gpu(str(number), f"GPU-{number}", f"NVIDIA X{number}", "8.9", "580.95.05") for number in range(2, kinds)]
    found = look(root, gpus=[RTX, H200, *others][:kinds])
    assert found.exit_code is ExitCode.ACCEPTED
    lines = render_findings(found.findings)
    assert len(lines) <= MOST_LINES == 10
    for name in ["RTX 5090", *(gpu.name for gpu in others)]:
        assert any(name in line for line in lines if " images " in line)


@pytest.mark.parametrize("name", [field.name for field in fields(Probes)])
@pytest.mark.parametrize(
    "error", [OSError(5, "Input/output error"), Undecided("gone"), RuntimeError("ours"), KeyError("x")]
)
def test_a_probe_that_fails_is_a_line_and_the_others_still_speak(
    name: str, error: Exception, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALLMARK_REGISTRY", "registry.example.com/team")
    found = look(root, **{name: fail(error)})
    assert [finding.topic for finding in found.findings] == TOPICS
    silent = {"gate", "devices", "revision", "system", "private", "tags_in_registry", "tags_in_engine", "cgroup"}
    assert found.exit_code is (ExitCode.ACCEPTED if name in silent else ExitCode.INCONCLUSIVE)
    assert render_findings(found.findings) and render_report(found)


def test_where_nothing_answers_every_line_is_there(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALLMARK_REGISTRY", "registry.example.com/team")
    found = look(root, **{field.name: fail(OSError("no")) for field in fields(Probes)})
    assert [finding.topic for finding in found.findings] == TOPICS
    assert found.exit_code is ExitCode.INCONCLUSIVE


@pytest.fixture
def never() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_a_driver_that_hangs_is_a_line(root: Path, never: threading.Event) -> None:
    found = examine(root, make_probes(gpus=lambda: never.wait(30)), limit_s=0.5)
    [line] = find_lines(found, "gpu")
    assert (line.mark, line.text) == (Mark.MISSING, "no answer within 0.5 s")
    assert "nvidia-smi" in line.next_step
    assert found.exit_code is ExitCode.INCONCLUSIVE


def test_a_setting_that_cannot_be_read_is_a_line_and_the_others_count(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALLMARK_WHEELS", "/no/such/folder")
    monkeypatch.setenv("HALLMARK_REGISTRY", "registry.example.com/team")
    found = look(root)
    [line] = find_lines(found, "settings")
    assert line.mark is Mark.MISSING and "/no/such/folder is not a folder" in line.text and line.next_step
    assert find_lines(found, "registry")[0].text.startswith("registry.example.com/team answers")
    assert found.exit_code is ExitCode.INCONCLUSIVE


def test_a_matrix_that_cannot_be_read_is_a_line(root: Path) -> None:
    edit(root / "matrix.toml", "version = 1", "version = 2")
    found = look(root)
    assert "matrix.toml" in find_lines(found, "settings")[0].text
    assert find_lines(found, "images") == []
    assert find_lines(found, "gpu")[0].mark is Mark.THERE


def test_each_gpu_is_asked_for_and_the_tags_of_what_fits(root: Path) -> None:
    asked: list[str] = []
    wanted: list[tuple[str, str]] = []

    def access(engine: Engine, gpu: Gpu) -> str:
        asked.append(gpu.index)
        return "nvidia"

    def tags(engine: Engine, names: list[tuple[str, str]]) -> frozenset[tuple[str, str]]:
        wanted.extend(names)
        return frozenset()

    found = look(root, gpus=[RTX, H200], access=access, tags_in_engine=tags)
    assert sorted(asked) == ["0", "1"]
    assert ("serve", "cu130-5090-wheel") in wanted and ("serve", "cu128-5090") in wanted
    assert find_lines(found, "gpu access")[0].text == "the engine hands GPUs out by NVIDIA's runtime (GPU 0, 1)"
    assert "not tagged yet: `nox -s build-5090" in find_lines(found, "images")[0].text


def test_a_registry_that_is_down_is_not_asked_for_tags(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALLMARK_REGISTRY", "registry.example.com/team")
    down = RegistrySeen("registry.example.com", credentials=False, refusal=Unseen("HTTP 503"))
    found = look(root, registry=down, tags_in_registry=fail(AssertionError("it was asked")))
    assert "which nobody could be asked" in find_lines(found, "images")[0].text


def test_no_registry_is_asked_where_none_is_set(root: Path) -> None:
    found = look(root, registry=fail(AssertionError()), tags_in_registry=fail(AssertionError()))
    assert find_lines(found, "registry")[0].mark is Mark.UNASKED and found.exit_code is ExitCode.ACCEPTED


@pytest.mark.parametrize(
    ("engine", "places"),
    [
        (make_engine(), ["/var/lib/docker"]),
        (make_engine(info={}), []),
        (make_engine(embedded=True, engine=None), [".hallmark/engine"]),
        (make_engine(engine=None, lacking="too old"), []),
        (make_engine(engine=Engine("tcp://10.1.2.3:2375", embedded=False, version="28.5.1")), []),
    ],
)
def test_the_disk_is_asked_where_the_engine_keeps_images(engine: object, places: list[str], root: Path) -> None:
    looked: list[Path] = []

    def disk(folder: Path) -> Disk:
        looked.append(folder)
        return Disk(folder, 1, 900 * GB)

    look(root, engine=engine, disk=disk)
    assert sorted(looked) == sorted([root, root.parent / "cache/hallmark", *(root / place for place in places)])


def test_the_clock_is_compared_with_the_registrys(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALLMARK_REGISTRY", "registry.example.com/team")
    late = RegistrySeen("registry.example.com", credentials=True, ahead=7200.0)
    assert find_lines(look(root, registry=late), "clock")[0].mark is Mark.MISSING
    early = Clock(1.0, 1_700_000_000)
    assert find_lines(look(root, clock=early), "clock")[0].mark is Mark.MISSING


def test_what_the_engine_and_the_site_are_called_is_private(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALLMARK_REGISTRY", "registry.example.com/team")
    seen = make_engine()
    found = look(root, engine=replace(seen, info=dict(seen.info) | {"Name": "tower"}))
    assert found.private
    assert "tower" in found.private.words
    assert {str(root), "/var/lib/docker"} <= found.private.folders
    assert {"registry.example.com/team", "registry.example.com", "unix:///run/fake.sock"} <= found.private.names


def test_where_the_gate_would_run_is_a_line_of_its_own(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALLMARK_GPU_HOST", "ssh://me@gpubox")
    found = look(root, gpus=[], devices=0)
    [finding] = find_lines(found, "gpu host")
    assert finding.mark is Mark.THERE and "ssh://me@gpubox" in finding.text
    found = look(root, gate=fail(Undecided("no Docker Engine answers there", "ssh://me@gpubox", "see that it does")))
    [finding] = find_lines(found, "gpu host")
    assert finding.mark is Mark.MISSING and found.exit_code is ExitCode.INCONCLUSIVE
    assert finding.next_step == "see that it does"
