"""The program that is run where the GPUs are: what it prints, and that it needs nothing that is not there."""

from __future__ import annotations

import ast
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pynvml
import pytest

from scripts.smoke import nvml
from scripts.smoke.gpu import Gpu
from scripts.smoke.nvml import main
from scripts.smoke.watch import Sighting
from tests.unit.smoke.fake_nvml import FakeDriver

GPU = Gpu("0", "GPU-8f3c", "RTX 5090", "12.0", "580.95.05", memory=32_607 << 20)


def use(monkeypatch: pytest.MonkeyPatch, *gpus: Gpu, **options: Any) -> FakeDriver:
    driver = FakeDriver(*gpus, **options)
    monkeypatch.setattr(nvml, "pynvml", driver)
    return driver


def test_it_says_what_there_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    use(monkeypatch, GPU)
    assert main(["look"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [Gpu(**facts) for facts in said["gpus"]] == [GPU]
    assert said["error"] == "" and said["cpu"]


def test_a_driver_that_fails_is_what_it_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, GPU, fails_in="nvmlInit", error=pynvml.NVMLError(pynvml.NVML_ERROR_DRIVER_NOT_LOADED))
    main(["look"])
    said = json.loads(capsys.readouterr().out)
    assert (said["gpus"], said["error"]) == ([], "Driver Not Loaded")


def test_it_watches_until_it_is_told_to_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    driver = use(monkeypatch, GPU)
    driver.xids.put(79)
    waited: list[tuple[set[signal.Signals], float]] = []

    def wait(signals: set[signal.Signals], seconds: float) -> None:
        waited.append((signals, seconds))
        while not driver.xids.empty():
            pass

    masked: list[Any] = []
    monkeypatch.setattr(signal, "pthread_sigmask", lambda *given: masked.append((*given, list(driver.calls))))
    monkeypatch.setattr(signal, "sigtimedwait", wait)
    assert main(["watch", "GPU-8f3c", "1800"]) == 0
    assert waited == [({signal.SIGTERM}, 1800.0)]
    assert masked == [(signal.SIG_BLOCK, {signal.SIGTERM}, [])], "before anything else: the signal may come at once"
    said = json.loads(capsys.readouterr().out)
    said["xids"] = {int(xid): count for xid, count in said["xids"].items()}
    assert Sighting(**said) == Sighting({79: 1}, [], 40)  # type: ignore[arg-type]


def test_it_needs_nothing_but_pynvml_and_the_standard_library() -> None:
    tree = ast.parse(Path(nvml.__file__).read_text())
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    found |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in found} - sys.stdlib_module_names == {"pynvml"}
    beside = ast.parse(Path(pynvml.__file__).read_text())
    found = {alias.name for node in ast.walk(beside) if isinstance(node, ast.Import) for alias in node.names}
    assert {name.split(".")[0] for name in found} <= sys.stdlib_module_names, "pynvml alone is carried there"
