"""What is said of images: statements in a registry, owners' bundles, what a container prints, the feed, keys."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from scripts import console
from scripts.attest.envelope import ENVELOPE_TYPE, PAYLOAD_TYPE, list_signatures
from scripts.attest.keyless import Identity, open_identity
from scripts.attest.keys import read_public_key
from scripts.attest.provenance import PROVENANCE, describe_build
from scripts.attest.sbom import BOM, list_contents
from scripts.attest.statement import STATEMENT, TEST_RESULT, make_statement
from scripts.bundle.check import check_bundle
from scripts.bundle.write import write_bundle
from scripts.catalogue.read import Found, read_comparisons, read_folders
from scripts.compare.form import render_data
from scripts.compare.markdown import render_markdown
from scripts.compare.page import render_page
from scripts.errors import HallmarkError
from scripts.feed import read_feed, trace_stamps
from scripts.oci.descriptor import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from scripts.reference import ImageName
from scripts.report.bundles import show_bundle
from scripts.report.verification import render_verification, show_verification
from scripts.smoke.trial import parse_results
from scripts.text import for_json
from scripts.verify.signed import ByKey
from scripts.verify.verify import verify
from tests.fuzz.answers import answer_with
from tests.fuzz.mutate import mutate_bytes, mutate_json, mutate_value, write_json
from tests.fuzz.parts import describe, dump, make_parts, mutate_parts, write_parts
from tests.fuzz.scratch import make_folder
from tests.fuzz.subject import Subject
from tests.made_sigstore import ISSUER, NAME, MadeSigstore
from tests.unit.attest import BUILD, make_signer, no_licences, write_public
from tests.unit.bundle import GPU, OWNER, add_scenarios, answering
from tests.unit.bundle import dump as dump_bundle
from tests.unit.compare.made import ENDED, make_check, make_column, make_comparison
from tests.unit.pipeline.lab import Lab
from tests.unit.registry.fake_registry import REPOSITORY
from tests.unit.verify import EXPECTED, TAG, make_predicate


def _statement(kind: str, predicate: Any) -> str:
    subject = [{"name": str(REPOSITORY), "digest": {"sha256": "{hex:manifest}"}}]
    return dump({"_type": STATEMENT, "subject": subject, "predicateType": kind, "predicate": predicate})


@cache
def make_attached() -> list[bytes]:
    """An image with a test result, provenance and an SBOM attached, by the referrers API and by a tag."""
    named = {PROVENANCE: {"sha256": "{hex:provenance}"}, BOM: {"sha256": "{hex:sbom}"}}
    parts: dict[str, str | bytes] = {
        "config": "{}",
        "manifest": dump({"schemaVersion": 2, "config": describe("config", OCI_CONFIG), "layers": []}),
        "sbom": _statement(BOM, list_contents(BUILD, "sha256:{hex:manifest}", no_licences)),
        "provenance": _statement(PROVENANCE, describe_build(BUILD, "{hex:sbom}")),
        "result": _statement(TEST_RESULT, make_predicate(statements=named)),
    }
    entries = []
    for name in ("sbom", "provenance", "result"):
        signatures = list_signatures(b"payload", make_signer())
        envelope = {"payload": f"{{base64:{name}}}", "payloadType": PAYLOAD_TYPE, "signatures": signatures}
        parts[f"envelope-{name}"] = dump(envelope)
        artifact = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": PAYLOAD_TYPE,
            "config": describe("config", "application/vnd.oci.empty.v1+json"),
            "layers": [describe(f"envelope-{name}", ENVELOPE_TYPE)],
            "subject": describe("manifest", OCI_MANIFEST),
        }
        parts[f"artifact-{name}"] = dump(artifact)
        entries.append(describe(f"artifact-{name}", OCI_MANIFEST, artifactType=PAYLOAD_TYPE))
    parts["referrers"] = dump({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    return [write_parts(parts), write_parts({**parts, "answers": "{}"})]


def verify_attached(data: bytes, folder: Path) -> None:
    """Whatever is attached, and whoever is asked for, a verification comes of it that can be shown."""
    registry, _ = answer_with(make_parts(data))
    key = ByKey(make_signer().public) if len(data) % 4 == 0 else None
    expected = EXPECTED if len(data) % 3 else None
    found = verify(registry, ImageName(REPOSITORY, TAG, ""), key, "", lambda cell: expected)
    show_verification(found)
    for_json(render_verification(found), indent=2)


class _Silent:
    """Stands in for pytest's capture."""

    def readouterr(self) -> Any:
        return SimpleNamespace(out="", err="")


@cache
def make_lab() -> tuple[Lab, bytes]:
    """A checkout in which a cell was run once, and the bundle of it."""
    root = make_folder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console.log, "quiet", True)
        lab = Lab(root, _Silent(), patch)  # type: ignore[arg-type]
        add_scenarios(lab)
        lab.docker.smokes[GPU] = answering
        lab.run(GPU)
        [job] = lab.jobs(GPU)
        write_bundle(lab.bench, job, root / "bundle.json", OWNER)
    return lab, (root / "bundle.json").read_bytes()


def mutate_bundle(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Mostly in the one form of a bundle's file: any other is refused at once."""
    with suppress(ValueError, AttributeError):
        value = json.loads(data)
        if random.random() < 0.8:
            value["statement"]["predicate"] = mutate_value(random, value["statement"]["predicate"])
        else:
            value = mutate_value(random, value)
        if random.random() < 0.9:
            with suppress(ValueError, RecursionError):
                plain = json.loads(write_json(random, value))
                return dump_bundle(plain)
        return write_json(random, value)
    return mutate_bytes(random, data, others)


def check(data: bytes, folder: Path) -> None:
    path = folder / "alice.json"
    path.write_bytes(data)
    found = check_bundle(make_lab()[0].project, path)
    show_bundle(path, found)


def make_kept() -> list[bytes]:
    """Evidence as files have it."""
    bundle = json.loads(make_lab()[1])["statement"]["predicate"]
    smoke = [{**each, "log": ""} for each in bundle["scenarios"]]
    return [json.dumps(each).encode() for each in [smoke[0], {"audit_id": "1", **bundle["audit"]}]]


def gather(data: bytes, folder: Path) -> None:
    """As evidence of a cell, and as lines of the feed."""
    (folder / "kept").mkdir(exist_ok=True)
    (folder / "kept/cell.json").write_bytes(data)
    read_folders([folder / "kept"], ["cell"], Found())
    (folder / "feed.jsonl").write_bytes(data)
    trace_stamps(read_feed(folder / "feed.jsonl")[0])
    [asdict(result) for result in parse_results(data.decode(errors="replace"))]


def make_comparisons() -> list[bytes]:
    """A comparison's JSON."""
    engines = [make_column(f"{name}-cu130-5090", name, make_check("at-8", "serve"), ENDED) for name in "ab"]
    return [json.dumps(render_data(make_comparison(*engines, absent={"c": "it serves nothing"}))).encode()]


def show_comparison(data: bytes, folder: Path) -> None:
    """As the catalogue takes it in, and shows it."""
    (folder / "5090.json").write_bytes(data)
    found = Found()
    read_comparisons([folder], {"5090"}, found)
    for comparison in found.comparisons.values():
        render_page(comparison)
        render_markdown(comparison)


def make_lines() -> list[bytes]:
    """A feed, and what a smoke script prints."""
    lab, _ = make_lab()
    feed = lab.bench.workspace.feed.read_bytes()
    result = {"check": "load", "outcome": "passed", "detail": "", "measured": {"seconds": 0.5}}
    return [feed, "\n".join([json.dumps(result)] * 2).encode(), *make_kept()]


def mutate_lines(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    lines = [mutate_json(random, line, others) if line.strip() else line for line in data.split(b"\n")]
    return b"\n".join(lines)


def make_keys() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return [write_public(Path(folder) / "key.pem", make_signer()).read_bytes()]


def read_key(data: bytes, folder: Path) -> None:
    (folder / "key.pem").write_bytes(data)
    with suppress(HallmarkError):
        read_public_key(folder / "key.pem").accepts(data, data)


SIGSTORE = MadeSigstore(now=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


@cache
def make_identity() -> Identity:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "trusted_root.json"
        root.write_text(json.dumps(SIGSTORE.trusted_root()))
        return open_identity(NAME, ISSUER, root)


@cache
def make_sigstore_bundles() -> list[bytes]:
    statement = make_statement(str(REPOSITORY), "sha256:" + "1" * 64, TEST_RESULT, make_predicate())
    return [json.dumps(SIGSTORE.sign(statement)).encode()]


def open_sigstore_bundle(data: bytes, folder: Path) -> None:
    make_identity().open_bundle(data)


SUBJECTS = (
    Subject("attached", 6_000, make_attached, mutate_parts, verify_attached),
    Subject("bundle", 3_000, lambda: [make_lab()[1]], mutate_bundle, check),
    Subject("comparison", 10_000, make_comparisons, mutate_json, show_comparison),
    Subject("evidence", 20_000, make_lines, mutate_lines, gather),
    Subject("identity", 10_000, make_sigstore_bundles, mutate_json, open_sigstore_bundle, (ValueError,)),
    Subject("key", 30_000, make_keys, mutate_bytes, read_key),
)
