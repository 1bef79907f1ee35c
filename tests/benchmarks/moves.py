"""What each kind of update sends to a registry that has the image from before: python -m tests.benchmarks.moves …

    [CELL]           the cell that is updated (default: vLLM's of cu128)
    --other CELL     another image of the same line (default: SGLang's of cu128; empty: none)

The registry is a real one, on this machine, and counted are the bytes of blobs that it did not have yet. All go to one
repository: whether another repository of a registry has a blob is no business of a push. Nothing is judged.
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import io
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from scripts.assemble.types import Step
from scripts.files import format_size, link_or_copy, sha256_file
from scripts.model import LockedFile
from scripts.oci.layout import Layout
from scripts.pipeline import Bench, open_bench
from scripts.project import Project
from scripts.publish.promote import push_candidate
from scripts.reference import Repository
from scripts.registry.client import Registry
from scripts.report.table import print_table
from tests.benchmarks.common import make_step, obtain_base, open_fresh, require_space, share_inputs
from tests.docker_registry import serve_registry
from tests.unit.builders import REPOSITORY_ROOT

_SPACE = 5  # times the cell's wheels: layers kept, in the registry, and what is made of changed ones
_DAY_S = 86400


class CountingRegistry(Registry):
    """A client that counts the bytes of the blobs which it really has to send."""

    sent = 0

    def upload_blob(self, repository: Repository, digest: str, source: Path | bytes) -> None:
        size = source.stat().st_size if isinstance(source, Path) else len(source)
        if not self.has_blob(repository, digest, size):
            self.sent += size
        super().upload_blob(repository, digest, source)


def main() -> None:
    """Print a row for each kind of update."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cell", nargs="?", default="vllm-cu128-5090-wheel", metavar="CELL")
    parser.add_argument("--other", default="sglang-cu128-5090-wheel", metavar="CELL")
    options = parser.parse_args()
    bench = open_bench(Project.open(REPOSITORY_ROOT))
    with bench.workspace.claim("benchmark") as work:
        step = make_step(bench, options.cell)
        require_space(work, step, _SPACE)
        rows = _Moves(bench, step, work).measure(make_step(bench, options.other) if options.other else None)
    bench.builder.prune()
    print_table(("update", "sent", "image", "sent / image"), rows)


class _Moves:
    """One cell, and its variants, each assembled and pushed to a registry that has the cell as it is."""

    def __init__(self, bench: Bench, step: Step, work: Path) -> None:
        self.bench, self.step, self.work = bench, step, work
        self.workshop = open_fresh(bench, work / "kept")
        share_inputs(bench, self.workshop, step)
        self.base = obtain_base(bench, step)

    def measure(self, other: Step | None) -> list[list[str]]:
        """The first push, and each update after it, in words and bytes."""
        own = _own_package(self.step)
        with serve_registry(self.bench.project, self.work / "registry") as host:
            repository = Repository.parse(f"{host}/hallmark/benchmark")
            rows = [self._push(repository, f"{self.step.name}: the first time", self.step)]
            labelled = replace(self.step, labels={**self.step.labels, "io.hallmark.benchmark": "1"})
            rows.append(self._push(repository, "labels alone", labelled))
            small = self._rebuild("idna", lambda name: name == "idna/core.py")
            rows.append(self._push(repository, "idna with another byte", small))
            new = self._rebuild(own, lambda name: ".dist-info/" not in name)
            rows.append(self._push(repository, f"{own} with every file changed", new))
            rows.append(self._push(repository, "base with every file a day younger", self.step, self._refresh_base()))
            if other:
                share_inputs(self.bench, self.workshop, other)
                rows.append(self._push(repository, f"{other.name} instead", other))
        return rows

    def _push(self, repository: Repository, what: str, step: Step, base: Layout | None = None) -> list[str]:
        folder = self.work / "variant"
        layout = self.workshop.assemble(step, base or self.base, folder, folder / "build.log")
        registry = CountingRegistry()
        push_candidate(registry, repository, layout)
        sent, size = registry.sent, layout.size
        shutil.rmtree(folder)
        return [what, format_size(sent), format_size(size), f"{sent / size:.4f}"]

    def _rebuild(self, name: str, changes: Callable[[str], bool]) -> Step:
        """The step with one wheel written again, in which the members that `changes` names end with one byte more."""
        files = list(self.step.files)
        [number] = [number for number, file in enumerate(files) if file.kind == "wheel" and file.name == name]
        file = files[number]
        made = self.work / "rebuilt.whl"
        append_byte(self.bench.cache.path(file.sha256), made, changes)
        sha256 = sha256_file(made)
        files[number] = LockedFile("wheel", file.name, file.version, file.file, sha256, made.stat().st_size)
        link_or_copy(made, self.workshop.cache.path(sha256))
        made.unlink()
        return replace(self.step, files=tuple(files))

    def _refresh_base(self) -> Layout:
        """A base whose files all have another time, so that its layer is another: no more can a refresh change."""
        base = self.step.parent
        assert base and not base.parent
        self.bench.fetch(base.name, base.files)
        share_inputs(self.bench, self.workshop, base)
        younger = replace(base, epoch=base.epoch + _DAY_S)
        return self.workshop.assemble(younger, None, self.work / "base", self.work / "base.log")


def append_byte(wheel: Path, destination: Path, changes: Callable[[str], bool]) -> None:
    """Write a wheel again with a newline at the end of some members, and a RECORD that fits."""
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(destination, "w", zipfile.ZIP_STORED) as target:
        rows: dict[str, tuple[str, int]] = {}
        [record] = [name for name in source.namelist() if name.endswith(".dist-info/RECORD")]
        for member in source.infolist():
            if member.filename == record:
                continue
            data = source.read(member)
            if changes(member.filename) and not member.is_dir():
                data += b"\n"
                digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
                rows[member.filename] = (f"sha256={digest}", len(data))
            member.compress_type = zipfile.ZIP_STORED
            target.writestr(member, data)
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        for path, digest, size in csv.reader(io.StringIO(source.read(record).decode())):
            writer.writerow((path, *rows.get(path, (digest, size))))
        target.writestr(source.getinfo(record), text.getvalue())


def _own_package(step: Step) -> str:
    """The distribution that an image is named after; PyTorch's is torch."""
    names = sorted(file.name for file in step.wheels)
    return next((name for name in names if name.startswith(step.image.name)), "torch")


if __name__ == "__main__":
    main()
