"""An update against a real solver and a real index: a folder of small wheels."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from scripts.lock import Lock
from scripts.lock.lockfile import write_lock
from scripts.lock.slots import recipe_slot
from scripts.matrix import load_matrix
from scripts.site import PipSettings, Site
from scripts.update.propose import propose
from tests.unit.builders import EPOCH, edit, lock_bytes, write_project

RECIPE = """
[recipe.wheel."12.8"]
version = "1.0"
revision = "v1.0"
requirements = ["serve==1.0", "kernels==1.0"]
"""


def put_wheel(folder: Path, name: str, version: str, *requires: str) -> None:
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {each}\n" for each in requires)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def test_the_newest_of_the_cuda_line_is_found_and_not_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    folder = tmp_path / "wheels"
    folder.mkdir()
    for version, runtime in (("1.0", "12.8.90"), ("1.1", "12.8.93"), ("1.2", "12.9.1"), ("2.0", "13.0.1")):
        name = "nvidia_cuda_runtime" if runtime > "13" else "nvidia_cuda_runtime_cu12"
        put_wheel(folder, name, runtime)
        put_wheel(folder, "kernels", version, f"{name}=={runtime}")
        put_wheel(folder, "serve", version, f"kernels=={version}")
    put_wheel(folder, "kernels", "3.0+cpu")
    put_wheel(folder, "serve", "3.0", "kernels==3.0")
    root = write_project(tmp_path / "project")
    edit(root / "images/serve/image.toml", "[[scenario]]", f"{RECIPE}\n[[scenario]]")
    matrix = load_matrix(root)
    slot = recipe_slot(matrix, matrix.images["serve"], ("wheel", "12.8"))
    write_lock(root / slot.place, Lock(slot.config_id, EPOCH, (lock_bytes(b"serve", name="serve"),)))
    site = Site("auto", "", (), (folder,), tmp_path / "cache")
    found = propose(matrix, matrix.images["serve"], ("wheel", "12.8"), PipSettings(), site)
    assert (found.version, found.requirements) == ("1.1", ("serve==1.1", "kernels==1.1")), found.why
    assert {change.name: change.after for change in found.changes}["nvidia-cuda-runtime-cu12"] == "12.8.93"
    assert 0 < found.moved == found.total
