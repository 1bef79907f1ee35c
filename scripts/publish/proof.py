"""Why a digest is accepted as a cell, and how that is said: a test result, with what a consumer checks it by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.model import Cell, Outcome, Result
from scripts.smoke.smoke import Evidence


@dataclass(frozen=True)
class Proof:
    """Why a digest is accepted as a cell: what other stages found, its scenarios, and those that decide nothing.

    `required` are the checks that had to pass, by name.
    """

    cell: Cell
    required: tuple[str, ...]
    results: tuple[Result, ...]
    evidence: tuple[Evidence, ...]
    informative: tuple[Evidence, ...] = ()


def describe_proof(proof: Proof, tags: Sequence[str], statements: Mapping[str, str]) -> dict[str, Any]:
    """The proof as the predicate of a test result: https://github.com/in-toto/attestation (test-result v0.1).

    A digest alone does not say what it was accepted as, so the cell, its GPU and its tags are part of the predicate.
    What failed of scenarios that decide nothing is a warning. `statements` are the digests of those that belong to it,
    by the types of their predicates.
    """
    decisive = [*proof.results, *_name_results(proof.evidence)]
    informative = _name_results(proof.informative)
    failed = [result.check for result in decisive if result.outcome is not Outcome.PASSED]
    warned = [result.check for result in informative if result.outcome is not Outcome.PASSED]
    passed = [result.check for result in (*decisive, *informative) if result.outcome is Outcome.PASSED]
    seen = [*proof.evidence, *proof.informative]
    shown = bool(proof.required) and set(proof.required) <= set(passed) and not failed
    target, cuda = proof.cell.target, proof.cell.cuda
    return {
        "result": "FAILED" if not shown else "WARNED" if warned else "PASSED",
        "configuration": [{"name": each.scenario, "digest": {"sha256": each.smoke_id}} for each in seen],
        "passedTests": passed,
        "warnedTests": warned,
        "failedTests": failed,
        "requiredTests": list(proof.required),
        "informativeTests": [result.check for result in informative],
        "cell": proof.cell.id,
        "target": {"id": target.id, "name": target.name, "compute": target.compute},
        "cuda": {"line": cuda.id, "toolkit": cuda.toolkit, "driver": cuda.driver} if cuda else None,
        "tags": list(tags),
        "hosts": [dict(pairs) for pairs in sorted({tuple(sorted(each.host.items())) for each in seen})],
        "statements": {kind: {"sha256": digest.removeprefix("sha256:")} for kind, digest in statements.items()},
        "finished": max((each.finished for each in seen), default=""),
    }


def _name_results(evidence: Sequence[Evidence]) -> list[Result]:
    return [result for each in evidence for result in each.named]
