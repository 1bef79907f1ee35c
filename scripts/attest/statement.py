"""in-toto statements: what is said (a predicate, of some type) and of which bytes (the subject).

Format: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scripts.files import canonical_json
from scripts.oci.descriptor import digest_of, parse_object

STATEMENT = "https://in-toto.io/Statement/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"


@dataclass(frozen=True)
class Statement:
    """A statement as it was read: the digests of its subjects, its predicate, and the digest of its own bytes."""

    subjects: frozenset[str]
    predicate_type: str
    predicate: dict[str, Any]
    digest: str


def make_statement(name: str, digest: str, predicate_type: str, predicate: Mapping[str, Any]) -> bytes:
    """A statement's bytes, about the image of this digest in the repository of this name."""
    return canonical_json(
        {
            "_type": STATEMENT,
            "subject": [{"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}}],
            "predicateType": predicate_type,
            "predicate": predicate,
        }
    )


def read_statement(data: bytes) -> Statement:
    """Read a statement's bytes. Raises ValueError, with a cause for people, for anything else."""
    content = parse_object(data)
    if content.get("_type") != STATEMENT:
        raise ValueError(f"no in-toto statement (type {str(content.get('_type'))[:60]!r})")
    subjects, predicate = content.get("subject"), content.get("predicate")
    if not isinstance(subjects, list) or not isinstance(predicate, dict):
        raise ValueError("an in-toto statement without a subject or a predicate")
    digests = [each.get("digest") for each in subjects if isinstance(each, dict)]
    found = frozenset(f"sha256:{each.get('sha256')}" for each in digests if isinstance(each, dict))
    return Statement(found, str(content.get("predicateType")), predicate, digest_of(data))
