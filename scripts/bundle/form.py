"""The file: an in-toto statement of all that was seen, with DSSE's signatures over its canonical bytes.

It is one JSON object, indented, and neither a tar nor a zip: who sends it can read all of it first, and so can who is
asked to merge it; it has no members, paths or times that could be wrong, and nothing that unpacks to more than it is.
The same content gives the same bytes, and no other bytes are taken for it: a key that stands there twice is seen.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from scripts.attest.envelope import Envelope, list_signatures, read_signatures
from scripts.attest.keys import Signer
from scripts.attest.statement import make_statement, read_statement
from scripts.audit.evidence import summarise
from scripts.files import canonical_json, parse_json
from scripts.model import Verdict
from scripts.oci.descriptor import is_digest, parse_object
from scripts.smoke.parse import expect_number, expect_table, expect_text, parse_evidence
from scripts.smoke.smoke import Evidence
from scripts.verify.tested import Refusal

FORM = "hallmark-owner-run"
VERSION = 1
OWNER_RUN = "urn:hallmark:owner-run:v1"  # the type of the statement's predicate
LARGEST = 1 << 23  # bytes of a file that is read; a run of fourteen scenarios is a tenth of it
LONGEST_NAME = 60  # characters
NOBODY = "an owner who gave no name"
_KEYS = {"form", "version", "statement", "signatures"}


@dataclass(frozen=True)
class Run:
    """One scenario: what came of it, and what its container said."""

    evidence: Evidence
    log: str


@dataclass(frozen=True)
class Bundle:
    """All that there is of a cell's gate on an owner's machine, without what names the owner or the machine.

    `by` is the name that the owner wants to be known by, or empty; `made` when the file was (UTC). `build` has the
    candidate's build id, name, size in bytes and parameters; `manifest` and `config` are the image's own bytes, which
    its digest hashes. `audit` is the report of its GPU code, `required` names the scenarios that decide.
    """

    by: str
    made: str
    tool: str
    cell: str
    digest: str
    build: dict[str, Any]
    manifest: str
    config: str
    audit: dict[str, Any]
    required: tuple[str, ...]
    runs: tuple[Run, ...]
    verdict: Verdict
    reasons: tuple[str, ...]

    @property
    def build_id(self) -> str:
        return str(self.build["id"])

    @property
    def owner(self) -> str:
        """By whom it was seen, for people."""
        return self.by or NOBODY

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        return tuple(run.evidence for run in self.runs)

    @property
    def finished(self) -> str:
        """When the last of it was seen."""
        return max((each.finished for each in self.evidence), default=self.made)


def render_bundle(bundle: Bundle, signer: Signer | None) -> bytes:
    """The bytes of a bundle's file, signed where there is a signer."""
    predicate = {
        "by": bundle.by,
        "made": bundle.made,
        "tool": bundle.tool,
        "cell": bundle.cell,
        "build": bundle.build,
        "image": {"manifest": bundle.manifest, "config": bundle.config},
        "audit": bundle.audit,
        "required": list(bundle.required),
        "scenarios": [asdict(run.evidence) | {"log": run.log} for run in bundle.runs],
        "verdict": bundle.verdict,
        "reasons": list(bundle.reasons),
    }
    payload = make_statement(str(bundle.build["name"]), bundle.digest, OWNER_RUN, predicate)
    content = {"form": FORM, "version": VERSION, "statement": parse_json(payload)}
    return _dump(content | {"signatures": list_signatures(payload, signer)})


def parse_bundle(data: bytes) -> tuple[Bundle, Envelope]:
    """What a file says, of which nothing is believed yet, and what claims to sign it. Raises Refusal for no bundle."""
    if len(data) > LARGEST:
        raise Refusal(f"it has more than {LARGEST} bytes, and no bundle has")
    try:
        content = parse_object(data)
    except ValueError:
        raise Refusal("it is not JSON: no bundle, or cut short") from None
    if content.get("form") != FORM:
        raise Refusal("it is JSON, and no bundle")
    if content.get("version") != VERSION:
        raise Refusal(f"it is of another version of the form, and this one reads {VERSION}")
    if set(content) != _KEYS:
        raise Refusal(f"it must have exactly: {', '.join(sorted(_KEYS))}")
    try:
        if _dump(content) != data:
            raise Refusal("its bytes are not those that its content gives: it was edited, or has a key twice")
        payload = canonical_json(content["statement"])
        return _read(payload), Envelope(payload, read_signatures(content["signatures"]))
    except KeyError as error:
        raise Refusal(f"it lacks {error.args[0]!r}") from None
    except (TypeError, AttributeError, RecursionError):
        raise Refusal("its parts are of another form") from None
    except ValueError as error:
        raise Refusal(f"its parts are of another form: {error}") from None


def is_name(text: str) -> bool:
    """Whether a text will do as an owner's name: short, of one line, and nothing that a terminal would obey."""
    return text == text.strip() and len(text) <= LONGEST_NAME and text.isprintable()


def _dump(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _read(payload: bytes) -> Bundle:
    statement = read_statement(payload)
    said = statement.predicate
    if statement.predicate_type != OWNER_RUN:
        raise ValueError("it states something else than an owner's run")
    digests = sorted(statement.subjects)
    if len(digests) != 1 or not is_digest(digests[0]):
        raise ValueError("it is not about one image")
    build, audit = expect_table(said["build"]), expect_table(said["audit"])
    for key in ("id", "name"):
        expect_text(build[key])
    expect_number(build["size"])
    expect_table(build["parameters"])
    summarise(audit)
    bundle = Bundle(
        by=expect_text(said["by"]),
        made=expect_text(said["made"]),
        tool=expect_text(said["tool"]),
        cell=expect_text(said["cell"]),
        digest=digests[0],
        build=build,
        manifest=expect_text(said["image"]["manifest"]),
        config=expect_text(said["image"]["config"]),
        audit=audit,
        required=tuple(map(expect_text, said["required"])),
        runs=tuple(Run(parse_evidence(each), expect_text(each["log"])) for each in said["scenarios"]),
        verdict=Verdict(said["verdict"]),
        reasons=tuple(map(expect_text, said["reasons"])),
    )
    if not is_name(bundle.by):
        raise ValueError("its owner's name is none")
    return bundle
