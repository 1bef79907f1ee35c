"""Compile steps in a real BuildKit: what comes out, that it comes out alike, and what is said where none does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.assemble.types import CompileStep
from scripts.compile.kept import find_compiled
from scripts.engine import Engine
from scripts.errors import ExitCode
from scripts.files import sha256_file
from scripts.oci.layout import Layout
from scripts.pipeline import open_bench
from scripts.pipeline.obtain import obtain_wheel
from scripts.project import Project
from tests.integration.conftest import find_step, run_verb, share_base
from tests.workshop import CELL, write_workshop

BUILD = "images/saxpy/components/saxpy/build"


@pytest.fixture(scope="module")
def workshop(checkout: Project, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project that compiles for CUDA 13.0, with the checkout's base image and its engine."""
    root, wheels = tmp_path_factory.mktemp("workshop") / "project", tmp_path_factory.mktemp("wheels")
    write_workshop(root, wheels)
    settings = {"DOCKER_HOST": engine.host, "HALLMARK_ENGINE": "host", "HALLMARK_WHEELS": str(wheels)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**engine.environment, **settings}.items():
            patch.setenv(name, value)
        project = Project.open(root)
        share_base(checkout, project)
        yield project


def find_compile_step(project: Project) -> CompileStep:
    [step] = find_step(project, CELL).compiled
    return step


def test_a_component_is_compiled_for_the_target_and_its_image_passes_the_audit(workshop: Project) -> None:
    run = run_verb(workshop.matrix.root, "build", CELL)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 native" in run.stdout
    compiled = find_compiled(open_bench(workshop).cache, find_compile_step(workshop).build_id)
    assert compiled and compiled.file.file == "saxpy-1.0+cu130.sm120-py3-none-linux_x86_64.whl"


def test_compiled_again_without_any_cache_the_wheel_has_the_same_bytes(workshop: Project, tmp_path: Path) -> None:
    bench, step = open_bench(workshop), find_compile_step(workshop)
    first = obtain_wheel(bench, step)
    environment = Layout.open(workshop.workspace.layout(step.environment.build_id))
    log = tmp_path / "compile.log"
    made = bench.compile(step, environment, tmp_path / "work", log, lambda text: None, cached=False)
    assert "Building CUDA object" in log.read_text() and "largest:" in log.read_text()
    assert sha256_file(made.path) == first.file.sha256


@pytest.mark.parametrize(
    ("line", "said", "advice"),
    [
        ("echo 'int x = ;' >scale.cu", "error: expected an expression", "read the log"),
        ("python3 -c 'import urllib.request as u; u.urlopen(\"http://example.com\")'", "URLError", "[[source]]"),
        ("sed -i 's/ CUDA::cuda_driver//' CMakeLists.txt", "saxpy/libsaxpy.so does not need libcuda.so.1", "-lcuda"),
    ],
)
def test_what_cannot_be_compiled_says_why_and_the_exit_code_is_4(
    workshop: Project, line: str, said: str, advice: str
) -> None:
    script = workshop.matrix.root / BUILD
    text = script.read_text()
    script.write_text(text.replace("set -eu\n", f"set -eu\n{line}\n"))
    try:
        run = run_verb(workshop.matrix.root, "build", CELL)
    finally:
        script.write_text(text)
    output = run.stdout + run.stderr
    assert run.returncode == ExitCode.BUILD_FAILED, output
    assert said in output and advice in output and "Traceback (most recent call last)" not in run.stderr
