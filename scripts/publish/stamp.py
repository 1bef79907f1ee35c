"""The stamp: tags for an accepted candidate, in the engine and in a registry, and the evidence beside them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.engine import Engine
from scripts.engine.images import digest_of_tag, remove_image, set_tag, tags_of
from scripts.files import canonical_json
from scripts.model import Outcome, Result
from scripts.oci.layout import Layout
from scripts.plan import PlannedCell
from scripts.publish.attach import attach
from scripts.publish.promote import promote, push_candidate
from scripts.registry.client import Registry
from scripts.registry.reference import Repository
from scripts.smoke.smoke import Evidence

NAMESPACE = "hallmark"
IN_TOTO = "application/vnd.in-toto+json"


@dataclass(frozen=True)
class Tags:
    """A cell's tags: `moving` follows the newest accepted build, `fixed` names this one build for good."""

    image: str
    moving: str
    fixed: str

    @property
    def all(self) -> tuple[str, str]:
        # The fixed one first: an interruption then never leaves the moving tag ahead of it.
        return self.fixed, self.moving


@dataclass(frozen=True)
class Proof:
    """Why a digest is accepted as a cell: what other stages found, its scenarios, and those that decide nothing."""

    cell: str
    digest: str
    results: tuple[Result, ...]
    evidence: tuple[Evidence, ...]
    informative: tuple[Evidence, ...] = ()


def name_tags(planned: PlannedCell, build_id: str) -> Tags:
    """`vllm`, `0.28.0-cpu` and `0.28.0-cpu-<12 digits of the build id>`."""
    version = planned.recipe.version if planned.recipe else ""
    moving = f"{version}-{planned.cell.variant}"
    return Tags(planned.cell.image, moving, f"{moving}-{build_id[:12]}")


def name_repository(registry_name: str, image: str) -> Repository:
    """An image's repository under HALLMARK_REGISTRY. Raises ConfigError for a name that no registry could have."""
    return Repository.parse(f"{registry_name}/{image}")


def stamp_engine(engine: Engine, digest: str, tags: Tags) -> str:
    """Point both tags at the digest, in the engine, unless they do already; returns the moving one's reference."""
    for tag in tags.all:
        reference = f"{NAMESPACE}/{tags.image}:{tag}"
        if digest_of_tag(engine, reference) != digest:
            set_tag(engine, digest, reference)
    return f"{NAMESPACE}/{tags.image}:{tags.moving}"


def withdraw(engine: Engine, digest: str, tags: Tags) -> list[str]:
    """Take a cell's tags off a digest that is not (or no longer) accepted; returns those that it had.

    The tags of other GPUs stay: what this digest did on one says nothing of another.
    """
    own = re.compile(rf"{re.escape(f'{NAMESPACE}/{tags.image}:{tags.moving}')}(-[0-9a-f]{{12}})?")
    gone = [tag for tag in tags_of(engine, digest) if own.fullmatch(tag)]
    for tag in gone:
        remove_image(engine, tag)
    return gone


def stamp_registry(
    registry: Registry,
    repository: Repository,
    layout: Layout,
    tags: Tags,
    proof: Proof,
    lock_folder: Path,
) -> str:
    """Push the candidate by digest, attach its evidence, then promote both tags; returns the moving one's reference."""
    digest = push_candidate(registry, repository, layout)
    statement = canonical_json(make_statement(proof, str(repository), tags.all))
    attach(registry, repository, layout.manifest, IN_TOTO, statement, IN_TOTO, lock_folder)
    for tag in tags.all:
        promote(registry, repository, digest, tag, lock_folder)
    return f"{repository}:{tags.moving}"


def make_statement(proof: Proof, repository: str, tags: Sequence[str]) -> dict[str, object]:
    """The proof as an in-toto test-result statement: https://github.com/in-toto/attestation (test-result v0.1).

    A digest alone does not say what it was accepted as, so the cell and its tags are part of the predicate. What failed
    of scenarios that decide nothing is a warning.
    """
    required = [*proof.results, *_name_results(proof.evidence)]
    informative = _name_results(proof.informative)
    failed = [result.check for result in required if result.outcome is not Outcome.PASSED]
    warned = [result.check for result in informative if result.outcome is not Outcome.PASSED]
    passed = [result.check for result in (*required, *informative) if result.outcome is Outcome.PASSED]
    seen = [*proof.evidence, *proof.informative]
    shown = bool(proof.evidence) and all(each.results for each in proof.evidence) and not failed
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": repository, "digest": {"sha256": proof.digest.removeprefix("sha256:")}}],
        "predicateType": "https://in-toto.io/attestation/test-result/v0.1",
        "predicate": {
            "result": "FAILED" if not shown else "WARNED" if warned else "PASSED",
            "configuration": [{"name": each.scenario, "digest": {"sha256": each.smoke_id}} for each in seen],
            "passedTests": passed,
            "warnedTests": warned,
            "failedTests": failed,
            "cell": proof.cell,
            "tags": list(tags),
            "hosts": [dict(pairs) for pairs in sorted({tuple(sorted(each.host.items())) for each in seen})],
            "finished": max((each.finished for each in seen), default=""),
        },
    }


def _name_results(evidence: Sequence[Evidence]) -> list[Result]:
    return [result for each in evidence for result in each.named]
