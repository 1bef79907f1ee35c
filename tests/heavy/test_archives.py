"""The toolkit of a CUDA 12 line, from its lock to its image, with stand-ins of the right names for NVIDIA's archives.

Nothing is downloaded: archives and wheels lie in a folder, as on a site that reaches neither NVIDIA nor an index.
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import tarfile
import zipfile
from base64 import urlsafe_b64encode
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from scripts.assemble.steps import make_steps
from scripts.assemble.types import Step
from scripts.engine import Engine
from scripts.engine.sandbox import Request, open_sandbox
from scripts.errors import ConfigError, Undecided
from scripts.fetch import Cache, fetch_files
from scripts.files import link_or_copy
from scripts.lock import image_slot, read_slot, recipe_slot
from scripts.lock.update import update_recipe
from scripts.matrix import Recipe, load_matrix
from scripts.model import BuildOptions
from scripts.oci.layout import Layout
from scripts.pipeline import open_bench
from scripts.pipeline.obtain import load, obtain
from scripts.plan import Selection, make_plan
from scripts.project import Project
from scripts.site import PipSettings
from tests.integration.conftest import ROOT, share_base

KEY = ("source", "12.9")
CELL = "toolkit-cu129-5090"
EXCLUSIONS = """\
[[exclude]]
target = "cpu"
reason = "as in the real matrix"
[[exclude]]
recipe = "wheel"
reason = "as in the real matrix"

"""
# What two of the archives hold that wheels hold as well, and what NVIDIA's have under the same names.
CONTENT = {
    "cuda_nvcc": {
        "bin/nvcc": b'#!/bin/sh\necho "the archive\'s compiler"\n',
        "nvvm/bin/cicc": b"",
        "bin/nvcc.profile": b"",
    },
    "cuda_cudart": {
        "include/cuda_runtime.h": b"// the archive's\n",
        "include/cooperative_groups/sync.h": b"// the archive's\n",
        "lib/libcudart_static.a": b"",
        "lib/libcudart.so.12": b"the archive's",
        "lib/stubs/libcuda.so": b"",
    },
}
HEADERS = ("nccl_device/coop.h", "nccl.h")  # a wheel's folder of headers, and a header beside it


@dataclass(frozen=True)
class Shelf:
    """A project with the toolkit alone, and a folder with all that its CUDA 12.9 asks for and Debian does not have."""

    project: Project
    folder: Path
    base: Step

    @property
    def recipe(self) -> Recipe:
        return self.project.matrix.images["toolkit"].recipes[KEY]

    def lock(self) -> None:
        image = self.project.matrix.images["toolkit"]
        pip = PipSettings(folders=(self.folder,))
        update_recipe(self.project.matrix, image, KEY, pip, self.project.site, [self.folder])

    def step(self) -> Step:
        matrix = self.project.matrix
        return make_steps(matrix, make_plan(matrix, Selection([CELL])), BuildOptions())[-1]


@pytest.fixture
def shelf(checkout: Project, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    for name, value in {**engine.environment, "DOCKER_HOST": engine.host, "HALLMARK_ENGINE": "host"}.items():
        monkeypatch.setenv(name, value)
    root, folder, index = tmp_path / "project", tmp_path / "shelf", tmp_path / "index"
    folder.mkdir()
    index.mkdir()
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.as_uri())  # one that has nothing
    head, _, tail = (ROOT / "matrix.toml").read_text().partition("[[exclude]]")
    for name in ("base", "toolkit"):
        shutil.copytree(ROOT / "images" / name, root / "images" / name)
    (root / "matrix.toml").write_text(head + EXCLUSIONS + "[platform]" + tail.partition("[platform]")[2])
    recipe = load_matrix(root).images["toolkit"].recipes[KEY]
    text = (root / "images/toolkit/image.toml").read_text()
    for archive in recipe.archives:
        data = make_archive(archive.file)
        (folder / archive.file).write_bytes(data)
        size = rf'(sha256 = "{archive.sha256}"\nsize = )\d+'
        text = re.sub(size, rf"\g<1>{len(data)}", text).replace(archive.sha256, hashlib.sha256(data).hexdigest())
    (root / "images/toolkit/image.toml").write_text(text)
    for requirement in map(Requirement, recipe.requirements):
        pins = [each.version for each in requirement.specifier if each.operator in ("==", ">=")]
        make_wheel(folder, requirement.name, pins[0] if pins else "1.0")
    project = Project.open(root)
    project = replace(project, site=replace(project.site, cache=tmp_path / "cache", wheels=(folder,)))
    base = share_base(checkout, project)
    packages = read_slot(root, image_slot(project.matrix, project.matrix.images["toolkit"])).files
    have = fetch_files(packages, checkout.site, checkout.matrix.platform)
    for file in packages:
        link_or_copy(have.path(file.sha256), Cache(project.site.cache).path(file.sha256))
    return Shelf(project, folder, base)


def make_archive(file: str) -> bytes:
    """An archive as NVIDIA's are: one folder of the archive's own name, with a licence in it."""
    top = file.removesuffix(".tar.xz")
    component = file.partition("-")[0]
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:xz") as tar:
        for name, data in {"LICENSE": component.encode(), **CONTENT.get(component, {})}.items():
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size, info.mtime, info.uid = len(data), 1_700_000_000, 20074
            info.mode = 0o755 if name.startswith(("bin/", "nvvm/bin/")) else 0o644
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def make_wheel(folder: Path, name: str, version: str) -> None:
    """A wheel with a header and a library where NVIDIA's have theirs, and nothing that it requires."""
    stem = name.replace("-", "_")
    own = stem.removeprefix("nvidia_").removesuffix("_cu12")
    files = {f"nvidia/{own}/include/{own}.h": b"", f"nvidia/{own}/lib/lib{own}.so.12": b"the wheel's"}
    if own == "cuda_runtime":
        files |= {f"nvidia/{own}/lib/libcudart.so.12": b"the wheel's"}
        files |= {f"nvidia/{own}/include/{header}": b"// the wheel's\n" for header in HEADERS}
    info = f"{stem}-{version}.dist-info"
    files |= {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / f"{stem}-{version}-py3-none-any.whl", "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
        hashes = {
            path: urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=") for path, data in files.items()
        }
        rows = "".join(f"{path},sha256={hashes[path]},{len(data)}\n" for path, data in files.items())
        archive.writestr(f"{info}/RECORD", f"{rows}{info}/RECORD,,\n")


def run(engine: Engine, digest: str, script: str) -> str:
    request = Request(
        image=digest, command=("sh", "-euc", script), label="io.hallmark.test", memory=1 << 30, timeout_s=120
    )
    with open_sandbox(engine, request) as sandbox:
        ending = sandbox.run()
    assert ending.succeeded, (ending.stdout + ending.stderr).decode()
    return ending.stdout.decode()


def test_archives_go_from_the_lock_into_the_image_twice_alike(shelf: Shelf, engine: Engine) -> None:
    shelf.lock()
    step = shelf.step()
    assert all((shelf.folder / file.file).is_file() for file in (*step.wheels, *step.inputs) if file.kind != "deb")
    assert [file.file for file in step.inputs if file.kind == "archive"] == [
        each.file for each in shelf.recipe.archives
    ]

    bench = open_bench(shelf.project)
    candidate = obtain(bench, step).candidate
    load(bench, step, candidate, may_build=False)
    try:
        look(engine, candidate.digest, len(shelf.recipe.archives))
    finally:
        engine.client.images.remove(candidate.digest, force=True)
    parent = Layout.open(bench.workspace.layout(shelf.base.build_id))
    work = shelf.folder.parent / "again"
    again = bench.workshop.assemble(step, parent, work, work / "build.log", cached=False)
    assert again.digest == candidate.digest


def look(engine: Engine, digest: str, archives: int) -> None:
    """What is at /usr/local/cuda: the archives, and the wheels' headers and libraries beside them."""
    assert run(engine, digest, "nvcc") == "the archive's compiler\n"
    assert run(engine, digest, "echo $CUDA_HOME; stat -c %u:%g:%a $CUDA_HOME/bin/nvcc $CUDA_HOME/nvvm/bin/cicc") == (
        "/usr/local/cuda\n0:0:755\n0:0:755\n"
    )
    assert int(run(engine, digest, "ls $CUDA_HOME/LICENSE.* | wc -l")) == archives
    there = "include/cuda_runtime.h include/cublas.h include/nccl.h include/nccl_device/coop.h lib64/libcublas.so"
    there += " lib64/libcublas.so.12 lib64/libcudart_static.a lib64/stubs/libcuda.so lib64/libcudart.so.12"
    run(engine, digest, f"cd $CUDA_HOME; for file in {there}; do test -e $file || {{ echo no $file; exit 1; }}; done")
    run(engine, digest, "for program in ccache patch patchelf xz; do $program --version; done")
    broken = "find $CUDA_HOME/ -xtype l"
    assert run(engine, digest, broken) == ""


def test_an_archive_with_other_bytes_is_refused_and_named(shelf: Shelf) -> None:
    shelf.lock()
    file = shelf.recipe.archives[1].file
    (shelf.folder / file).write_bytes(make_archive("cuda_nvcc-other.tar.xz"))
    step = shelf.step()
    with pytest.raises(Undecided, match=re.escape(file)):
        open_bench(shelf.project).fetch(step.name, [each for each in step.inputs if each.file == file])


def test_another_archive_in_image_toml_makes_its_lock_stale(shelf: Shelf) -> None:
    shelf.lock()
    path = shelf.project.matrix.root / "images/toolkit/image.toml"
    path.write_text(path.read_text().replace(shelf.recipe.archives[0].sha256, "0" * 64))
    matrix = load_matrix(shelf.project.matrix.root)
    with pytest.raises(ConfigError, match=r"source-cu129\.toml: the lock is older"):
        read_slot(matrix.root, recipe_slot(matrix, matrix.images["toolkit"], KEY))
