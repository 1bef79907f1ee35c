"""Which image a cell is served from: the digest that has its stamp, or, by explicit wish, a candidate without one."""

from __future__ import annotations

from dataclasses import dataclass

from scripts.compare.engines import ENGINES, ServingEngine
from scripts.console import note
from scripts.engine import Engine
from scripts.engine.images import digest_of_tag
from scripts.errors import ConfigError
from scripts.model import Cell, Verdict
from scripts.pipeline import Bench, Job
from scripts.pipeline.candidate import read_candidate
from scripts.pipeline.judge import judge_cell
from scripts.pipeline.obtain import load
from scripts.publish.stamp import NAMESPACE, name_tags


@dataclass(frozen=True)
class Subject:
    """A cell, the digest that is served for it, what people call that, and how its server is started."""

    cell: Cell
    digest: str
    name: str
    server: ServingEngine


def find_stamped(bench: Bench, job: Job) -> Subject:
    """The image of an accepted cell, by its tag. Raises ConfigError where there is no stamp, with what to do."""
    cell = job.cell
    build = f"nox -s build-{cell.target.id} -- {cell.id}"
    verdict = judge_cell(bench.workspace, job)
    if verdict.verdict is not Verdict.ACCEPTED:
        cause = f"{verdict.verdict}, so it has no stamp: {'; '.join(verdict.reasons)}"
        raise ConfigError(cause, cell.id, f"{build}, or serve it all the same: --candidate")
    tags = name_tags(job.planned, job.step.build_id)
    # By the tag of this one build: the moving one may be that of another checkout by now.
    if digest_of_tag(bench.engine, f"{NAMESPACE}/{tags.image}:{tags.fixed}") != verdict.digest:
        raise ConfigError(f"accepted, but the engine does not have {tags.image}:{tags.fixed}", cell.id, build)
    name = f"{NAMESPACE}/{tags.image}:{tags.fixed}"
    return Subject(cell, verdict.digest, name, find_server(bench.engine, cell, verdict.digest))


def find_candidate(bench: Bench, job: Job) -> Subject:
    """The candidate of a cell, whatever was decided of it, which is said. Raises ConfigError where none was built."""
    cell = job.cell
    candidate = read_candidate(bench.workspace, job.step.build_id)
    if candidate is None:
        raise ConfigError("its candidate is not here", cell.id, f"nox -s build -- {cell.id}")
    load(bench, job.step, candidate, may_build=False)
    verdict = judge_cell(bench.workspace, job)
    said = "this digest was accepted" if verdict.verdict is Verdict.ACCEPTED else "; ".join(verdict.reasons)
    note(f"NO STAMP IS ASKED FOR: {cell.id} is served as a candidate, {verdict.verdict}: {said}")
    return Subject(cell, candidate.digest, candidate.digest, find_server(bench.engine, cell, candidate.digest))


def find_server(engine: Engine, cell: Cell, digest: str) -> ServingEngine:
    """The engine that an image starts, by its entry point. Raises ConfigError for an image that serves nothing."""
    with engine.explaining():
        config = engine.client.images.get(digest).attrs["Config"]
        entry = tuple(config.get("Entrypoint") or ())
    for server in ENGINES.values():
        if entry[-len(server.program) :] == server.program:
            return server
    raise ConfigError("its image serves no models", cell.id, f"name a cell of {' or '.join(ENGINES)}")
