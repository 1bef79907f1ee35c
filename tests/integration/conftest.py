"""A real engine, real containers and a real registry. Small broken images stand beside the real ones in a sandbox."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts.assemble.steps import make_steps
from scripts.assemble.types import BuildOptions, Step
from scripts.engine import Embedded, Engine
from scripts.engine.images import BUILD_ID_LABEL
from scripts.files import link_or_copy
from scripts.lock import read_slot, tools_slot
from scripts.lock.lockfile import Lock, read_lock, write_lock
from scripts.lock.slots import recipe_slot
from scripts.matrix import load_matrix
from scripts.pipeline import open_bench
from scripts.pipeline.candidate import Candidate, read_candidate
from scripts.pipeline.obtain import obtain
from scripts.plan import Selection, make_plan
from scripts.project import Project, open_engine

ROOT = Path(__file__).resolve().parents[2]
IMAGES = Path(__file__).with_name("images")
TEST_S = 900  # seconds for one test, with the fixtures that it is the first to need
VERB_S = 840  # and for one verb, so that what a verb that hangs has said is seen before its test is over
END_S = 30  # for a verb that was interrupted or killed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Builds take minutes: give them more time than unit tests, and still not all the time in the world."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(TEST_S))


@pytest.fixture(scope="session")
def checkout() -> Project:
    return Project.open(ROOT)


@pytest.fixture(scope="session")
def engine(checkout: Project) -> Iterator[Engine]:
    """The checkout's engine; it is left as it was found."""
    ran = (checkout.workspace.engine / "dockerd.log").exists() and _answers(checkout)
    yield open_engine(checkout)
    if not ran:
        run_verb(ROOT, "engine", "down")


def _answers(project: Project) -> bool:
    return "process" in run_verb(project.matrix.root, "engine", "status").stderr


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


@pytest.fixture(scope="session")
def sandbox(checkout: Project, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project of its own: the checkout's base image, and the images under tests/integration/images on top of it.

    It is a second checkout to the engine, which it reaches as a host's engine, by DOCKER_HOST.
    """
    root = tmp_path_factory.mktemp("sandbox")
    shutil.copyfile(ROOT / "matrix.lock", root / "matrix.lock")
    matrix_toml = (ROOT / "matrix.toml").read_text()
    head, _, tail = matrix_toml.partition("[[exclude]]")
    only_source = '[[exclude]]\ntarget = "cpu"\nrecipe = "source"\nreason = "as in the real matrix"\n\n'
    (root / "matrix.toml").write_text(head + only_source + "[platform]" + tail.partition("[platform]")[2])
    shutil.copytree(ROOT / "images/base", root / "images/base")
    for folder in sorted(IMAGES.iterdir()):
        _copy_image(folder, root / "images" / folder.name)
    _write_locks(root)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**engine.environment, "DOCKER_HOST": engine.host, "HALLMARK_ENGINE": "host"}.items():
            patch.setenv(name, value)
        project = Project.open(root)
        share_base(checkout, project)
        yield project
        images = {planned.image.name for planned in make_plan(project.matrix)}
        for image in engine.client.images.list(all=True, filters={"label": BUILD_ID_LABEL}):
            if image.labels["org.opencontainers.image.title"] in images:
                engine.client.images.remove(str(image.id), force=True)


def _copy_image(source: Path, destination: Path) -> None:
    """An image of the tests; one without a smoke.py of its own is judged by vLLM's, the real one."""
    shutil.copytree(source, destination)
    if not (destination / "smoke.py").exists():
        shutil.copyfile(ROOT / "images/vllm/smoke.py", destination / "smoke.py")


def _write_locks(root: Path) -> None:
    """Lock one small wheel for each image, taken from the real lock: the same bytes, no solving."""
    matrix = load_matrix(root)
    real = read_lock(ROOT / "images/vllm/lock/wheel-cpu.toml", "vllm")
    wheel = next(file for file in real.files if file.name == "idna")
    for image in matrix.images.values():
        for key in image.recipes:
            slot = recipe_slot(matrix, image, key)
            write_lock(root / slot.place, Lock(slot.config_id, real.epoch, (wheel,)))


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


@pytest.fixture
def registry(checkout: Project, engine: Engine, tmp_path: Path) -> Iterator[str]:
    """Debian's docker-registry on a free port of 127.0.0.1, for one test; yields host:port."""
    with serve_registry(checkout, tmp_path) as place:
        yield place


@contextmanager
def serve_registry(checkout: Project, folder: Path, *, deletes: bool = False) -> Iterator[str]:
    """Debian's docker-registry, which by itself deletes nothing, with its files in a folder; yields host:port."""
    lock = read_slot(ROOT, tools_slot(checkout.matrix))
    packages = [file for file in lock.files if file.kind == "deb"]
    program = Embedded(checkout.workspace.engine).programs(packages) / "usr/bin/docker-registry"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "registry.yml"
    storage = f"filesystem: {{rootdirectory: {folder}/store}}, delete: {{enabled: {str(deletes).lower()}}}"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{{storage}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
    )
    # It holds no pipe of whoever runs the tests, and ends with them: nobody who waits for their output waits for it.
    process = subprocess.Popen(
        [str(program), "serve", str(config)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=_end_with_parent,
    )
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(10)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
