"""`verify --identity` accepts what that identity signed while its certificate held, and refuses all else in words."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sigstore.verify import Verifier

from scripts.attest.envelope import BUNDLE_TYPE, open_bundle
from scripts.attest.keyless import Identity, open_identity
from scripts.attest.statement import TEST_RESULT, make_statement, read_statement
from scripts.command import main
from scripts.errors import ConfigError, ExitCode
from scripts.model import Outcome, Verdict
from scripts.verbs import verifying
from scripts.verify.artifacts import Attached
from scripts.verify.signed import ByIdentity
from scripts.verify.verify import STEPS, Verification
from tests.made_sigstore import ISSUER, NAME, MadeSigstore, b64
from tests.unit.attest import make_signer
from tests.unit.registry.fake_registry import REPOSITORY, FakeRegistry
from tests.unit.verify import EXPECTED, TAG, World

OTHER = "sha256:" + "9" * 64
ANOTHER = "https://github.com/mallory/hallmark/.github/workflows/build.yml@refs/heads/main"
REFERENCE = f"registry.example.com/team/image:{TAG}"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture(scope="module")
def made() -> MadeSigstore:
    return MadeSigstore()


def write_root(folder: Path, made: MadeSigstore, **changes: Any) -> Path:
    path = folder / "trusted_root.json"
    path.write_text(json.dumps(made.trusted_root() | changes))
    return path


def ask(world: World, made: MadeSigstore, **options: Any) -> Verification:
    trust = ByIdentity(open_identity(NAME, ISSUER, write_root(world.folder, made)))
    return world.verify(trust=trust, **options)


def refused(found: Verification) -> tuple[str, str]:
    assert found.verdict is Verdict.REJECTED
    [(check, detail)] = [(each.check, each.detail) for each in found.results if each.outcome is Outcome.FAILED]
    return check, detail


# --- what is accepted


@pytest.mark.parametrize("referrers", [True, False], ids=["the referrers API", "the fallback tag"])
def test_what_the_identity_signed_is_accepted_in_every_step(
    referrers: bool, made: MadeSigstore, tmp_path: Path
) -> None:
    world = World(tmp_path, FakeRegistry(referrers=referrers))
    world.say(signer=made.sign)
    found = ask(world, made, expected=EXPECTED)
    assert found.verdict is Verdict.ACCEPTED
    assert [each.check for each in found.results] == list(STEPS) and all(each.passed for each in found.results)
    assert found.signer == {"identity": NAME, "issuer": ISSUER}
    assert {each.check: each.detail for each in found.results}["signature"] == (
        f"3 statements signed by {NAME} ({ISSUER})"
    )


def test_what_others_have_signed_does_not_count(world: World, made: MadeSigstore) -> None:
    world.say(signer=make_signer())
    world.say(signer=lambda payload: made.sign(payload, ANOTHER))
    world.attach(b"garbage", BUNDLE_TYPE, BUNDLE_TYPE)
    world.say(signer=made.sign)
    found = ask(world, made)
    assert found.verdict is Verdict.ACCEPTED
    details = {each.check: each.detail for each in found.results}
    assert details["attached"] == "9 statements attached; 1 more cannot be read"
    assert details["signature"].endswith("6 more are not, and do not count")


def test_bundles_stand_in_the_way_of_no_key(world: World, made: MadeSigstore) -> None:
    world.say(signer=made.sign)
    assert refused(world.verify()) == (
        "signature",
        f"signed, and not by this key ({make_signer().public.id[:16]}): by a nameless one",
    )
    world.say()
    assert world.verify().verdict is Verdict.ACCEPTED


# --- what is refused


def test_without_a_bundle_it_is_refused(world: World, made: MadeSigstore) -> None:
    world.say(signed=False)
    assert refused(ask(world, made)) == ("signature", "no Sigstore bundle is attached")
    world.say()
    words = "no Sigstore bundle is attached, and what is there is signed by a key"
    assert refused(ask(world, made)) == ("signature", words)


def test_a_right_signature_over_another_digest_is_refused(world: World, made: MadeSigstore) -> None:
    world.say(signer=made.sign, digest=OTHER)
    assert refused(ask(world, made)) == ("subject", f"what is said is said of another image: {OTHER}")


def logged_late(made: MadeSigstore, payload: bytes) -> dict[str, Any]:
    made.late = timedelta(minutes=11)
    try:
        return made.sign(payload)
    finally:
        made.late = timedelta()


def alter(change: Callable[[dict[str, Any], dict[str, Any]], Any]) -> Callable[[MadeSigstore, bytes], dict[str, Any]]:
    """A bundle that was changed after it was made, by someone who has another right one as well."""

    def sign(made: MadeSigstore, payload: bytes) -> dict[str, Any]:
        bundle, other = made.sign(payload), made.sign(payload.replace(b"PASSED", b"FAILED") + b" ")
        change(bundle, other)
        return bundle

    return sign


def take(*path: str) -> Callable[[dict[str, Any], dict[str, Any]], Any]:
    """Put the other bundle's part in the place of this one's."""

    def change(bundle: dict[str, Any], other: dict[str, Any]) -> None:
        *above, last = path
        for name in above:
            bundle, other = bundle[name], other[name]
        bundle[last] = copy.deepcopy(other[last])

    return change


def entry(bundle: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = bundle["verificationMaterial"]["tlogEntries"][0]
    return found


@pytest.mark.parametrize(
    ("sign", "words"),
    [
        pytest.param(
            lambda made, payload: made.sign(payload, ANOTHER),
            f"another identity signed it: Certificate's SANs do not match {NAME}; actual SANs: {{'{ANOTHER}'}}",
            id="another identity",
        ),
        pytest.param(
            lambda made, payload: made.sign(payload, issuer="https://example.com"),
            "another issuer says who signed it: Certificate's OIDCIssuer does not match (got 'https://example.com'",
            id="another issuer",
        ),
        pytest.param(
            logged_late,
            "its certificate did not hold when it was logged: failed to build timestamp certificate chain: "
            "validation failed: cert is not valid at validation time",
            id="a certificate that had expired",
        ),
        pytest.param(
            lambda made, payload: MadeSigstore(5000).sign(payload),
            "its certificate did not hold when it was logged: failed to build timestamp certificate chain: "
            "validation failed: candidates exhausted",
            id="another authority",
        ),
        pytest.param(
            alter(take("verificationMaterial", "tlogEntries")),
            "log entry payload hash does not match bundle",
            id="the log entry of another statement",
        ),
        pytest.param(
            alter(take("verificationMaterial", "certificate")), "DSSE: invalid signature", id="another certificate"
        ),
        pytest.param(alter(take("dsseEnvelope", "signatures")), "DSSE: invalid signature", id="another signature"),
        pytest.param(
            alter(lambda bundle, other: entry(bundle)["inclusionProof"].update(hashes=[b64(b"0" * 32)] * 9)),
            "invalid log entry: inclusion proof has wrong size",
            id="a proof of another form",
        ),
        pytest.param(
            alter(lambda bundle, other: entry(bundle)["inclusionProof"].update(hashes=[b64(b"0" * 32)] * 2)),
            "invalid log entry: inclusion proof contains invalid root hash",
            id="a proof that proves nothing",
        ),
        pytest.param(
            alter(
                lambda bundle, other: entry(bundle).update(integratedTime=str(int(entry(bundle)["integratedTime"]) + 9))
            ),
            "invalid log entry: SET: invalid inclusion promise",
            id="a time that the log has not said",
        ),
        pytest.param(
            alter(lambda bundle, other: bundle["verificationMaterial"].update(tlogEntries=[])),
            "expected exactly one log entry in bundle",
            id="no log entry",
        ),
        pytest.param(
            alter(lambda bundle, other: bundle["verificationMaterial"].pop("certificate")),
            "failed to load bundle: 1 validation error",
            id="no certificate",
        ),
        pytest.param(
            alter(lambda bundle, other: bundle["verificationMaterial"]["certificate"].update(rawBytes=b64(b"x"))),
            "the bundle cannot be read (ValueError)",
            id="a certificate that is none",
        ),
    ],
)
def test_a_bundle_that_does_not_hold_is_refused(
    sign: Callable[[MadeSigstore, bytes], dict[str, Any]], words: str, world: World, made: MadeSigstore
) -> None:
    made.leaves = made.leaves[:3]  # how long a proof is depends on how many have been logged
    statement = make_statement(str(REPOSITORY), world.digest, TEST_RESULT, {"result": "PASSED"})
    world.sign(statement, lambda payload: sign(made, payload))
    step, said = refused(ask(world, made))
    assert step == "signature" and said.startswith(f"no bundle is signed by {NAME} ({ISSUER}): {words}")
    assert len(said) < 800


def test_another_statement_under_a_right_signature_is_refused(world: World, made: MadeSigstore) -> None:
    world.sign(
        make_statement(str(REPOSITORY), world.digest, TEST_RESULT, {"result": "PASSED"}),
        lambda payload: alter(take("dsseEnvelope", "payload"))(made, payload),
    )
    step, said = refused(ask(world, made))
    assert step == "signature" and said.endswith("DSSE: invalid signature")


def test_whatever_the_library_raises_decides_of_that_bundle_alone(
    world: World, made: MadeSigstore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise AttributeError("'NoneType' object has no attribute 'algorithm'")

    world.say(signer=made.sign)
    monkeypatch.setattr(Verifier, "verify_dsse", fail)
    assert refused(ask(world, made))[1].endswith("the bundle cannot be read (AttributeError)")


def test_what_is_signed_as_something_else_is_no_statement(
    world: World, made: MadeSigstore, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.say(signer=made.sign)
    monkeypatch.setattr(Verifier, "verify_dsse", lambda *_: ("text/plain", b"{}"))
    assert refused(ask(world, made))[1].endswith("no in-toto statement that is signed (payload type 'text/plain')")


def test_what_was_verified_counts_and_not_what_was_read_before(made: MadeSigstore) -> None:
    shown, signed = (make_statement("a", digest, TEST_RESULT, {}) for digest in (OTHER, "sha256:" + "1" * 64))
    data = json.dumps(made.sign(shown)).encode()

    class Signed(Identity):
        def open_bundle(self, data: bytes) -> bytes:
            return signed

    envelope = open_bundle(data)
    [kept] = ByIdentity(Signed(NAME, ISSUER, None)).keep(  # type: ignore[arg-type]
        [Attached(envelope, read_statement(envelope.payload), data)]
    )
    assert kept.statement == read_statement(signed)


@pytest.mark.parametrize("content", [{}, {"dsseEnvelope": None}, {"messageSignature": {}}, {"dsseEnvelope": {}}])
def test_a_bundle_without_a_statement_cannot_be_read(content: dict[str, Any], world: World, made: MadeSigstore) -> None:
    world.attach(json.dumps(content).encode(), BUNDLE_TYPE, BUNDLE_TYPE)
    step, said = refused(ask(world, made))
    assert step == "attached" and ("without an envelope" in said or "payload type" in said)


# --- the trusted root


def test_the_public_sigstores_root_comes_with_the_library(world: World, made: MadeSigstore) -> None:
    world.say(signer=made.sign)
    found = world.verify(trust=ByIdentity(open_identity(NAME, ISSUER, None)))
    assert "its certificate did not hold when it was logged" in refused(found)[1]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"", "no trusted root"),
        (b"\xff", "no trusted root"),
        (b"{}", "no trusted root"),
        (json.dumps(MadeSigstore().sign(b"{}")).encode(), "no trusted root"),
        (json.dumps(MadeSigstore().trust_config()).encode(), "no trusted root"),
        (json.dumps(MadeSigstore().trusted_root() | {"tlogs": []}).encode(), "contains no transparency log"),
        (json.dumps(MadeSigstore().trusted_root() | {"certificateAuthorities": []}).encode(), "certificates not found"),
    ],
)
def test_a_file_that_is_no_trusted_root_is_a_mistake(data: bytes | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "trusted_root.json"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ConfigError, match="trusted root") as caught:
        open_identity(NAME, ISSUER, path)
    assert words in str(caught.value) and str(path) in str(caught.value)
    with pytest.raises(ConfigError, match="Is a directory"):
        open_identity(NAME, ISSUER, tmp_path)


def test_a_trusted_root_that_lacks_a_part_is_a_mistake(world: World, made: MadeSigstore) -> None:
    world.say(signer=made.sign)
    identity = open_identity(NAME, ISSUER, write_root(world.folder, made, ctlogs=[]))
    with pytest.raises(ConfigError, match="CTFE keys not found"):
        world.verify(trust=ByIdentity(identity))


# --- the verb


@pytest.fixture
def consumer(world: World, made: MadeSigstore, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """As from an installed package: there is no matrix beside it."""
    monkeypatch.setattr(verifying, "Registry", world.fake.client)
    root = write_root(world.folder, made)

    def verify(*options: str, identity: str = NAME, trusted: Path = root) -> int:
        given = ["--identity", identity, "--issuer", ISSUER, "--trusted-root", str(trusted)]
        return main(["--project", str(world.folder), "verify", REFERENCE, *given, *options])

    return verify


def test_it_ends_as_with_a_key(
    consumer: Callable[..., int], world: World, made: MadeSigstore, capsys: pytest.CaptureFixture[str]
) -> None:
    world.say(signer=made.sign)
    assert consumer() == ExitCode.ACCEPTED
    printed = capsys.readouterr().out
    assert printed.count("✓") == 11 and f"signature    by {NAME}, as {ISSUER} says" in printed
    assert consumer(identity=ANOTHER) == ExitCode.REJECTED
    printed = capsys.readouterr().out
    assert f"✗ signature  no bundle is signed by {ANOTHER}" in printed and "\nrejected\n" in printed
    assert consumer(trusted=world.folder / "none.json") == ExitCode.USAGE
    assert "next: give a trusted_root.json" in capsys.readouterr().err
    assert consumer("--json") == ExitCode.ACCEPTED
    found = json.loads(capsys.readouterr().out)
    assert (found["key"], found["identity"], found["issuer"]) == ("", NAME, ISSUER)


def test_a_consumer_without_the_library_is_told_how_to_get_it(
    consumer: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "scripts.attest.keyless")
    monkeypatch.setitem(sys.modules, "sigstore.dsse", None)
    assert consumer() == ExitCode.INCONCLUSIVE
    assert "next: install the extra: .venv/bin/pip install '.[keyless]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "place"),
    [
        (["--identity", NAME], "--identity"),
        (["--no-signature", "--issuer", ISSUER], "--issuer"),
        (["--key", "a", "--trusted-root", "b"], "--trusted-root"),
    ],
)
def test_half_of_what_says_whom_to_believe_is_a_mistake(
    options: list[str], place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", REFERENCE, *options]) == ExitCode.USAGE
    assert f"error: {place}: " in capsys.readouterr().err


def test_another_sigstores_words_are_kept_short(world: World, made: MadeSigstore) -> None:
    world.say(signer=lambda payload: made.sign(payload, f"https://example.com/{'x' * 2000}\x1b"))
    step, said = refused(ask(world, made))
    assert step == "signature" and len(said) < 800 and said.isprintable()
