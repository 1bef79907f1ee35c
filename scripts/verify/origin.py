"""Where an image came from and what is in it, as its test result names both: provenance and SBOM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scripts.attest.provenance import BUILD_TYPE, PROVENANCE
from scripts.attest.sbom import BOM
from scripts.attest.statement import Statement
from scripts.verify.tested import Refusal, Tested, as_text


@dataclass(frozen=True)
class Provenance:
    """A build by its id, how many inputs it had, and the digest of the list of what came out."""

    build_id: str
    inputs: int
    sbom: str


def check_provenance(tested: Tested, statements: Sequence[Statement]) -> Provenance:
    """The provenance that a test result names. Raises Refusal for another one, or for one of another cell or build."""
    predicate = _find(tested, statements, PROVENANCE, "provenance").predicate
    try:
        definition, run = predicate["buildDefinition"], predicate["runDetails"]
        kind, cell = as_text(definition["buildType"]), as_text(definition["externalParameters"]["cell"])
        build_id = as_text(run["metadata"]["invocationId"])
        sboms = [as_text(each["digest"]["sha256"]) for each in run["byproducts"] if each["name"] == "sbom"]
        inputs = len(definition["resolvedDependencies"])
    except (KeyError, TypeError):
        raise Refusal("its provenance is of another form") from None
    if kind != BUILD_TYPE or len(sboms) != 1:
        raise Refusal("its provenance is of another kind of build")
    if cell != tested.cell:
        raise Refusal(f"its provenance is of {cell}")
    if not any(tag.endswith(f"-{build_id[:12]}") for tag in tested.tags):
        raise Refusal(f"its provenance is of the build {build_id[:12]}, which none of its tags names")
    return Provenance(build_id, inputs, f"sha256:{sboms[0]}")


def check_sbom(tested: Tested, provenance: Provenance | None, statements: Sequence[Statement]) -> int:
    """How many components the SBOM lists that test result and provenance name. Raises Refusal for any other."""
    found = _find(tested, statements, BOM, "SBOM")
    if provenance is None:
        raise Refusal("without its provenance nothing else names its SBOM")
    if found.digest != provenance.sbom:
        raise Refusal(f"its provenance names another SBOM ({provenance.sbom})")
    components: Any = found.predicate.get("components")
    if not isinstance(components, list) or not components:
        raise Refusal("its SBOM lists nothing")
    return len(components)


def _find(tested: Tested, statements: Sequence[Statement], kind: str, name: str) -> Statement:
    """The statement of a kind that the test result names by its digest."""
    named = tested.statements.get(kind)
    if named is None:
        raise Refusal(f"the test result names no {name}")
    there = [each for each in statements if each.predicate_type == kind]
    if not there:
        raise Refusal(f"no {name} that counts is attached")
    for each in there:
        if each.digest == named:
            return each
    raise Refusal(f"its {name} is not the one that the test result names ({named})")
