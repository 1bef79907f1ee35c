"""Signing without a key, with the library's own clients; what they ask for is answered in memory."""

from __future__ import annotations

import ast
import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.attest import keyless
from scripts.attest.envelope import BUNDLE_TYPE, open_bundle
from scripts.attest.keyless import KeylessSigner, open_identity
from scripts.attest.keys import Signer
from scripts.attest.seal import open_sealer, seal_statement
from scripts.attest.statement import TEST_RESULT, make_statement
from scripts.errors import ConfigError, Undecided
from scripts.site import Site
from tests.made_sigstore import ISSUER, NAME, MadeSigstore
from tests.unit.attest import answer_in_memory, make_signer, write_private
from tests.unit.builders import REPOSITORY_ROOT

STATEMENT = make_statement("registry.example.com/a", "sha256:" + "1" * 64, TEST_RESULT, {"result": "PASSED"})
ASKED = ["/token", "/api/v2/signingCert", "/api/v1/log/entries"]


def make_site(folder: Path, trust: Any) -> Site:
    path = folder / "trust.json"
    path.write_text(trust if isinstance(trust, str) else json.dumps(trust))
    return Site("auto", "", (), (), folder, keyless=True, signing_trust=path)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> MadeSigstore:
    """A Sigstore that is asked over a network which is none, by a job that may say who it is."""
    made = MadeSigstore()

    answer_in_memory(made, monkeypatch)
    return made


@pytest.fixture
def signer(made: MadeSigstore, tmp_path: Path) -> KeylessSigner:
    found = open_sealer(make_site(tmp_path, made.trust_config()))
    assert isinstance(found, KeylessSigner)
    made.asked.clear()
    return found


# --- what is signed


def test_what_is_signed_is_what_the_identity_is_believed_for(
    made: MadeSigstore, signer: KeylessSigner, tmp_path: Path
) -> None:
    sealed = seal_statement(STATEMENT, TEST_RESULT, signer)
    assert (sealed.artifact_type, sealed.media_type) == (BUNDLE_TYPE, BUNDLE_TYPE)
    assert sealed.notes == {
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": TEST_RESULT,
    }
    assert made.asked == ASKED
    (tmp_path / "root.json").write_text(json.dumps(made.trusted_root()))
    assert open_identity(NAME, ISSUER, tmp_path / "root.json").open_bundle(sealed.data) == STATEMENT
    assert open_bundle(sealed.data).payload == STATEMENT
    assert json.loads(sealed.data)["mediaType"] == BUNDLE_TYPE


def test_each_statement_has_a_certificate_of_its_own(made: MadeSigstore, signer: KeylessSigner) -> None:
    first, second = (json.loads(signer.sign(STATEMENT)) for _ in range(2))
    assert made.asked == ASKED * 2, "a slow registry in between does not outlast a certificate"
    assert first["verificationMaterial"]["certificate"] != second["verificationMaterial"]["certificate"]


def test_without_keyless_a_key_signs_or_nothing(tmp_path: Path) -> None:
    key = write_private(tmp_path / "key", make_signer())
    assert isinstance(open_sealer(Site("auto", "", (), (), tmp_path, signing_key=key)), Signer)
    assert open_sealer(Site("auto", "", (), (), tmp_path)) is None


# --- what is not


def test_a_bundle_that_no_consumer_would_believe_is_not_handed_on(made: MadeSigstore, signer: KeylessSigner) -> None:
    def spoil(entry: dict[str, Any]) -> dict[str, Any]:
        entry["verification"]["inclusionProof"]["hashes"] = [(b"0" * 32).hex()] * 2
        return entry

    made.spoil = spoil
    with pytest.raises(Undecided, match="what Sigstore gave does not hold: invalid log entry"):
        signer.sign(STATEMENT)


def test_a_log_that_is_not_the_trusted_roots_is_noticed(made: MadeSigstore, signer: KeylessSigner) -> None:
    made.log = MadeSigstore(5000).log
    with pytest.raises(Undecided, match="what Sigstore gave does not hold: invalid log entry: checkpoint"):
        signer.sign(STATEMENT)


def test_a_certificate_that_no_log_has_seen_is_noticed(made: MadeSigstore, signer: KeylessSigner) -> None:
    made.times = MadeSigstore(5000).times
    with pytest.raises(Undecided, match="Sigstore has not signed: SCT verify failed"):
        signer.sign(STATEMENT)


@pytest.mark.parametrize("place", ASKED[1:])
@pytest.mark.parametrize("answer", [(503, {}), (200, []), (200, {"signedCertificateEmbeddedSct": {}})])
def test_services_that_do_not_do_it_leave_it_undecided(
    place: str, answer: Any, made: MadeSigstore, signer: KeylessSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = made.answer
    monkeypatch.setattr(made, "answer", lambda target, *rest: answer if place in target else real(target, *rest))
    with pytest.raises(Undecided, match=r"Sigstore has not signed: .") as caught:
        signer.sign(STATEMENT)
    assert "a secret" not in str(caught.value)


@pytest.fixture
def released() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_services_that_say_nothing_are_not_waited_for_without_end(
    made: MadeSigstore, signer: KeylessSigner, released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyless, "MOST_WAIT", 0.1)
    monkeypatch.setattr(made, "answer", lambda *_: released.wait(5))
    with pytest.raises(Undecided, match=r"no answer of Sigstore's within 0\.1 s"):
        signer.sign(STATEMENT)


# --- who signs


def test_a_job_that_may_not_say_who_it_is_signs_nothing(
    made: MadeSigstore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
    with pytest.raises(ConfigError, match="nobody here can say who signs") as caught:
        open_sealer(make_site(tmp_path, made.trust_config()))
    assert "id-token: write" in caught.value.problems[0].next_step


def test_where_there_is_no_job_nothing_is_signed(
    made: MadeSigstore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyless, "detect_credential", lambda: None)
    with pytest.raises(ConfigError, match="nobody here can say who signs"):
        open_sealer(make_site(tmp_path, made.trust_config()))


@pytest.mark.parametrize("answer", [(500, {}), (200, {"value": "no token"}), (200, {})])
def test_a_ci_that_does_not_answer_leaves_it_undecided(
    answer: Any, made: MadeSigstore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(made, "answer", lambda *_: answer)
    signer = open_sealer(make_site(tmp_path, made.trust_config()))  # what is withdrawn does not wait for it
    with pytest.raises(Undecided, match="CI does not say who this job is"):
        seal_statement(STATEMENT, TEST_RESULT, signer)


# --- with what


@pytest.mark.parametrize(
    "change",
    [
        lambda config: "",
        lambda config: "{}",
        lambda config: json.dumps(config["trustedRoot"]),
        lambda config: config | {"signingConfig": config["signingConfig"] | {"caUrls": []}},
        lambda config: config | {"signingConfig": config["signingConfig"] | {"rekorTlogUrls": []}},
        lambda config: config | {"trustedRoot": config["trustedRoot"] | {"tlogs": []}},
    ],
)
def test_a_file_that_is_no_trust_configuration_is_a_mistake(
    change: Callable[[dict[str, Any]], Any], made: MadeSigstore, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"HALLMARK_SIGNING_TRUST=.*trust\.json: no trust configuration"):
        open_sealer(make_site(tmp_path, change(made.trust_config())))


def test_a_public_sigstore_that_is_not_reached_leaves_it_undecided(
    made: MadeSigstore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    signer = open_sealer(Site("auto", "", (), (), tmp_path, keyless=True))
    with pytest.raises(Undecided, match=r"sigstore\.dev: the public Sigstore was not reached"):
        seal_statement(STATEMENT, TEST_RESULT, signer)


# --- the library is an extra


def test_without_the_library_it_is_said_how_to_get_it(
    made: MadeSigstore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "scripts.attest.keyless")
    monkeypatch.setitem(sys.modules, "sigstore.dsse", None)
    with pytest.raises(Undecided, match="Sigstore's library") as caught:
        open_sealer(make_site(tmp_path, made.trust_config()))
    assert ".venv/bin/pip install '.[keyless]'" in caught.value.problems[0].next_step


def imports_at_start(source: str) -> set[str]:
    """The modules that a source imports as soon as it is imported itself."""
    found = [node for node in ast.parse(source).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    plain = {alias.name for node in found if isinstance(node, ast.Import) for alias in node.names}
    return plain | {str(node.module) for node in found if isinstance(node, ast.ImportFrom)}


def test_the_library_is_imported_where_it_is_used_alone() -> None:
    sources = {path: path.read_text("utf-8") for path in (REPOSITORY_ROOT / "scripts").rglob("*.py")}
    starting = {path: imports_at_start(source) for path, source in sources.items()}
    users = [
        path.name for path, names in starting.items() if {name.partition(".")[0] for name in names} & {"sigstore", "id"}
    ]
    assert users == ["keyless.py"]
    assert [path for path, names in starting.items() if "scripts.attest.keyless" in names] == []


def test_the_log_of_the_library_does_not_reach_the_terminal(
    made: MadeSigstore, signer: KeylessSigner, capsys: pytest.CaptureFixture[str]
) -> None:
    signer.sign(STATEMENT)
    assert capsys.readouterr() == ("", "")
