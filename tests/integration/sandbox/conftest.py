"""Small broken images beside the real base image, on an engine of their own, and a real registry."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.engine import Engine
from scripts.engine.images import BUILD_ID_LABEL
from scripts.lock.lockfile import Lock, read_lock, write_lock
from scripts.lock.slots import recipe_slot
from scripts.matrix import load_matrix
from scripts.plan import make_plan
from scripts.project import Project
from tests.docker_registry import serve_registry
from tests.integration.conftest import ROOT, engine_beside, share_base

IMAGES = Path(__file__).with_name("images")


@pytest.fixture(scope="package")
def engine(engine: Engine, checkout: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine beside the checkout's, which has the images of these tests alone; it is removed with all it has."""
    assert engine.embedded, "its programs are those of the checkout's"
    embedded, packages = engine_beside(checkout, tmp_path_factory.mktemp("beside") / "engine")
    try:
        yield embedded.up(packages, lambda: [])
    finally:
        embedded.down()
        shutil.rmtree(embedded.folder)


@pytest.fixture(scope="package")
def sandbox(checkout: Project, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project of its own: the checkout's base image, and the images under `images` here on top of it.

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


@pytest.fixture
def registry(checkout: Project, engine: Engine, tmp_path: Path) -> Iterator[str]:
    """Debian's docker-registry on a free port of 127.0.0.1, for one test; yields host:port."""
    with serve_registry(checkout, tmp_path) as place:
        yield place
