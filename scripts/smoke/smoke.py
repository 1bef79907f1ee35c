"""smoke: what a candidate is shown, asked and granted, and the evidence of what it did."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from scripts.console import Update
from scripts.engine import Engine, sandbox
from scripts.files import content_id, sha256_file, write_atomic, write_json
from scripts.matrix import Image, Smoke
from scripts.model import Cell, Outcome, Result
from scripts.smoke.gpu import Gpu, request_device
from scripts.smoke.tiny_llama import write_model
from scripts.smoke.trial import run_trial

VERSION = 1
HERE = Path(__file__).parent
SANDBOX = Path(sandbox.__file__)
SHARED = ("probe.py", "reference.json")
# Largest difference accepted between log-probabilities and the float64 reference, in nats. Float32 engines on the CPU
# stay within 2.3e-5. In bfloat16 the model, made to be sensitive, moves by up to 0.24 (PyTorch 2.11, measured on an
# H200) with the same greedy tokens; layer weights with flipped signs move it further and change the tokens.
TOLERANCE = {"cpu": 1e-3}
TOLERANCE_BFLOAT16 = 0.3


@dataclass(frozen=True)
class Evidence:
    """The results of one smoke test: of which image, by which questions (`smoke_id`), on which host and when."""

    smoke_id: str
    digest: str
    results: tuple[Result, ...]
    seconds: float
    finished: str
    host: dict[str, str]

    def with_results(self, others: Sequence[Result]) -> Evidence:
        """The same evidence, preceded by the results of other stages."""
        return replace(self, results=(*others, *self.results))


def identify(cell: Cell, image: Image, smoke: Smoke, digest: str) -> str:
    """The content id of a smoke test: another image, script, model, limit or environment asks another question."""
    helpers = [HERE / name for name in (*SHARED, "tiny_llama.py", "trial.py")]
    files = [image.folder / "smoke.py", *helpers, SANDBOX]
    return content_id(
        {
            "digest": digest,
            "files": [sha256_file(path) for path in files],
            "smoke": asdict(smoke) | {"checks": sorted(smoke.checks)},
            "environment": _environment(cell),
        }
    )


def run_smoke(
    engine: Engine,
    cell: Cell,
    image: Image,
    smoke: Smoke,
    digest: str,
    work: Path,
    run: Path,
    update: Update,
    gpu: Gpu | None = None,
) -> Evidence:
    """Smoke-test one image, on a GPU where one is given, and write smoke.json and smoke.log into `run`.

    Never raises for what the image does. Raises Undecided for an engine that cannot hand out the GPU.
    """
    devices = [request_device(engine, gpu)] if gpu else []
    folder = work / f"smoke-{cell.id}"
    update("making the model")
    lay_out(image, folder)
    update(f"running {len(smoke.checks)} checks in a container")
    ended = run_trial(engine, digest, folder, smoke, _environment(cell), devices)
    shutil.rmtree(folder)
    evidence = Evidence(
        smoke_id=identify(cell, image, smoke, digest),
        digest=digest,
        results=ended.results,
        seconds=ended.seconds,
        finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        host=_describe_host(engine) | ({"gpu": gpu.name, "driver": gpu.driver} if gpu else {}),
    )
    write_atomic(run / "smoke.log", ended.log.encode())
    write_json(run / "smoke.json", {"version": VERSION} | asdict(evidence))
    return evidence


def read_evidence(run: Path, smoke_id: str, digest: str) -> Evidence | None:
    """The evidence of an earlier smoke test that asked this digest the very same. Damaged evidence is none."""
    try:
        data: dict[str, Any] = json.loads((run / "smoke.json").read_bytes())
        if (data.pop("version"), data["smoke_id"], data["digest"]) != (VERSION, smoke_id, digest):
            return None
        results = tuple(Result(**entry | {"outcome": Outcome(entry["outcome"])}) for entry in data.pop("results"))
        return Evidence(results=results, **data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def lay_out(image: Image, folder: Path) -> None:
    """Make the folder that the container sees: script, helpers, reference and model, readable for any user."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copyfile(image.folder / "smoke.py", folder / "smoke.py")
    for name in SHARED:
        shutil.copyfile(HERE / name, folder / name)
    write_model(folder / "model")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _environment(cell: Cell) -> dict[str, str]:
    cuda = {"HALLMARK_CUDA": cell.cuda.id} if cell.cuda else {}
    return {
        **cuda,
        "HALLMARK_TARGET": cell.target.id,
        "HALLMARK_COMPUTE": cell.target.compute,
        "HALLMARK_TOLERANCE": str(TOLERANCE.get(cell.target.id, TOLERANCE_BFLOAT16)),
        "HOME": "/tmp",  # noqa: S108  the only place a container may write to
        "HF_HUB_OFFLINE": "1",
    }


@cache
def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _describe_host(engine: Engine) -> dict[str, str]:
    return {
        "cpu": f"{os.cpu_count()} × {_cpu_model()}",
        "kernel": platform.release(),
        "engine": engine.version,
    }
