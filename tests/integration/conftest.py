"""A real engine, real containers and a real registry.

Each folder has an engine and a process of its own: `cells` the checkout's engine, with the real images, and `sandbox`
another, with small broken ones. What lies beside the folders needs no engine.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from xdist.scheduler import LoadScopeScheduling

from scripts.assemble.steps import make_steps
from scripts.assemble.types import Step
from scripts.engine import Embedded, Engine
from scripts.engines import open_engine
from scripts.files import link_or_copy
from scripts.lock import read_slot, tools_slot
from scripts.model import BuildOptions, LockedFile
from scripts.pipeline import open_bench
from scripts.pipeline.candidate import Candidate, read_candidate
from scripts.pipeline.obtain import obtain
from scripts.plan import Selection, make_plan
from scripts.project import Project

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
TEST_S = 900  # seconds for one test, with the fixtures that it is the first to need
VERB_S = 840  # and for one verb, so that what a verb that hangs has said is seen before its test is over
END_S = 30  # for a verb that was interrupted or killed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Builds take minutes: give them more time than unit tests, and still not all the time in the world."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(TEST_S))


class ByFolder(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Tests that share an engine, or the fixtures of a file, stay in one process: a folder's, or else a file's."""

    def _split_scope(self, nodeid: str) -> str:
        path = Path(nodeid.partition("::")[0])
        return str(path if path.parent.name == HERE.name else path.parent)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFolder:
    return ByFolder(config, log)


@pytest.fixture(scope="session")
def checkout() -> Project:
    return Project.open(ROOT)


@pytest.fixture(scope="session")
def engine(checkout: Project, tmp_path_factory: pytest.TempPathFactory, testrun_uid: str) -> Iterator[Engine]:
    """The checkout's engine. The processes of one run leave it, all together, as the first of them found it."""
    shared = tmp_path_factory.getbasetemp().parent / f"engine-{testrun_uid}"
    with FileLock(f"{shared}.lock"):
        ran, users = json.loads(shared.read_text()) if shared.exists() else (_answers(checkout), 0)
        shared.write_text(json.dumps([ran, users + 1]))
        engine = open_engine(checkout)
        _ = engine.client  # it is started here
    yield engine
    with FileLock(f"{shared}.lock"):
        ran, users = json.loads(shared.read_text())
        shared.write_text(json.dumps([ran, users - 1]))
        if users == 1 and not ran:
            run_verb(ROOT, "engine", "down")


def _answers(project: Project) -> bool:
    log = project.workspace.engine / "dockerd.log"
    return log.exists() and "process" in run_verb(project.matrix.root, "engine", "status").stderr


@pytest.fixture(scope="session")
def stamped(engine: Engine) -> None:
    """Both real cells through the whole pipeline; on a machine where that was done before it takes a second."""
    run = run_verb(ROOT, "publish", "--target", "cpu")
    assert run.returncode == 0, run.stdout + run.stderr


def run_verb(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A verb as people run it: another process, from the command line."""
    process = start_verb(root, *arguments, **environment)
    output, errors = finish(process, VERB_S)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def finish(process: subprocess.Popen[str], within_s: float) -> tuple[str, str]:
    """What a process printed until its end. One that does not end in time is interrupted, killed, and fails the test.

    Nor is anything else waited for that holds its pipes open: a daemon that it started, or a child that outlives it.
    """
    try:
        return process.communicate(timeout=within_s)
    except subprocess.TimeoutExpired:
        state = "still running" if process.poll() is None else "ended, and something else holds its output open"
    printed: list[str | bytes | None] = []
    for number in (signal.SIGINT, signal.SIGKILL):  # asked first: it may tidy up
        process.send_signal(number)
        try:
            printed = [*process.communicate(timeout=END_S)]
            break
        except subprocess.TimeoutExpired as error:
            printed = [error.stdout, error.stderr]
    texts = [text.decode(errors="replace") if isinstance(text, bytes) else text or "" for text in printed]
    pytest.fail(f"{process.args!r}: {state} after {within_s:.0f} s; it printed:\n" + "\n".join(texts))


def start_verb(root: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """The same, not waited for: this checkout's program on the project under `root`."""
    return subprocess.Popen(
        [sys.executable, "-m", "scripts", "--project", str(root), *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def share_base(checkout: Project, project: Project) -> Step:
    """Give a sandbox the checkout's build of the base image: its build id is the same, so once is enough."""
    base = find_step(checkout, "pytorch-cpu").parent
    assert base
    obtain(open_bench(checkout), base)
    for source, destination in (
        (checkout.workspace.layout(base.build_id), project.workspace.layout(base.build_id)),
        (checkout.workspace.run(base.build_id), project.workspace.run(base.build_id)),
    ):
        for path in source.rglob("*"):
            if path.is_file():
                link_or_copy(path, destination / path.relative_to(source))
    return base


def find_step(project: Project, cell: str) -> Step:
    """What a cell's image is assembled from, by today's files."""
    return make_steps(project.matrix, make_plan(project.matrix, Selection([cell])), BuildOptions())[-1]


def find_candidate(project: Project, cell: str) -> Candidate:
    """The candidate that a cell's current build came to."""
    candidate = read_candidate(project.workspace, find_step(project, cell).build_id)
    assert candidate
    return candidate


def engine_beside(checkout: Project, folder: Path) -> tuple[Embedded, list[LockedFile]]:
    """Another embedded engine that is not started yet, of the packages that the checkout's is unpacked from."""
    packages = [file for file in read_slot(ROOT, tools_slot(checkout.matrix)).files if file.kind == "deb"]
    embedded = Embedded(folder)
    folder.mkdir()
    embedded.programs(packages).symlink_to(Embedded(checkout.workspace.engine).programs(packages))
    return embedded, packages
