"""Proof on a real GPU that the gate rejects what is wrong: `nox -s gpu-faults -- CELL`, after `publish` had the image.

One fault at a time is planted: into the model, into what the scenario asks for, or into the image. The scenario that is
for it has to fail, by the check that is for it. Prints a table, and ends with 0 only if each was found by its check.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from scripts.engine import Engine
from scripts.engines import open_engine
from scripts.model import Result
from scripts.pipeline.candidate import read_candidate
from scripts.pipeline.job import Job, Options, Stage, make_jobs
from scripts.pipeline.judge import recall_scenarios
from scripts.plan import Selection, make_plan
from scripts.project import Project
from scripts.smoke import smoke as smoke_module
from scripts.smoke.gpu import Gpu, find_gpus, hold_targets
from scripts.smoke.models.zoo import write_model
from scripts.smoke.smoke import Evidence, run_scenario
from tests.gpu.planting import double_scale, flip_sign, readdress

ROOT = Path(__file__).resolve().parents[2]
OTHER = {"9.0": 120, "12.0": 90}  # an architecture that the GPU of a compute capability cannot run

Plant = Callable[[Path], None]


@dataclass(frozen=True)
class Fault:
    """What is wrong, in which scenario of which images, and by which of its checks that has to show.

    `model` changes the model's folder; `arguments` are added to the scenario's; `library` is one of the image, whose
    GPU code is said to be for another GPU.
    """

    name: str
    images: tuple[str, ...]
    scenario: str
    check: str
    model: Plant | None = None
    arguments: tuple[str, ...] = ()
    library: str = ""


FAULTS = (
    Fault("one weight's sign flipped", ("vllm", "sglang"), "eager", "logprobs", model=flip_sign),
    Fault("one FP8 scale doubled", ("vllm", "sglang"), "fp8-block", "logprobs", model=double_scale),
    Fault("a fallback kernel", ("vllm",), "fp8", "kernels", arguments=("--linear-backend", "marlin")),
    Fault("a cache that is never hit", ("sglang",), "serve", "radix-cache", arguments=("--disable-radix-cache",)),
    Fault(
        "a library for another GPU",
        ("vllm",),
        "eager",
        "health",
        library="/opt/venv/lib/python3.11/site-packages/vllm/_C_stable_libtorch.abi3.so",
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cell")
    parser.add_argument("--gpu", help="the index of the one to use (default: the first that is free)")
    parser.add_argument("--only", help="the faults whose names contain this")
    options = parser.parse_args()
    project = Project.open(ROOT)
    engine = open_engine(project)
    plan = make_plan(project.matrix, Selection([options.cell]))
    [job] = make_jobs(project.matrix, plan, project.build_options(), Stage.SMOKE, Options())
    candidate = read_candidate(project.workspace, job.step.build_id)
    if candidate is None:
        raise SystemExit(f"{options.cell} is not here: `nox -s verify-…` first")
    faults = [fault for fault in FAULTS if job.cell.image in fault.images and (options.only or "") in fault.name]
    rows = []

    def look() -> list[Gpu]:
        return [gpu for gpu in find_gpus() if options.gpu in (None, gpu.index)]

    with (
        hold_targets(job.cell, look, project.site.cache / "locks", 1) as [gpu],
        tempfile.TemporaryDirectory(prefix="hallmark-faults-") as name,  # one, for what servers compile and keep
    ):
        known = recall_scenarios(project.workspace, job, candidate.digest)
        for fault in faults:
            if (without := known.get(fault.scenario)) is None or not without.passed:
                rows.append((fault, False, f"`{fault.scenario}` has not passed without it"))
                print(f"{fault.name}: not tried, {rows[-1][2]}", flush=True)
                continue
            evidence = try_fault(engine, job, candidate.digest, gpu, fault, Path(name))
            failed = [result.check for result in evidence.results if not result.passed]
            found = fault.check in failed
            rows.append((fault, found, find(evidence.results, fault.check)))
            print(f"{fault.name}: {'found' if found else 'NOT FOUND'} by {fault.check}; failed: {failed}", flush=True)
    print("\n| Fault | Scenario | Found by | What it said |\n|---|---|---|---|")
    for fault, found, said in rows:
        print(f"| {fault.name} | `{fault.scenario}` | {f'`{fault.check}`' if found else '**nothing**'} | {said} |")
    return 0 if rows and all(found for _, found, _ in rows) else 1


def try_fault(engine: Engine, job: Job, digest: str, gpu: Gpu, fault: Fault, work: Path) -> Evidence:
    """What comes of the scenario with the fault in it."""
    [scenario] = [each for each in job.scenarios if each.name == fault.scenario]
    scenario = dataclasses.replace(scenario, arguments=(*scenario.arguments, *fault.arguments))
    if fault.library:
        digest = spoil_library(engine, digest, fault.library, OTHER[job.cell.target.compute])
    with planted(fault):
        return run_scenario(
            engine, job.cell, job.planned.image, scenario, digest, work, work / "run", lambda text: None, gpu
        )


def planted(fault: Fault) -> mock._patch[object]:
    """While this lasts, models are written with the fault."""

    def write(name: str, folder: Path) -> str:
        digest = write_model(name, folder)
        if fault.model:
            fault.model(folder)
        return digest

    return mock.patch.object(smoke_module, "write_model", write)


def find(results: Sequence[Result], check: str) -> str:
    """What a check said, on one line."""
    details = [result.detail for result in results if result.check == check]
    return " ".join(details[0].split())[:200] if details else "it did not report"


def spoil_library(engine: Engine, digest: str, path: str, arch: int) -> str:
    """An image like another, in which a library says of all its machine code that it is for `arch`; its id."""
    container = engine.client.containers.create(digest, command=["true"])
    try:
        stream, _ = container.get_archive(path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
            [member] = archive.getmembers()
            extracted = archive.extractfile(member)
            assert extracted
            data = bytearray(extracted.read())
        readdress(data, arch)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        container.put_archive(str(Path(path).parent), packed.getvalue())
        return str(container.commit().id)
    finally:
        container.remove(force=True)


if __name__ == "__main__":
    sys.exit(main())
