"""A machine in memory: every probe answers as a test says, and a project with images for GPUs of three kinds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from scripts.doctor.examine import Examination, examine
from scripts.doctor.probes import Probes
from scripts.doctor.seen import Cgroup, Clock, Disk, EngineSeen, Finding, GateSeen, Memory, RegistrySeen
from scripts.engine.host import CONTAINERD
from scripts.matrix import Matrix, load_matrix
from scripts.redact import Private
from scripts.smoke.gpu import Gpu
from tests.unit.builders import EPOCH, MATRIX, SERVE, TRAIN, write, write_locks, write_project
from tests.unit.fake_docker import FakeDocker

UUID = "GPU-8f3c5a10-1111-2222-3333-0123456789ab"
RTX = Gpu("0", UUID, "NVIDIA GeForce RTX 5090", "12.0", "580.95.05")
H200 = Gpu("1", "GPU-9a9a9a9a-1111-2222-3333-0123456789ab", "NVIDIA H200", "9.0", "580.95.05")
GB = 10**9

TARGETS = """\
pro6000 = { name = "NVIDIA RTX PRO 6000", compute = "12.0", driver = "570", memory = 96, recipe = "source" }
h200 = { name = "NVIDIA H200", compute = "9.0", driver = "580.100", memory = 141, recipe = "source" }
"""
RECIPE = """
[recipe.{recipe}."{line}"]
version = "{version}"
revision = "v1"
requirements = ["{name}=={version}"]
[[audit]]
accept = "native"
libraries = ["lib/*.so"]
cuda = "{line}"
recipe = "{recipe}"
"""

INFO: dict[str, Any] = {
    "DriverStatus": [["driver-type", CONTAINERD]],
    "DockerRootDir": "/var/lib/docker",
    "CgroupVersion": "2",
    "MemoryLimit": True,
    "PidsLimit": True,
    "SwapLimit": True,
}


def write_gpu_project(root: Path) -> Matrix:
    """Two images for GPUs: `serve` 2.0 and 1.9 for CUDA 13.0 and 12.8, of two recipes there; `train` for 13.0 alone."""
    write_project(root)
    text = MATRIX.replace("cpu = {", TARGETS + "cpu = {")
    write(root / "matrix.toml", text)
    serve = [("wheel", "12.8", "1.8"), ("source", "12.8", "1.9"), ("wheel", "13.0", "2.0")]
    guarded = {"serve": (SERVE, serve), "train": (TRAIN, [("wheel", "13.0", "3.0")])}
    for name, (head, recipes) in guarded.items():
        keys = ("recipe", "line", "version")
        tables = "".join(RECIPE.format(name=name, **dict(zip(keys, recipe, strict=True))) for recipe in recipes)
        write(root / f"images/{name}/image.toml", "guard = true\n" + head + tables)
    matrix = load_matrix(root)
    write_locks(root, matrix)
    return matrix


def make_engine(**fields: Any) -> EngineSeen:
    """A host's engine that will do."""
    engine = FakeDocker().engine()
    return replace(EngineSeen(False, "", engine, "28.5.1", "v0.30.1", INFO), **fields)


def make_probes(**probes: Any) -> Probes:
    """A machine where all is well, with one RTX 5090; what is given differs: a function, or what it returns."""
    well: dict[str, Any] = {
        "engine": make_engine(),
        "gpus": [RTX],
        "devices": 1,
        "access": "cdi",
        "gate": lambda address, path: GateSeen(address, "28.5.1", "cdi"),
        "disk": lambda folder: Disk(folder, 1, 900 * GB),
        "memory": Memory(64 << 30, 60 << 30),
        "cgroup": Cgroup("2", memory=True),
        "clock": Clock(EPOCH + 100.0, EPOCH),
        "registry": RegistrySeen("registry.example.com", credentials=True, ahead=0.4),
        "tags_in_registry": lambda name, tags: frozenset(tags),
        "tags_in_engine": lambda engine, tags: frozenset(tags),
        "revision": "0123456789ab",
        "system": "Python 3.11.2, Linux 6.1.0-40-amd64, x86_64, 16 processors",
        "private": Private(),
    }
    return Probes(**{name: each if callable(each) else _always(each) for name, each in (well | probes).items()})


def look(root: Path, **probes: Any) -> Examination:
    """Examine such a machine, in a moment."""
    return examine(root, make_probes(**probes), limit_s=60)


def find_lines(examination: Examination, topic: str) -> list[Finding]:
    """The findings of one topic."""
    return [finding for finding in examination.findings if finding.topic == topic]


def fail(error: Exception) -> Any:
    """A probe that raises this."""

    def probe(*_: Any) -> Any:
        raise error

    return probe


def _always(value: Any) -> Any:
    return lambda *_: value
