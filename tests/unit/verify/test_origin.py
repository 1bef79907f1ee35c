"""A provenance or an SBOM that was exchanged is seen, whoever signed it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.attest.envelope import seal
from scripts.attest.provenance import PROVENANCE, describe_build
from scripts.attest.sbom import BOM, list_contents
from scripts.attest.statement import make_statement
from scripts.model import Outcome, Verdict
from scripts.oci.descriptor import digest_of
from tests.unit.attest import BUILD, make_signer, no_licences
from tests.unit.registry.fake_registry import REPOSITORY
from tests.unit.verify import CELL, World, make_predicate

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def publish(
    world: World,
    change_sbom: Change = id,
    change_provenance: Change = id,
    *,
    attached: tuple[str, ...] = (BOM, PROVENANCE),
    named: str = "",
    key: int = 1,
) -> None:
    """All three statements, the first two changed before they are signed.

    `attached` are those that are there at all, `key` signs them, and `named` is the SBOM that the provenance names.
    """
    build = replace(BUILD, parameters={"cell": CELL.id})
    sbom = list_contents(build, world.digest, no_licences)
    change_sbom(sbom)
    payloads = {BOM: make_statement(str(REPOSITORY), world.digest, BOM, sbom)}
    provenance = describe_build(build, named or digest_of(payloads[BOM]))
    change_provenance(provenance)
    payloads[PROVENANCE] = make_statement(str(REPOSITORY), world.digest, PROVENANCE, provenance)
    for kind in attached:
        world.attach(seal(payloads[kind], make_signer(key)))
    statements = {kind: {"sha256": digest_of(payload)[7:]} for kind, payload in payloads.items()}
    world.say(make_predicate(statements=statements))


def failures(world: World) -> dict[str, str]:
    found = world.verify()
    assert found.verdict is Verdict.REJECTED
    return {each.check: each.detail for each in found.results if each.outcome is Outcome.FAILED}


def test_both_are_found_by_what_the_test_result_names(world: World) -> None:
    publish(world)
    found = world.verify()
    assert found.verdict is Verdict.ACCEPTED
    assert found.provenance and (found.provenance.build_id, found.provenance.inputs) == (BUILD.build_id, 5)
    assert found.components == 4


def test_an_sbom_that_was_exchanged_is_refused(world: World) -> None:
    publish(world, attached=(PROVENANCE,))
    other = list_contents(replace(BUILD, made=()), world.digest, no_licences)
    world.attach(seal(make_statement(str(REPOSITORY), world.digest, BOM, other), make_signer()))
    assert failures(world)["SBOM"].startswith("its SBOM is not the one that the test result names (sha256:")


def test_an_sbom_that_the_provenance_does_not_name_is_refused(world: World) -> None:
    publish(world, named="sha256:" + "9" * 64)
    assert failures(world) == {"SBOM": f"its provenance names another SBOM (sha256:{'9' * 64})"}


def test_what_another_key_signed_does_not_count(world: World) -> None:
    publish(world, key=2)
    assert failures(world) == {
        "provenance": "no provenance that counts is attached",
        "SBOM": "no SBOM that counts is attached",
    }


def test_what_is_not_attached_is_missed(world: World) -> None:
    publish(world, attached=(PROVENANCE,))
    assert failures(world) == {"SBOM": "no SBOM that counts is attached"}


def test_a_provenance_that_was_exchanged_is_refused(world: World) -> None:
    publish(world, attached=(BOM,))
    other = describe_build(replace(BUILD, parameters={"cell": CELL.id}, sources=()), "sha256:" + "9" * 64)
    world.attach(seal(make_statement(str(REPOSITORY), world.digest, PROVENANCE, other), make_signer()))
    found = failures(world)
    assert found["provenance"].startswith("its provenance is not the one that the test result names")
    assert found["SBOM"] == "without its provenance nothing else names its SBOM"


def test_a_test_result_that_names_neither_is_refused(world: World) -> None:
    world.say(make_predicate(statements={"https://example.com/x": {"sha256": "1" * 64}}))
    assert failures(world) == {
        "provenance": "the test result names no provenance",
        "SBOM": "the test result names no SBOM",
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda it: it["buildDefinition"]["externalParameters"].update(cell="other"), "its provenance is of other"),
        (
            lambda it: it["runDetails"]["metadata"].update(invocationId="7" * 64),
            "its provenance is of the build 777777777777, which none of its tags names",
        ),
        (lambda it: it["buildDefinition"].update(buildType="x"), "its provenance is of another kind of build"),
        (lambda it: it["runDetails"]["byproducts"].clear(), "its provenance is of another kind of build"),
        (lambda it: it.pop("runDetails"), "its provenance is of another form"),
        (lambda it: it["buildDefinition"].update(resolvedDependencies=1), "its provenance is of another form"),
        (lambda it: it["buildDefinition"].update(buildType=1), "its provenance is of another form"),
    ],
)
def test_a_provenance_of_something_else_is_refused(change: Change, words: str, world: World) -> None:
    publish(world, change_provenance=change)
    assert failures(world)["provenance"] == words


@pytest.mark.parametrize("components", [[], None, "all"])
def test_an_sbom_that_lists_nothing_is_refused(components: Any, world: World) -> None:
    publish(world, change_sbom=lambda it: it.update(components=components))
    assert failures(world) == {"SBOM": "its SBOM lists nothing"}
