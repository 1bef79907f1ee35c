from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from scripts.attest.envelope import PAYLOAD_TYPE, encode, open_envelope, seal
from scripts.attest.statement import TEST_RESULT, make_statement, read_statement
from tests.unit.attest import make_signer

PAYLOAD = b'{"a": 1}'
ONE = "sha256:" + "1" * 64


def test_what_is_signed_is_the_encoding_of_the_standard() -> None:
    assert encode(b"hello world") == b"DSSEv1 28 application/vnd.in-toto+json 11 hello world"


def test_an_envelope_gives_back_its_payload_and_whose_it_is() -> None:
    data = seal(PAYLOAD, make_signer())
    envelope = open_envelope(data)
    assert envelope.payload == PAYLOAD
    assert [each.key_id for each in envelope.signatures] == [make_signer().public.id]
    assert envelope.is_signed_by(make_signer().public)
    assert not envelope.is_signed_by(make_signer(2).public)
    assert seal(PAYLOAD, make_signer()) == data


def test_without_a_key_an_envelope_has_no_signature() -> None:
    envelope = open_envelope(seal(PAYLOAD, None))
    assert (envelope.payload, envelope.signatures) == (PAYLOAD, ())
    assert not envelope.is_signed_by(make_signer().public)


def change(**fields: Any) -> bytes:
    return json.dumps(json.loads(seal(PAYLOAD, make_signer())) | fields).encode()


def test_a_payload_that_was_changed_is_not_signed() -> None:
    envelope = open_envelope(change(payload=base64.b64encode(PAYLOAD + b" ").decode()))
    assert not envelope.is_signed_by(make_signer().public)


def test_a_signature_over_the_bare_payload_is_none() -> None:
    bare = base64.b64encode(make_signer().sign(PAYLOAD)).decode()
    assert not open_envelope(change(signatures=[{"sig": bare}])).is_signed_by(make_signer().public)


def test_a_key_id_is_a_hint_and_no_more() -> None:
    [signature] = json.loads(seal(PAYLOAD, make_signer()))["signatures"]
    other = signature | {"keyid": make_signer(2).public.id}
    envelope = open_envelope(change(signatures=[{"sig": "AAAA"}, other]))
    assert envelope.is_signed_by(make_signer().public)
    assert not envelope.is_signed_by(make_signer(2).public)


def test_base64_may_be_the_one_of_urls() -> None:
    payload = b"\xfb\xff\xfe"
    data = json.loads(seal(payload, None)) | {"payload": base64.urlsafe_b64encode(payload).decode()}
    assert open_envelope(json.dumps(data).encode()).payload == payload


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"garbage", "not a JSON object"),
        (b"[" * 100_000, "not a JSON object"),
        (b"[]", "not a JSON object"),
        (b"{}", "payload type"),
        (change(payloadType="text/plain"), "payload type 'text/plain'"),
        (change(payload="?"), "not base64"),
        (change(payload=None), "not base64"),
        (change(signatures=None), "without a list of signatures"),
        (change(signatures=["a"]), "without a list of signatures"),
        (change(signatures=[{"sig": "?"}]), "not base64"),
        (change(signatures=[{}] * 17), "17 signatures"),
    ],
)
def test_what_is_no_envelope_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        open_envelope(data)


# --- statements


def test_a_statement_is_read_as_it_was_made() -> None:
    statement = read_statement(make_statement("registry.example.com/a", ONE, TEST_RESULT, {"result": "PASSED"}))
    assert statement.subjects == {ONE} and statement.predicate_type == TEST_RESULT
    assert statement.predicate == {"result": "PASSED"}
    assert PAYLOAD_TYPE == "application/vnd.in-toto+json"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "not a JSON object"),
        (b"{}", "no in-toto statement"),
        (b'{"_type": "https://in-toto.io/Statement/v1", "subject": 1, "predicate": {}}', "without a subject"),
        (b'{"_type": "https://in-toto.io/Statement/v1", "subject": [], "predicate": []}', "or a predicate"),
    ],
)
def test_what_is_no_statement_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_statement(data)


def test_subjects_that_are_none_are_not_the_subject() -> None:
    made = json.loads(make_statement("a", ONE, TEST_RESULT, {}))
    made["subject"] = [1, {"digest": 2}, {"digest": {"sha512": "3"}}, *made["subject"]]
    assert ONE in read_statement(json.dumps(made).encode()).subjects
