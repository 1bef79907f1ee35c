"""A small invented project, and the inputs and images that tests need again and again."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from scripts.fetch import Cache
from scripts.lock import Lock, all_slots
from scripts.lock.lockfile import write_lock
from scripts.matrix import Image, Matrix, Recipe, Scenario, load_matrix
from scripts.model import Cell, CudaLine, LockedFile, Target

REPOSITORY_ROOT = Path(__file__).resolve().parents[2]
DATA = Path(__file__).resolve().parents[1] / "data"
EPOCH = 1_700_000_000
PYTHON = "3.11.2-6"  # as Debian numbers it

MATRIX = """\
version = 1
recipes = ["source", "wheel"]

[cuda]
"12.8" = { toolkit = "12.8.1", driver = "570.124.06" }
"13.0" = { toolkit = "13.0.2", driver = "580.95.05" }

[targets]
5090 = { name = "NVIDIA GeForce RTX 5090", compute = "12.0", driver = "570", memory = 32, recipe = "source" }
cpu = { name = "any x86-64 processor", recipe = "wheel" }

[[exclude]]
target = "cpu"
recipe = "source"
reason = "proves nothing"
[[exclude]]
cuda = "13.0"
recipe = "source"
reason = "upstream has wheels"

[platform]
python = "3.11"
glibc = "2.36"
suites = ["old", "new"]

[tools]
uv = "0.9.1"
new = ["docker.io", "runc"]
"""
BASE = """\
summary = "A system"
cells = false
source = "https://example.com/base"
licenses = "MIT"
version = "1"
packages = ["libc6", "python3"]
"""
SERVE = """\
summary = "A server"
parent = "base"
source = "https://example.com/serve"
licenses = "Apache-2.0"

[recipe.wheel.cpu]
version = "1.2.0"
revision = "v1.2.0"
requirements = ["serve==1.2.0", "torch"]
absent = ["triton"]
[[recipe.wheel.cpu.upstream]]
file = "torch-2.0-py3-none-any.whl"
sha256 = "1111111111111111111111111111111111111111111111111111111111111111"
size = 1000
url = "https://example.com/torch-2.0-py3-none-any.whl"

[[scenario]]
name = "default"
checks = ["load", "serve"]
timeout_s = 60
memory_gib = 2
"""
TRAIN = """\
summary = "A trainer"
parent = "base"
source = "https://example.com/train"
licenses = "MIT"

[recipe.wheel.cpu]
version = "3.0"
revision = "abc"
requirements = ["train==3.0"]

[[scenario]]
name = "default"
checks = ["load"]
timeout_s = 60
memory_gib = 2
"""

COMPONENT = f"""\
distribution = "serve-kernels"
requirements = ["cmake>=3.26,<4"]
absent = ["triton"]
arguments = {{ SWITCH = "1" }}

[cost]
units = 110
cpu_minutes = 80

[memory]
unit = 1.5
heavy = [{{ units = "*fp4*", gib = 11 }}]

[lines."12.8"]
requirements = ["torch==2.0"]
absent = ["cuda-bindings"]
arguments = {{ MODE = "old" }}

[[source]]
name = "kernels"
sdist = "serve-kernels==1.0"
[[source]]
name = "attention"
repository = "https://example.com/attention"
commit = "{"1" * 40}"
pin = "cmake/attention.cmake"
submodules = ["csrc/cutlass"]
variable = "ATTENTION_DIR"
[[source]]
name = "kit"
url = "https://example.com/kit/v1.tar.gz"
sha256 = "{"a" * 64}"
[[source]]
name = "cutlass"
lines = ["13.0"]
sdist = "other==2.0"
folder = "3rdparty/cutlass"
"""
COMPILED = """\
[recipe.source."12.8"]
version = "1.2.0"
revision = "v1.2.0"
requirements = ["serve==1.2.0", "serve-kernels"]
compile = ["kernels-1.0"]
"""
TOOLKIT = """\
summary = "Compilers"
parent = "base"
source = "https://example.com/toolkit"
licenses = "MIT"

[recipe.source."12.8"]
version = "12.8.1"
revision = "12.8.1"
requirements = ["cmake>=3", "ninja"]
absent = ["nothing"]

[[scenario]]
name = "default"
checks = ["load"]
timeout_s = 60
memory_gib = 2
"""

CPU = Target("cpu", "any processor", "wheel")
RTX = Target("5090", "RTX 5090", "source", compute="12.0", driver="570", memory=32)
CUDA = CudaLine("12.8", "12.8.1", "570.124.06")
SCENARIO = Scenario("default", ("load", "serve"), timeout_s=60, memory_gib=2)


def write_project(root: Path) -> Path:
    """A checkout with one image to stand on and two that are built in cells: written for the CPU, not yet for CUDA."""
    write(root / "matrix.toml", MATRIX)
    write(root / "images/base/image.toml", BASE)
    write(root / "images/base/Dockerfile", "FROM scratch\nADD stage1.tar /\n")
    for name, text in (("serve", SERVE), ("train", TRAIN)):
        write(root / f"images/{name}/image.toml", text)
        write(root / f"images/{name}/Dockerfile", "FROM parent\n")
        write(root / f"images/{name}/smoke.py", "import probe\n")
        write(root / f"images/{name}/README.md", f"# {name}\n")
    return root


def write_component(root: Path) -> Path:
    """To a checkout, a component that a recipe of `serve` compiles, and the image that has the compilers."""
    write(root / "images/serve/components/kernels/1.0.toml", COMPONENT)
    write(root / "images/serve/components/kernels/build", "#!/bin/sh\n")
    edit(root / "images/serve/image.toml", "[[scenario]]", f"{COMPILED}\n[[scenario]]")
    write(root / "images/toolkit/image.toml", TOOLKIT)
    write(root / "images/toolkit/Dockerfile", "FROM parent\n")
    return root


def clear_site(patch: pytest.MonkeyPatch, cache: Path) -> None:
    """Let none of this machine's own settings reach a test, and keep the cache in a folder."""
    for name in [name for name in os.environ if name.startswith("HALLMARK_")]:
        patch.delenv(name)
    patch.setenv("XDG_CACHE_HOME", str(cache))


def write_locked_project(root: Path) -> Matrix:
    """The same with a lock file for every slot."""
    matrix = load_matrix(write_project(root))
    write_locks(root, matrix)
    return matrix


def write_locks(root: Path, matrix: Matrix) -> None:
    for slot in all_slots(matrix):
        name = slot.place.replace("/", "-").removesuffix(".toml")
        kind = "deb" if slot.place.endswith("debian.toml") else "wheel"
        # What stands on Debian packages asks them for the version of their Python.
        python = {"name": "python3.11", "version": PYTHON} if slot.place.endswith("base/lock/debian.toml") else {}
        files = [lock_bytes(slot.place.encode(), file=f"{name}.{kind}", kind=kind, **python)]
        if slot.place == "matrix.lock":
            files.append(lock_bytes(b"engine", file="engine.deb", kind="deb"))
        write_lock(root / slot.place, Lock(slot.config_id, EPOCH, tuple(files)))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def edit(path: Path, old: str, new: str) -> None:
    """Replace text that is there exactly once."""
    text = path.read_text("utf-8")
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path.name}"
    path.write_text(text.replace(old, new), "utf-8")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def lock_bytes(
    data: bytes, *, file: str = "thing-1.0-py3-none-any.whl", kind: str = "wheel", **fields: Any
) -> LockedFile:
    """Some bytes as a lock names them."""
    name = fields.pop("name", file.split("-")[0])
    return LockedFile(kind, name, fields.pop("version", "1.0"), file, sha256(data), len(data), **fields)


def put_in_cache(cache: Cache, data: bytes) -> Path:
    path = cache.path(sha256(data))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def make_image(folder: Path, **fields: Any) -> Image:
    values: dict[str, Any] = {
        "name": "serve",
        "summary": "A server",
        "source": "https://example.com/serve",
        "licenses": "MIT",
        "cells": True,
        "parent": "",
        "version": "",
        "packages": (),
        "recipes": {("wheel", "cpu"): Recipe("1.2.0", "v1.2.0", ("serve==1.2.0",))},
        "scenarios": (SCENARIO,),
    }
    return Image(folder=folder, **values | fields)


def make_cell(target: Target = CPU, recipe: str = "wheel", image: str = "serve") -> Cell:
    return Cell(image, target, CUDA if target.has_gpu else None, recipe)
