"""A project to be run on a bench of fakes: a builder, an engine, a registry, GPUs and a compiler; the rest is real.

Wheels are real wheels, images real OCI layouts. What ran is read where people read it: in what is said on stderr.
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from threading import Lock as Mutex
from typing import Any, ClassVar

import pytest
from docker.errors import APIError

from scripts.assemble.assemble import Workshop
from scripts.assemble.bytecode import Compiler
from scripts.assemble.image import TopLayer, compose
from scripts.assemble.layer import MTIME, write_layer
from scripts.assemble.steps import make_steps
from scripts.assemble.tree import Entry
from scripts.assemble.types import Step
from scripts.buildkit.build import make_output
from scripts.engine.images import BUILD_ID_LABEL
from scripts.engine.remote import RemoteEngine
from scripts.fetch import Cache
from scripts.files import canonical_json, content_id, link_or_copy
from scripts.lock import Lock, all_slots
from scripts.lock.lockfile import write_lock
from scripts.matrix import load_matrix
from scripts.model import LockedFile
from scripts.oci.descriptor import LAYER_TAR, OCI_CONFIG, Descriptor, describe
from scripts.oci.layout import Layout, create_layout
from scripts.pipeline import Bench, CellReport, CellVerdict, Job, Options, Stage, make_jobs, read_verdicts, run_cells
from scripts.pipeline.output import write_output
from scripts.plan import Selection, make_plan
from scripts.project import Project
from scripts.site import Site
from scripts.smoke import watch
from scripts.smoke.gpu import Gpu
from scripts.smoke.watch import Sighting
from scripts.workspace import Workspace
from tests.unit.assemble import record_of
from tests.unit.audit.made import entry
from tests.unit.builders import EPOCH, edit, lock_bytes, put_in_cache, write_project
from tests.unit.debs import make_deb
from tests.unit.fake_docker import FakeContainer, FakeDocker
from tests.unit.gpucode import make_container, make_elf, make_entry
from tests.unit.registry.fake_registry import FakeRegistry

REGISTRY = "registry.example.com/team"
LIBRARY = "opt/venv/lib/python3.11/site-packages/lib/x.so"
PARTS = ("prepare", "layers", "compose")
RTX_5090 = Gpu("0", "GPU-1", "NVIDIA GeForce RTX 5090", "12.0", "580.95.05", memory=32_607 << 20)
PRO_6000 = Gpu("1", "GPU-2", "NVIDIA RTX PRO 6000", "12.0", "580.95.05", memory=97_887 << 20)
PRO_6000_TARGET = (
    'pro6000 = { name = "NVIDIA RTX PRO 6000", compute = "12.0", driver = "570", memory = 96, recipe = "source" }'
)
# What makes an image buildable for a GPU, too.
FOR_GPU = """
[recipe.wheel."12.8"]
version = "1.2.0"
revision = "v1.2.0"
requirements = ["serve==1.2.0"]
[[audit]]
accept = "native"
libraries = ["lib/*.so"]
"""


def gpu_library(*containers: str) -> bytes:
    """A shared object whose GPU code is written as in `audit.made`: `120`, `90+80`, `ptx90`."""
    made = [make_container([make_entry(entry(part)) for part in text.split("+")]) for text in containers]
    return make_elf([(".nv_fatbin", b"".join(made))])


def make_wheel(name: str, members: dict[str, bytes]) -> bytes:
    info = f"{name}-1.0.dist-info"
    members = {
        **members,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for member, data in [*members.items(), (f"{info}/RECORD", record_of(members, info))]:
            archive.writestr(zipfile.ZipInfo(member), data)
    return stream.getvalue()


@dataclass
class LayoutBuilder:
    """A BuildKit that makes of a context one small layer on top of the parent's, and caches as BuildKit does.

    `mood` is what a build that is not reproducible depends on; with `code` other than 0 builds fail.
    """

    code: int = 0
    mood: Callable[[], str] = lambda: ""
    where: str = "a fake"
    disk: Path = Path("/")
    pruned: int = 0
    stopped: int = 0
    ran: list[list[str]] = field(default_factory=list)
    kept: dict[str, bytes] = field(default_factory=dict)

    def prune(self, *, everything: bool = False) -> None:
        self.pruned += 1

    def answers(self) -> bool:
        return True

    def stop(self) -> None:
        self.stopped += 1

    def run(self, arguments: Sequence[str], on_line: Callable[[str], None]) -> int:
        self.ran.append(list(arguments))
        given = [f"{option} {value}" for option, value in pairwise(arguments)]
        named = {option: _pairs(given, option) for option in ("--label", "--build-context", "--build-arg")}
        [output] = [text for text in given if text.startswith("--output ")]
        base = named["--build-context"].get("base", "")
        parent = Layout.open(Path(base.removeprefix("oci-layout://").rpartition("@")[0])) if base else None
        assert output.startswith(f"--output {make_output('zstd')},dest="), "another compression was not asked for"
        dockerfile = (Path(arguments[-1]) / "Dockerfile").read_bytes()
        key = content_id([dockerfile.decode(), named["--build-arg"], parent.digest if parent else ""])
        if "--no-cache" in arguments or key not in self.kept:
            self.kept[key] = dockerfile + self.mood().encode()
        if not self.code:
            write_shell(Path(output.partition(",dest=")[2]), self.kept[key], named["--label"], parent)
        return self.code


def write_shell(folder: Path, data: bytes, labels: dict[str, str], parent: Layout | None = None) -> Layout:
    """A layout of one more layer than its parent, with a file of this data."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        info = tarfile.TarInfo(f"etc/{labels.get('org.opencontainers.image.title', 'thing')}")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    below = parent.layers if parent else ()
    layer = describe(stream.getvalue(), LAYER_TAR)
    diff_ids = [*(parent.diff_ids if parent else ()), layer.digest]
    config = canonical_json(
        {
            "os": "linux",
            "architecture": "amd64",
            "config": {"Labels": labels},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
    )
    for blob, content in ((layer, stream.getvalue()), (describe(config, OCI_CONFIG), config)):
        _write(folder / blob.path, content)
    for blob in below:
        assert parent
        link_or_copy(parent.blob_path(blob.digest), folder / blob.path)
    layers = [each.to_json() for each in (*below, layer)]
    manifest = {"schemaVersion": 2, "config": describe(config, OCI_CONFIG).to_json(), "layers": layers}
    return create_layout(folder, canonical_json(manifest))


class LayoutDocker(FakeDocker):
    """An engine that keeps the archives that it loads, and gives them out again, as containerd's store does."""

    def __init__(self) -> None:
        super().__init__()
        self.archives: dict[str, bytes] = {}
        self.smokes: dict[str, Callable[[FakeContainer], None]] = {}
        self.scenarios: dict[tuple[str, str], Callable[[FakeContainer], None]] = {}
        self.devices: dict[str, list[list[str]]] = {}
        self.runtimes: dict[str, Any] = {"nvidia": {}}

    def load_image(self, source: io.RawIOBase) -> list[dict[str, str]]:
        data = b"".join(iter(lambda: source.read(1 << 16), b""))
        before = set(self.tags)
        try:
            answer = super().load_image(io.BytesIO(data))  # type: ignore[arg-type]
        except tarfile.ReadError as error:
            raise APIError("unexpected EOF") from error
        self.archives |= dict.fromkeys(set(self.tags) - before, data)
        return answer

    def get_image(self, digest: str) -> Any:
        return iter([self.archives[digest]])

    def info(self) -> dict[str, Any]:
        return super().info() | {"Runtimes": self.runtimes}

    def create(self, image: str, *, name: str, **options: Any) -> FakeContainer:
        assert image in self.tags, "the image is there before its container"
        container = super().create(image, name=name, **options)
        folder = Path(str(options["mounts"][0]["Source"]))
        cell = folder.parent.name
        self.devices[cell] = [device.device_ids for device in options["device_requests"]]
        self.scenarios.get((cell, folder.name), self.smokes.get(cell, passing))(container)
        return container


def passing(container: FakeContainer) -> None:
    """Every check passes."""
    results: list[dict[str, object]] = [
        {"check": name, "outcome": "passed", "detail": "", "measured": {}} for name in ("load", "serve")
    ]
    container.stdout = "\n".join(map(json.dumps, results)).encode()


def crashing(container: FakeContainer) -> None:
    """Every check passes, and then the container crashes."""
    passing(container)
    container.code = 139


def unanswered(container: FakeContainer) -> None:
    """The engine forgets about the container, so that nothing is known of it."""
    container.on_start = lambda: container.docker.images.get("nothing")


@dataclass(frozen=True)
class LabWorkshop(Workshop):
    """The real workshop; a test may let an assembly fail, or come to another image than its inputs make."""

    on_build: dict[str, Callable[[], None]] = field(default_factory=dict)
    altered: dict[str, list[Entry]] = field(default_factory=dict)

    def assemble(self, step: Step, parent: Layout | None, work: Path, log: Path, *, cached: bool = True) -> Layout:
        self.on_build.get(step.name, lambda: None)()
        layout = super().assemble(step, parent, work, log, cached=cached)
        if step.name not in self.altered:
            return layout
        packed = write_layer(self.altered[step.name], work / "altered", "zstd", MTIME, 1)
        blob = work / "altered" / packed.digest.removeprefix("sha256:")
        return compose(layout, [TopLayer("altered", packed, blob)], work / "other", "2024-01-01T00:00:00Z")


class Unwatched:
    """Stands in for the watch on a GPU that there is not: it was well."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu

    def end(self) -> Sighting:
        return Sighting({}, celsius=40)


class Lab:
    """The project of `builders`, buildable for CUDA 12.8 too, and a bench for it.

    `gpus` is what the machine has, by target. A cell's smoke test is as `docker.smokes` says, a build as `workshop`.
    """

    GPUS: ClassVar[dict[str, Gpu]] = {"5090": RTX_5090, "pro6000": PRO_6000}

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        patch.setattr(watch, "Watch", Unwatched)
        self.root = root
        self._capsys = capsys
        self.site = Site("auto", "", (), (), root / "cache")
        self.docker = LayoutDocker()
        self.builder = LayoutBuilder()
        self.registry = FakeRegistry()
        self.registry.path = "team/(?:serve|train)"
        self.gpus = self.GPUS
        self.compiled = 0
        self.byte_code: Callable[[], bytes] = lambda: b"byte code"
        self.said = ""
        self._mutex = Mutex()
        self.engine = self.docker.engine()
        self.remote: RemoteEngine | None = None
        self.workshop = LabWorkshop(self.builder, Cache(self.site.cache), lambda parent: self._compiler())
        write_project(root)
        edit(root / "matrix.toml", "\ncpu = {", f"\n{PRO_6000_TARGET}\ncpu = {{")
        edit(root / "images/base/Dockerfile", "FROM scratch", "# base\nFROM scratch")
        for name in ("serve", "train"):
            edit(root / f"images/{name}/Dockerfile", "FROM parent", f"# {name}\nFROM base")
            with (root / f"images/{name}/image.toml").open("a") as stream:
                stream.write(FOR_GPU)
        self.write_locks()

    def write_locks(self, *code: str) -> None:
        """Lock one wheel for each recipe, whose library has this GPU code (for CUDA, `120` as it is written)."""
        matrix, cache = load_matrix(self.root), Cache(self.site.cache)
        for slot in all_slots(matrix):
            files: tuple[LockedFile, ...]
            if slot.place.endswith("debian.toml"):
                deb = make_deb(self.root / "deb", [("etc/", ""), ("etc/os", b"")]).read_bytes()
                files = (
                    _lock(
                        cache, deb, file="python3.11_3.11.2_amd64.deb", kind="deb", name="python3.11", version="3.11.2"
                    ),
                )
            elif slot.place.startswith("images/"):
                name = slot.place.split("/")[1]
                members = {f"{name}/__init__.py": b"x = 1\n"}
                if "cpu" not in slot.place:
                    members["lib/x.so"] = gpu_library(*(code or ("120+90", "120")))
                files = (_lock(cache, make_wheel(name, members), file=f"{name}-1.0-py3-none-any.whl", name=name),)
            else:
                files = (lock_bytes(b"engine", file="engine.deb", kind="deb"),)
            write_lock(self.root / slot.place, Lock(slot.config_id, EPOCH, files))

    @property
    def project(self) -> Project:
        return Project(load_matrix(self.root), self.site, Workspace(self.root))

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.root)

    @property
    def bench(self) -> Bench:
        gpus = [*self.gpus.values()]
        return Bench(self.project, self.engine, self.workshop, lambda: gpus, self.registry.client, self.remote)

    @property
    def ran(self) -> list[str]:
        """What was announced since the last run began, less the parts of a build."""
        self.said += self._capsys.readouterr().err
        lines = [line.removesuffix(" …") for line in self.said.splitlines() if line.endswith(" …")]
        return [line for line in lines if line.partition(" ")[2] not in PARTS and not line.startswith("waiting")]

    @property
    def tags(self) -> set[str]:
        return {tag for tags in self.docker.tags.values() for tag in tags}

    def use_registry(self) -> None:
        self.site = replace(self.site, registry=REGISTRY)

    def forget(self, *, engine: bool = True, layouts: bool = True) -> None:
        """Lose the images of the engine, and the layouts on the disk."""
        if engine:
            self.docker.tags.clear()
        if layouts:
            shutil.rmtree(self.workspace.layouts, ignore_errors=True)

    def jobs(self, *patterns: str, last: Stage = Stage.PUBLISH, **options: Any) -> list[Job]:
        project = self.project
        plan = make_plan(project.matrix, Selection(patterns))
        return make_jobs(project.matrix, plan, project.build_options(), last, Options(**options))

    def write(self, *patterns: str, path: Path) -> dict[str, CellReport]:
        """Build these cells, and write their candidates there."""
        rows = self.run(*patterns, last=Stage.BUILD)
        write_output(self.bench, self.jobs(*patterns, last=Stage.BUILD), path)
        return rows

    def run(self, *patterns: str, last: Stage = Stage.PUBLISH, **options: Any) -> dict[str, CellReport]:
        """Run these cells; afterwards, what `verdict` says must be what the run said."""
        self._capsys.readouterr()
        self.said = ""
        jobs = self.jobs(*patterns, last=last, **options)
        rows = {row.cell: row for row in run_cells(self.bench, jobs)}
        for row in rows.values():
            if row.verdict in ("accepted", "rejected", "inconclusive"):
                read = self.verdict(row.cell)
                assert (read.verdict, read.digest) == (row.verdict, row.digest), "there is one road to a verdict"
        return rows

    def verdict(self, cell: str) -> CellVerdict:
        project = self.project
        plan = make_plan(project.matrix, Selection([cell]))
        [row] = read_verdicts(project.workspace, project.matrix, plan, project.build_options())
        return row

    def step(self, cell: str) -> Step:
        project = self.project
        return make_steps(project.matrix, make_plan(project.matrix, Selection([cell])), project.build_options())[-1]

    def folder(self, cell: str) -> Path:
        """The evidence of a cell's current build."""
        return self.workspace.run(self.step(cell).build_id)

    def layout(self, cell: str) -> Layout:
        return Layout.open(self.workspace.layout(self.step(cell).build_id))

    def labels(self, cell: str) -> dict[str, str]:
        """The label by which an image says what it was built from."""
        return {BUILD_ID_LABEL: self.step(cell).build_id}

    def _compiler(self) -> Compiler:
        def compile_all(sources: Path, results: Path, prefix: str, done: Callable[[str], None]) -> None:
            with self._mutex:
                self.compiled += 1
            for folder in sorted(sources.iterdir()):
                with zipfile.ZipFile(results / f"{folder.name}.zip", "w") as archive:
                    for path in sorted(folder.rglob("*.py")):
                        name = path.relative_to(folder)
                        archive.writestr(f"{name.parent}/__pycache__/{name.stem}.cpython-311.pyc", self.byte_code())
                done(folder.name)

        return compile_all


def damage(layout: Layout, *, blob: Descriptor | None = None) -> None:
    """Change the last layer's bytes (or another blob's), and not how many they are."""
    path = layout.folder / (blob or layout.layers[-1]).path
    data = path.read_bytes()
    path.unlink()  # the cache of layers has the same file under another name
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def list_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _lock(cache: Cache, data: bytes, **fields: Any) -> LockedFile:
    put_in_cache(cache, data)
    return lock_bytes(data, **fields)


def _pairs(given: Sequence[str], option: str) -> dict[str, str]:
    texts = [text.removeprefix(f"{option} ") for text in given if text.startswith(f"{option} ")]
    return {name: value for name, _, value in (text.partition("=") for text in texts)}


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
