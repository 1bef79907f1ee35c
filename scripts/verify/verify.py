"""Verify an image in a registry, step by step; each step says what it found, or in its own words what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from scripts.attest.statement import TEST_RESULT
from scripts.errors import Undecided
from scripts.model import Outcome, Result, Verdict
from scripts.reference import ImageName
from scripts.registry.client import Registry
from scripts.registry.failures import DigestMismatch
from scripts.registry.withdrawn import read_withdrawal
from scripts.verdict import decide
from scripts.verify.artifacts import Attached, list_artifacts, read_artifact
from scripts.verify.origin import Provenance, check_provenance, check_sbom
from scripts.verify.signed import Trust
from scripts.verify.tested import (
    Expected,
    Refusal,
    Tested,
    as_text,
    check_result,
    check_target,
    check_tests,
    list_some,
    read_tested,
)

SIGNATURE = "signature"
_LONGEST = 300  # characters of a reason
Find = Callable[[str], Expected | None]


@dataclass
class Case:
    """What is asked, and what the steps have found so far.

    `trust` is who must have signed, None where signatures are not to be looked at; `cell` the one asked for,
    empty where the tag says which; `find` what a checkout requires of a cell, if it knows it.
    """

    registry: Registry
    image: ImageName
    trust: Trust | None
    cell: str
    find: Find
    digest: str = ""
    statements: list[Attached] = field(default_factory=list)
    tested: Tested | None = None
    expected: Expected | None = None
    provenance: Provenance | None = None
    components: int = 0
    unread: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Verification:
    """What came of it: the steps in order, the verdict, and what was found on the way.

    `signer` is who must have signed, by `key`, or by `identity` and `issuer`; nothing where that was not asked.
    `components` is how many the SBOM lists; 0 where there is none that counts.
    """

    image: ImageName
    digest: str
    signer: dict[str, str]
    results: tuple[Result, ...]
    verdict: Verdict
    tested: Tested | None
    provenance: Provenance | None
    components: int


def verify(registry: Registry, image: ImageName, trust: Trust | None, cell: str, find: Find) -> Verification:
    """Take an image through every step. Never raises for what a registry does or holds.

    Accepted only if every step held; rejected where one was shown wrong, and inconclusive where it could not be asked.
    """
    case = Case(registry, image, trust, cell, find)
    results: list[Result] = []
    for name, step in STEPS.items():
        results.append(result := _take(name, step, case))
        if name in _FOUNDATIONS and result.outcome in (Outcome.FAILED, Outcome.ERROR):
            break
    asked = [name for name in STEPS if trust or name != SIGNATURE]
    verdict, _ = decide([result for result in results if result.outcome is not Outcome.SKIPPED], asked)
    found = (case.tested, case.provenance, case.components)
    return Verification(image, case.digest, trust.describe() if trust else {}, tuple(results), verdict, *found)


def _take(name: str, step: Callable[[Case], str], case: Case) -> Result:
    if name == SIGNATURE and case.trust is None:
        return Result(name, Outcome.SKIPPED, "not looked at, as you asked: whoever may write there can have said this")
    try:
        return Result(name, Outcome.PASSED, step(case))
    except Refusal as refusal:
        return Result(name, Outcome.FAILED, str(refusal))
    except DigestMismatch as error:
        return Result(name, Outcome.FAILED, f"{error.problems[0].place}: {error.problems[0].cause}")
    except Undecided as error:
        problem = error.problems[0]
        return Result(name, Outcome.ERROR, f"{problem.place}: {problem.cause}; next: {problem.next_step}")


def find_image(case: Case) -> str:
    """The digest that the reference names now."""
    manifest = case.registry.get_manifest(case.image.repository, case.image.reference)
    if manifest is None:
        raise Refusal(f"the registry has no {case.image}")
    if withdrawn := read_withdrawal(manifest):
        why = f"{as_text(withdrawn.reason)[:_LONGEST]} ({as_text(withdrawn.when)[:20]})"
        raise Refusal(f"the tag was withdrawn from {withdrawn.digest}: {why}")
    case.digest = manifest.digest
    return f"{case.image.reference} is {case.digest}" if not case.image.digest else f"{case.digest} is there"


def find_statements(case: Case) -> str:
    """What is attached to the digest, as far as it can be read."""
    try:
        artifacts = list_artifacts(case.registry, case.image.repository, case.digest)
    except ValueError as error:
        raise Refusal(f"the list of what is attached cannot be believed: {error}") from None
    if not artifacts:
        raise Refusal("nothing is attached to it that says what it was tested for")
    for artifact in artifacts:
        try:
            case.statements.append(read_artifact(case.registry, case.image.repository, artifact, case.digest))
        except ValueError as error:
            case.unread.append(f"{artifact}: {error}")
    if not case.statements:
        raise Refusal(f"what is attached cannot be read: {list_some(case.unread, 2)}")
    rest = f"; {len(case.unread)} more cannot be read" if case.unread else ""
    return f"{_count(case.statements)} attached{rest}"


def check_signatures(case: Case) -> str:
    """Keep what was signed by whom it must be."""
    assert case.trust
    signed = case.trust.keep(case.statements)
    others = len(case.statements) - len(signed)
    case.statements = signed
    rest = f"; {others} more are not, and do not count" if others else ""
    return f"{_count(signed)} signed by {case.trust}{rest}"


def check_subjects(case: Case) -> str:
    """Keep what is said of this digest."""
    about = [each for each in case.statements if case.digest in each.statement.subjects]
    if not about:
        digests = sorted({digest for each in case.statements for digest in each.statement.subjects})
        raise Refusal(f"what is said is said of another image: {list_some(digests, 1)}")
    case.statements = about
    return f"{_count(about)} about this digest"


def find_test_result(case: Case) -> str:
    """The newest test result for the cell that is asked for, or that has this tag."""
    results = [each.statement for each in case.statements if each.statement.predicate_type == TEST_RESULT]
    if not results:
        kinds = sorted({each.statement.predicate_type for each in case.statements})
        rest = f"; what cannot be read: {list_some(case.unread, 2)}" if case.unread else ""
        raise Refusal(f"none is a test result: {list_some(kinds, 3)}{rest}")
    read: list[Tested] = []
    why = ""
    for statement in results:
        try:
            read.append(read_tested(statement))
        except ValueError as error:
            why = str(error)
    if not read:
        raise Refusal(why)
    case.tested = _choose(case, read)
    case.expected = case.find(case.tested.cell)
    return f"a test result for {case.tested.cell}, of {case.tested.finished}"


def _choose(case: Case, read: Sequence[Tested]) -> Tested:
    tag = case.image.tag
    cells = sorted({each.cell for each in read})
    fitting = [each for each in read if (not tag or tag in each.tags) and case.cell in ("", each.cell)]
    if not fitting:
        asked = " and ".join(filter(None, (f"the tag {tag}" if tag else "", case.cell)))
        tags = sorted({name for each in read for name in each.tags})
        raise Refusal(f"tested as {', '.join(cells)} (tags {list_some(tags)}), and not as {asked}")
    if len({each.cell for each in fitting}) > 1:
        raise Undecided(f"it was tested as {', '.join(cells)}", str(case.image), "say with --cell which you mean")
    # The newest counts, whatever it says; of two of one second, the one that did not pass.
    return max(fitting, key=lambda each: (each.finished, each.result != "PASSED"))


def _ask(check: Callable[[Tested, Expected | None], str]) -> Callable[[Case], str]:
    def step(case: Case) -> str:
        assert case.tested
        return check(case.tested, case.expected)

    return step


def find_provenance(case: Case) -> str:
    """Which build it is of, by the provenance that the test result names."""
    assert case.tested
    case.provenance = check_provenance(case.tested, [each.statement for each in case.statements])
    return f"build {case.provenance.build_id[:12]}, of {case.provenance.inputs} inputs"


def find_sbom(case: Case) -> str:
    """What is in it, by the list that test result and provenance name."""
    assert case.tested
    case.components = check_sbom(case.tested, case.provenance, [each.statement for each in case.statements])
    return f"{case.components} components, as its provenance and its test result name them"


def find_again(case: Case) -> str:
    """Whether the reference still names this digest: what was verified is then what a pull gets."""
    manifest = case.registry.get_manifest(case.image.repository, case.image.reference)
    if manifest is None or manifest.digest != case.digest:
        now = manifest.digest if manifest else "nothing"
        raise Refusal(f"{case.image.reference} moved meanwhile, and is {now} now")
    return "still the same digest"


def _count(statements: Sequence[Attached]) -> str:
    return f"{len(statements)} statement{'' if len(statements) == 1 else 's'}"


STEPS: dict[str, Callable[[Case], str]] = {
    "image": find_image,
    "attached": find_statements,
    SIGNATURE: check_signatures,
    "subject": check_subjects,
    "cell": find_test_result,
    "result": _ask(lambda tested, expected: check_result(tested)),
    "target": _ask(check_target),
    "checks": _ask(check_tests),
    "provenance": find_provenance,
    "SBOM": find_sbom,
    "unmoved": find_again,
}
_FOUNDATIONS = ("image", "attached", SIGNATURE, "subject", "cell")  # without which the rest has nothing to look at
