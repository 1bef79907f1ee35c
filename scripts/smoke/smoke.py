"""smoke: what a candidate is shown, asked and granted in each scenario, and the evidence of what it did."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from scripts.console import Update
from scripts.engine import Engine, sandbox
from scripts.files import content_id, parse_json, sha256_file, write_atomic, write_json
from scripts.matrix import Image, Scenario
from scripts.model import Cell, Outcome, Result, Target
from scripts.smoke.away import describe_there
from scripts.smoke.gpu import Gpu
from scripts.smoke.models.zoo import MODELS, Bound, find_reference, write_model
from scripts.smoke.nvml import cpu_model
from scripts.smoke.suite import PLUGIN, SuiteFiles, find_suite_lock, lay_out_suite, tell_tests
from scripts.smoke.trial import CACHE, WRITABLE, Trial
from scripts.smoke.watch import run_watched

VERSION = 2
SMOKE = "smoke"
MIB = 1 << 20
MEMORY_KEY = "memory_mib"  # of a GPU, in the description of its host
HERE = Path(__file__).parent
SANDBOX = Path(sandbox.__file__)


@dataclass(frozen=True)
class Evidence:
    """The results of one scenario: of which image, by which questions (`smoke_id`), on which host and when."""

    scenario: str
    smoke_id: str
    digest: str
    results: tuple[Result, ...]
    seconds: float
    finished: str
    host: dict[str, str]

    @property
    def passed(self) -> bool:
        """Whether all of it did. That nothing is missing is the verdict's to say."""
        return all(result.passed for result in self.results)

    @property
    def named(self) -> tuple[Result, ...]:
        """The results under the names that they have among those of other scenarios: `eager/logprobs`."""
        return tuple(replace(result, check=name_check(self.scenario, result.check)) for result in self.results)


def name_check(scenario: str, check: str) -> str:
    """The name of a scenario's check among those of other scenarios."""
    return f"{scenario}/{check}"


def identify(cell: Cell, image: Image, scenario: Scenario, digest: str) -> str:
    """The content id of one scenario: another image, script, model, limit or environment asks another question.

    Whether it is required does not change what is asked, nor does what it says of other cells.
    """
    files = [image.folder / "smoke.py", *([find_reference(scenario.model)] if scenario.model else [])]
    files += [find_suite_lock(image, cell), PLUGIN] if scenario.tests else []
    return identify_run(files, scenario, make_environment(cell, scenario), digest)


def identify_run(files: Sequence[Path], scenario: Scenario, environment: Mapping[str, str], digest: str) -> str:
    """The content id of any run in the sandbox that these files of its own are for, beside what all runs share."""
    shared = [*inside_files(), HERE / "trial.py", SANDBOX, *sorted((HERE / "models").glob("*.py"))]
    asked = replace(scenario, required=True, absences=(), environment=dict(scenario.environment))
    return content_id(
        {
            "digest": digest,
            "files": [sha256_file(path) for path in (*files, *shared)],
            "scenario": asdict(asked),
            "environment": dict(environment),
        }
    )


def run_scenario(
    engine: Engine,
    cell: Cell,
    image: Image,
    scenario: Scenario,
    digest: str,
    work: Path,
    run: Path,
    update: Update,
    gpu: Gpu | None = None,
    suite: SuiteFiles | None = None,
) -> Evidence:
    """Take one image through one scenario, on a GPU where one is given; its evidence and log are written into `run`.

    What servers compile and keep stays in `work` for the scenarios after it. Never raises for what the image does.
    Raises Undecided for an engine that cannot hand out the GPU.
    """
    folder = work / cell.id / scenario.name
    if scenario.model:
        update(f"making the model {scenario.model}")
    lay_out(image, scenario, folder, suite)
    update(f"{len(scenario.checks)} checks in a container")
    ended = run_watched(engine, digest, folder, scenario, make_environment(cell, scenario), gpu, open_cache(work))
    shutil.rmtree(folder)
    asked = identify(cell, image, scenario, digest)
    return keep_evidence(run, scenario.name, asked, digest, ended, describe_host(engine, digest, gpu))


def open_cache(work: Path) -> Path:
    """The folder in which runs under one claim keep what servers compile, for any user to write to."""
    cache = work / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    cache.chmod(0o777)  # the container's user is another
    return cache


def keep_evidence(
    run: Path, scenario: str, asked: str, digest: str, ended: Trial, host: dict[str, str], kind: str = SMOKE
) -> Evidence:
    """What came of a run, with its log written into its cell's folder, under the kind of run that it was."""
    finished = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    evidence = Evidence(scenario, asked, digest, ended.results, ended.seconds, finished, host)
    write_atomic(log_file(run, scenario, kind), ended.log.encode())
    write_json(evidence_file(run, scenario, kind), {"version": VERSION} | asdict(evidence))
    return evidence


def log_file(run: Path, scenario: str, kind: str = SMOKE) -> Path:
    """Where what a scenario's container said is kept, under the folder of its cell."""
    return run / kind / f"{scenario}.log"


def read_evidence(run: Path, scenario: str, smoke_id: str, digest: str, kind: str = SMOKE) -> Evidence | None:
    """The evidence of an earlier run of a scenario that asked this digest the very same. Damaged evidence is none."""
    try:
        data: dict[str, Any] = parse_json(evidence_file(run, scenario, kind).read_bytes())
        known = (data.pop("version"), data["scenario"], data["smoke_id"], data["digest"])
        if known != (VERSION, scenario, smoke_id, digest):
            return None
        results = tuple(Result(**entry | {"outcome": Outcome(entry["outcome"])}) for entry in data.pop("results"))
        texts = [text for each in results for text in (each.check, each.detail)]
        texts += [data["finished"], *data["host"], *data["host"].values()]
        return Evidence(results=results, **data) if all(isinstance(text, str) for text in texts) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def lay_out(image: Image, scenario: Scenario, folder: Path, suite: SuiteFiles | None = None) -> None:
    """Make the folder that the container sees: script, helpers, model with its reference, or upstream's tests.

    Any user can read it. Raises ConfigError for tests that the suite does not have.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copyfile(image.folder / "smoke.py", folder / "smoke.py")
    for path in inside_files():
        shutil.copyfile(path, folder / path.name)
    if scenario.model:
        write_model(scenario.model, folder / "model")
        shutil.copyfile(find_reference(scenario.model), folder / "reference.json")
    if suite and scenario.tests:
        lay_out_suite(suite, scenario.tests, folder)
    make_readable(folder)


def make_readable(folder: Path) -> None:
    """Let any user read a folder and all in it: the container's is another."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def inside_files() -> list[Path]:
    """What scripts that run inside a candidate share, each to lie beside them."""
    return sorted((HERE / "inside").glob("*.py"))


def evidence_file(run: Path, scenario: str, kind: str = SMOKE) -> Path:
    """Where what a scenario came to is kept, under the folder of its cell."""
    return run / kind / f"{scenario}.json"


def make_environment(cell: Cell, scenario: Scenario) -> dict[str, str]:
    """The variables of a scenario's container: its own, what the script is to know, and where caches lie."""
    cuda = {"HALLMARK_CUDA": cell.cuda.id} if cell.cuda else {}
    dtype = scenario.dtype or ("bfloat16" if cell.target.has_gpu else "float32")
    bound = _find_bound(scenario.model, dtype, cell.target) if scenario.model else None
    bounds = {"HALLMARK_TOLERANCE": str(bound.largest), "HALLMARK_MEAN_TOLERANCE": str(bound.mean)} if bound else {}
    return {
        **scenario.environment,
        **cuda,
        **bounds,
        **(tell_tests(scenario) if scenario.tests else {}),
        "HALLMARK_TARGET": cell.target.id,
        "HALLMARK_COMPUTE": cell.target.compute,
        "HALLMARK_CHECKS": " ".join(scenario.checks),
        "HALLMARK_DTYPE": dtype,
        "HALLMARK_START_S": str(scenario.start_s),
        "HALLMARK_SERVE_ARGS": shlex.join(scenario.arguments),
        "HOME": WRITABLE,
        "TORCHINDUCTOR_CACHE_DIR": f"{CACHE}/inductor",
        "TRITON_CACHE_DIR": f"{CACHE}/triton",
        "HF_HUB_OFFLINE": "1",
    }


@cache
def _describe_here() -> dict[str, str]:
    return {"cpu": f"{os.cpu_count()} × {cpu_model()}", "kernel": platform.release()}


def _find_bound(model: str, dtype: str, target: Target) -> Bound:
    """What is accepted of a model that is computed in a type: GPUs may multiply float32 in TF32."""
    bounds = MODELS[model].bounds
    return bounds.get("tf32", bounds[dtype]) if dtype == "float32" and target.has_gpu else bounds[dtype]


def describe_host(engine: Engine, digest: str, gpu: Gpu | None) -> dict[str, str]:
    """The machine that an image ran on: processors, kernel, Docker Engine, and the GPU with its driver.

    Of the GPU also its index, compute capability and memory: what a card of its name must have. Never the machine's
    name or address. Raises Undecided for an engine on another machine that does not say.
    """
    machine = describe_there(engine, digest) if engine.away else _describe_here()
    host = machine | {"engine": engine.version}
    if gpu is None:
        return host
    memory = {MEMORY_KEY: str(gpu.memory // MIB)} if gpu.memory else {}
    return host | {"gpu": gpu.name, "driver": gpu.driver, "index": gpu.index, "compute": gpu.compute} | memory
