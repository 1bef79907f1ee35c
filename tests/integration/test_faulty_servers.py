"""Servers with the faults that are planted on a GPU, as processes of their own: both engines' scripts find them."""

from __future__ import annotations

import importlib
import os
import py_compile
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.smoke.models.zoo import find_reference
from tests.gpu.faults import FAULTS, Fault
from tests.gpu.planting import PLANTED, SITE, age_bindings

ROOT = Path(__file__).parents[2]
STAND_INS = Path(__file__).with_name("standins")
NAMES = ("smoke", "caches", "guarding", "nvml", "probe", "serving", "sweeping", "upstream")
DYING, EMPTY = "a server that dies at its 50th request", "a server that answers empty under load"
OLD = "cuda-python 12.6 over cuda-bindings 13"
SERVE = "import sys, serving_engine; serving_engine.main(*sys.argv[1:])"
WITH_CUDA = f"import cuda.bindings.runtime as runtime; runtime.cudaLibrary_t; {SERVE}"


@pytest.fixture(params=["vllm", "sglang"])
def script(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Each image's smoke script as a module, with its helpers beside it, and with little to ask under load."""
    folder = ROOT / "images" / request.param
    for place in (ROOT / "scripts/smoke/inside", folder):
        monkeypatch.syspath_prepend(str(place))
    settings = {"DTYPE": "bfloat16", "CHECKS": "health", "TOLERANCE": "0.1", "MEAN_TOLERANCE": "0.1", "SERVE_ARGS": ""}
    for name, value in (settings | {"START_S": "60", "LOAD_S": "0.5", "LOAD_AT_ONCE": "32"}).items():
        monkeypatch.setenv(f"HALLMARK_{name}", value)
    monkeypatch.delenv("HALLMARK_COMPUTE", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (PLANTED.parent, STAND_INS, tmp_path / "site"))))
    before = {name: sys.modules.pop(name, None) for name in NAMES}
    module = importlib.import_module("smoke")
    assert module.__file__ == str(folder / "smoke.py")
    (tmp_path / "reference.json").write_bytes(find_reference("llama").read_bytes())
    monkeypatch.setattr(sys.modules["probe"], "SMOKE_DIR", tmp_path)
    monkeypatch.setattr(sys.modules["probe"].tempfile, "gettempdir", lambda: str(tmp_path))
    yield module
    for name in NAMES:
        sys.modules.pop(name, None)
    sys.modules.update({name: known for name, known in before.items() if known})


def start(script: Any, folder: Path, program: str, *fault: str) -> Any:
    """A server that was not started yet, of a program that is told its port and the reference."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return script.Server([sys.executable, "-c", program, str(port), str(folder / "reference.json"), *fault], port)


def fault_of(name: str) -> Fault:
    [fault] = [each for each in FAULTS if each.name == name]
    return fault


def ask(script: Any, server: Any, *checks: str) -> dict[str, str]:
    """What each check says that fails, as in the script; nothing where it passes."""
    said = {}
    with server:
        for check in checks:
            try:
                script.CHECKS[check](server, {})
                said[check] = ""
            except sys.modules["probe"].Failed as failure:
                said[check] = str(failure)
    return said


def test_a_server_without_a_fault_passes(script: Any, tmp_path: Path) -> None:
    said = ask(script, start(script, tmp_path, SERVE), "health", "sizes", "load")
    assert said == {"health": "", "sizes": "", "load": ""}


@pytest.mark.parametrize(("name", "planted"), [(DYING, "dying"), (EMPTY, "empty")])
def test_what_breaks_under_load_is_found_by_the_load(name: str, planted: str, script: Any, tmp_path: Path) -> None:
    fault = fault_of(name)
    said = ask(script, start(script, tmp_path, SERVE, planted), *fault.checks)
    assert said["health"] == "", "it is well until it is pressed"
    assert re.search(fault.words, said[fault.check])


def test_a_server_that_dies_is_found_before_its_load_too(script: Any, tmp_path: Path) -> None:
    said = ask(script, start(script, tmp_path, SERVE, "dying"), "health", "sizes")
    assert said["health"] == "" and said["sizes"]


def test_a_server_that_is_empty_under_load_is_right_about_prompts(script: Any, tmp_path: Path) -> None:
    """Nothing but the load finds it: with few at once, and of what was not generated, it says what is right."""
    assert ask(script, start(script, tmp_path, SERVE, "empty"), "health", "sizes") == {"health": "", "sizes": ""}


def test_bindings_that_lack_what_is_asked_of_them_are_found_as_the_server_starts(script: Any, tmp_path: Path) -> None:
    """What two wheels made of one package: the fault is there although byte code was, which nobody compares."""
    package = tmp_path / "site/cuda/bindings"
    (package / "__pycache__").mkdir(parents=True)
    (package / "runtime.py").write_text("class cudaLibrary_t: ...\n")
    init, kept = package / "__init__.py", str(package / "__pycache__/__init__.cpython-311.pyc")
    init.write_text('__version__ = "13.4.4"\n')
    py_compile.compile(str(init), kept, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    assert ask(script, start(script, tmp_path, WITH_CUDA), "health") == {"health": ""}
    for path, data in age_bindings(lambda path: init.read_bytes(), "9.0").items():
        (tmp_path / "site" / Path(path).relative_to(SITE)).write_bytes(data)
    fault = fault_of(OLD)
    said = ask(script, start(script, tmp_path, WITH_CUDA), fault.check)[fault.check]
    assert "ended with exit code 1" in said and re.search(fault.words, said)
