"""Check a bundle, step by step; each step says what it found, or in its own words what is wrong.

What this cannot show is that it happened: whoever has this checkout could make up evidence that fits. It shows that the
evidence is whole, of this build and by this suite, and amounts to what is claimed of it.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scripts.attest.keys import PublicKey
from scripts.bundle.case import OWNERS, Case
from scripts.bundle.complete import check_complete, check_suite, check_verdict
from scripts.bundle.form import LARGEST, Bundle, parse_bundle
from scripts.bundle.plausible import check_driver, check_gpu, check_times
from scripts.engine.images import BUILD_ID_LABEL
from scripts.errors import ConfigError, Undecided
from scripts.model import Outcome, Result, Verdict
from scripts.oci.descriptor import digest_of, parse_descriptor, parse_object
from scripts.pipeline import Options, Stage, make_jobs
from scripts.pipeline.candidate import read_candidate
from scripts.pipeline.described import describe_job
from scripts.plan import make_plan
from scripts.project import Project
from scripts.verdict import decide
from scripts.verify.tested import Refusal, as_text, list_some

SIGNATURE = "signature"
_LONGEST = 600  # characters of what a step says


@dataclass(frozen=True)
class Checked:
    """What came of it: the steps in order, and the verdict on the bundle (not on what it tells of).

    `bundle` is None where the file is none.
    """

    results: tuple[Result, ...]
    verdict: Verdict
    bundle: Bundle | None

    @property
    def failed(self) -> frozenset[str]:
        """The steps that did not hold."""
        return frozenset(each.check for each in self.results if each.outcome in (Outcome.FAILED, Outcome.ERROR))


def check_bundle(project: Project, path: Path, key: PublicKey | None = None, now: float | None = None) -> Checked:
    """Take a file through every step. `now` is in seconds since 1970.

    Accepted only if every step held; rejected where one was shown wrong, and inconclusive where it could not be asked.
    Raises ConfigError where there is no file, and for a checkout whose locks are stale.
    """
    case = Case(project, path, key, time.time() if now is None else now)
    results: list[Result] = []
    for name, step in STEPS.items():
        results.append(result := _take(name, step, case))
        if name in _FOUNDATIONS and not result.passed:
            break
    asked = [name for name in STEPS if key or name != SIGNATURE]
    verdict, _ = decide([each for each in results if each.outcome is not Outcome.SKIPPED], asked)
    return Checked(tuple(results), verdict, case.bundle)


def _take(name: str, step: Callable[[Case], str], case: Case) -> Result:
    """One step's result. Whatever of the file it quotes is harmless to a terminal, and short."""
    outcome, said = Outcome.PASSED, ""
    if name == SIGNATURE and case.key is None:
        return Result(name, Outcome.SKIPPED, as_text(_describe_signatures(case)))
    try:
        said = step(case)
    except Refusal as refusal:
        outcome, said = Outcome.FAILED, str(refusal)
    except Undecided as error:
        problem = error.problems[0]
        outcome, said = Outcome.ERROR, f"{problem.cause}; next: {problem.next_step}"
    return Result(name, outcome, as_text(said if len(said) <= _LONGEST else f"{said[:_LONGEST]} …"))


def check_form(case: Case) -> str:
    """Read the file, and no more of it than a bundle can have."""
    place = str(case.path)
    try:
        seen = case.path.stat()
        if not stat.S_ISREG(seen.st_mode):
            raise ConfigError("is no file", place, "give the file that `--bundle` wrote")
        if seen.st_size > LARGEST:
            raise Refusal(f"it has {seen.st_size} bytes, and a bundle has at most {LARGEST}")
        with case.path.open("rb") as stream:
            data = stream.read(LARGEST + 1)
    except FileNotFoundError:
        raise ConfigError("there is no such file", place, "give the file that `--bundle` wrote") from None
    except OSError as error:
        raise Undecided(
            f"it cannot be read: {error.strerror}", place, "make it readable for whoever runs this"
        ) from None
    case.bundle, case.envelope = parse_bundle(data)
    return f"a run of {case.bundle.cell}, by {case.bundle.owner}"


def _describe_signatures(case: Case) -> str:
    assert case.envelope
    ids = sorted({mark.key_id[:16] for mark in case.envelope.signatures})
    return f"not looked at: give --key. It names {', '.join(ids) or 'a nameless key'}" if ids else "not signed"


def check_signature(case: Case) -> str:
    """Whether the key has signed exactly this."""
    assert case.key and case.envelope
    if not case.envelope.signatures:
        raise Refusal("nobody has signed it")
    if not case.envelope.is_signed_by(case.key):
        ids = sorted({mark.key_id[:16] for mark in case.envelope.signatures})
        raise Refusal(f"not signed by this key ({case.key.id[:16]}) as it stands there: it names {list_some(ids)}")
    return f"signed by the key {case.key.id[:16]}"


def find_cell(case: Case) -> str:
    """The cell of today's matrix that it is of, and whether the file lies where that cell's runs lie."""
    said = case.said
    found = [planned for planned in make_plan(case.project.matrix) if planned.cell.id == said.cell]
    if not found:
        raise Refusal(f"today's matrix has no cell {said.cell[:100]}")
    [planned] = found
    if planned.gap:
        raise Refusal(planned.gap)
    if not planned.cell.target.has_gpu:
        raise Refusal(f"{said.cell} is for no GPU, so an owner of one has nothing to tell of it")
    folder = case.path.absolute().parent
    if folder.parent.name == OWNERS and folder.name != said.cell:
        raise Refusal(f"it lies among the runs of {folder.name}, and is of {said.cell}")
    build = case.project.build_options()
    [case.job] = make_jobs(case.project.matrix, found, build, Stage.SMOKE, Options())
    return f"for {planned.cell.target.name}"


def check_build(case: Case) -> str:
    """Whether it is what this checkout builds, by its inputs and its options."""
    said, job = case.said, case.asked
    today, parameters = dict(describe_job(job).parameters), said.build["parameters"]
    if said.build_id != job.step.build_id:
        other = [name for name in ("slim", "compression") if parameters.get(name) != today[name]]
        how = f", with other options ({', '.join(other)})" if other else ""
        words = f"it is of an earlier build, or another{how}: {said.build_id[:12]}"
        raise Refusal(f"{words}, and this checkout's is {job.step.build_id[:12]}")
    if said.build["name"] != job.step.name or parameters != today:
        raise Refusal("what it says of its build is not what the build with this id is made by")
    return f"build {job.step.build_id[:12]}, which is this checkout's"


def check_digest(case: Case) -> str:
    """Whether the digest is that of an image which says that it is of this build."""
    said = case.said
    try:
        if digest_of(said.manifest.encode()) != said.digest:
            raise Refusal(f"its image's manifest is not that of {said.digest}")
        manifest = parse_object(said.manifest.encode())
        config, layers = parse_descriptor(manifest["config"]), [parse_descriptor(each) for each in manifest["layers"]]
        if digest_of(said.config.encode()) != config.digest:
            raise Refusal("its image's configuration is not the one that the manifest names")
        labels = parse_object(said.config.encode())["config"]["Labels"]
        build_id, size = labels[BUILD_ID_LABEL], config.size + sum(layer.size for layer in layers)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Refusal("its image's manifest or configuration is none, or has no build id") from None
    if build_id != said.build_id:
        raise Refusal(f"its image was built as {str(build_id)[:12]}, and it says {said.build_id[:12]}")
    if size != said.build["size"]:
        raise Refusal(f"its image has {size} bytes, and it says {said.build['size']}")
    if other := [each.digest for each in said.evidence if each.digest != said.digest]:
        raise Refusal(f"its evidence is of another digest ({other[0]})")
    if said.audit.get("digest") != said.digest:
        raise Refusal("its audit is of another digest")
    known = read_candidate(case.project.workspace, said.build_id)
    if known and known.digest != said.digest:
        raise Refusal(f"this build came to {known.digest} here, and it is of {said.digest}")
    return said.digest


STEPS: dict[str, Callable[[Case], str]] = {
    "form": check_form,
    SIGNATURE: check_signature,
    "cell": find_cell,
    "build": check_build,
    "digest": check_digest,
    "suite": check_suite,
    "complete": check_complete,
    "verdict": check_verdict,
    "times": check_times,
    "driver": check_driver,
    "gpu": check_gpu,
}
_FOUNDATIONS = ("form", "cell")  # without which the rest has nothing to look at
