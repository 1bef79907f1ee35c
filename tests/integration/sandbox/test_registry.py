"""Promotion to a real registry: by digest, with evidence, and nothing pushed twice."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import requests

from scripts.attest.provenance import PROVENANCE
from scripts.attest.sbom import BOM
from scripts.attest.statement import TEST_RESULT
from scripts.attest.summary import SUMMARY
from scripts.errors import ExitCode
from scripts.oci.layout import Layout
from scripts.project import Project
from tests.integration.conftest import find_candidate, find_step, run_verb

ACCEPT = {"Accept": "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"}


def test_an_accepted_image_is_published_with_its_evidence(sandbox: Project, registry: str) -> None:
    run = run_verb(sandbox.matrix.root, "publish", "good-cpu", HALLMARK_REGISTRY=f"{registry}/hallmark")
    assert run.returncode == ExitCode.ACCEPTED, run.stderr
    step = find_step(sandbox, "good-cpu")
    layout = Layout.open(sandbox.workspace.layout(step.build_id))
    base = f"http://{registry}/v2/hallmark/good"
    assert sorted(requests.get(f"{base}/tags/list", timeout=10).json()["tags"]) == sorted(
        ["cpu", "1.0-cpu", f"1.0-cpu-{step.build_id[:12]}", layout.digest.replace(":", "-")]
    )
    pulled = requests.get(f"{base}/manifests/1.0-cpu", headers=ACCEPT, timeout=10)
    assert pulled.content == layout.blob_path(layout.digest).read_bytes()
    # 2.8 has no referrers API: the evidence is found through the fallback tag.
    index = requests.get(f"{base}/manifests/{layout.digest.replace(':', '-')}", headers=ACCEPT, timeout=10).json()
    kinds = {entry["annotations"]["in-toto.io/predicate-type"]: entry for entry in index["manifests"]}
    assert kinds.keys() == {TEST_RESULT, PROVENANCE, BOM, SUMMARY}
    entry = kinds[TEST_RESULT]
    manifest = requests.get(f"{base}/manifests/{entry['digest']}", headers=ACCEPT, timeout=10).json()
    envelope = requests.get(f"{base}/blobs/{manifest['layers'][0]['digest']}", timeout=10).json()
    assert envelope["signatures"] == []
    statement = json.loads(base64.b64decode(envelope["payload"]))
    assert statement["subject"][0]["digest"]["sha256"] == layout.digest.removeprefix("sha256:")
    assert statement["predicate"]["result"] == "PASSED"
    assert statement["predicate"]["passedTests"] == ["default/import", "default/container"]
    again = run_verb(sandbox.matrix.root, "publish", "good-cpu", HALLMARK_REGISTRY=f"{registry}/hallmark")
    assert again.returncode == ExitCode.ACCEPTED, again.stderr
    assert len(requests.get(f"{base}/tags/list", timeout=10).json()["tags"]) == 4


def make_key(folder: Path, name: str) -> tuple[Path, Path]:
    """A private and a public key, made as the README says."""
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    make = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(private)]
    subprocess.run(make, check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", str(private), "-pubout", "-out", str(public)], check=True)
    return private, public


def test_a_consumer_verifies_what_was_published_with_a_key(sandbox: Project, registry: str, tmp_path: Path) -> None:
    private, public = make_key(tmp_path, "ours")
    place = {"HALLMARK_REGISTRY": f"{registry}/hallmark"}
    run = run_verb(sandbox.matrix.root, "publish", "good-cpu", **place, HALLMARK_SIGNING_KEY=str(private))
    assert run.returncode == ExitCode.ACCEPTED, run.stderr
    reference = f"{registry}/hallmark/good:1.0-cpu"
    newest = f"{registry}/hallmark/good:cpu"
    # Where the cell is known, and where there is no checkout at all.
    for root, asked in ((sandbox.matrix.root, reference), (tmp_path, reference), (tmp_path, newest)):
        found = run_verb(root, "verify", asked, "--key", str(public), "--cell", "good-cpu")
        assert found.returncode == ExitCode.ACCEPTED, found.stdout + found.stderr
        assert "✗" not in found.stdout and "accepted" in found.stdout
    digest = find_candidate(sandbox, "good-cpu").digest
    by_digest = run_verb(tmp_path, "verify", f"{registry}/hallmark/good@{digest}", "--key", str(public), "--json")
    assert json.loads(by_digest.stdout)["verdict"] == "accepted"
    _, other = make_key(tmp_path, "another")
    refused = run_verb(tmp_path, "verify", reference, "--key", str(other))
    assert refused.returncode == ExitCode.REJECTED, refused.stdout + refused.stderr
    assert "✗ signature" in refused.stdout and "not by this key" in refused.stdout
    assert "Traceback" not in refused.stdout + refused.stderr


def test_of_a_registry_that_is_not_there_nothing_is_decided(tmp_path: Path) -> None:
    _, public = make_key(tmp_path, "ours")
    found = run_verb(tmp_path, "verify", "127.0.0.1:9/hallmark/good:1.0-cpu", "--key", str(public))
    assert found.returncode == ExitCode.INCONCLUSIVE, found.stdout + found.stderr
    assert "127.0.0.1:9" in found.stdout and "Traceback" not in found.stdout + found.stderr


def test_a_stamp_that_is_lost_is_taken_back_in_the_registry(sandbox: Project, registry: str, tmp_path: Path) -> None:
    private, public = make_key(tmp_path, "ours")
    place = {"HALLMARK_REGISTRY": f"{registry}/hallmark", "HALLMARK_SIGNING_KEY": str(private)}
    assert run_verb(sandbox.matrix.root, "publish", "good-cpu", **place).returncode == ExitCode.ACCEPTED
    smoke = sandbox.matrix.root / "images/good/smoke.py"
    asked = smoke.read_text()
    try:
        smoke.write_text(asked + "\nraise SystemExit(9)\n")
        turned = run_verb(sandbox.matrix.root, "publish", "good-cpu", **place)
    finally:
        smoke.write_text(asked)
    assert turned.returncode == ExitCode.REJECTED, turned.stderr
    for tag in ("1.0-cpu", "cpu"):
        assert f"{registry}/hallmark/good:{tag} was withdrawn" in turned.stderr
    fixed = f"1.0-cpu-{find_step(sandbox, 'good-cpu').build_id[:12]}"
    withdrawn = "✗ image the tag was withdrawn"
    for tag, words in (("cpu", withdrawn), ("1.0-cpu", withdrawn), (fixed, "✗ result the result is FAILED")):
        found = run_verb(tmp_path, "verify", f"{registry}/hallmark/good:{tag}", "--key", str(public))
        assert found.returncode == ExitCode.REJECTED and words in " ".join(found.stdout.split()), found.stdout


def test_a_retired_cell_has_no_tag_to_pull_until_it_is_published_again(
    sandbox: Project, registry: str, tmp_path: Path
) -> None:
    root, place = sandbox.matrix.root, {"HALLMARK_REGISTRY": f"{registry}/hallmark"}
    reference, reason = f"{registry}/hallmark/good:1.0-cpu", "nobody asks for it"
    assert run_verb(root, "publish", "good-cpu", **place).returncode == ExitCode.ACCEPTED
    run = run_verb(root, "retire", "good-cpu", "--reason", reason, **place)
    assert run.returncode == ExitCode.ACCEPTED, run.stderr
    newest = f"{registry}/hallmark/good:cpu"
    for each in (reference, newest):
        found = run_verb(tmp_path, "verify", each, "--no-signature")
        assert found.returncode == ExitCode.REJECTED and reason in " ".join(found.stdout.split())
    again = run_verb(root, "publish", "good-cpu", **place)
    assert again.returncode == ExitCode.USAGE and reason in again.stdout + again.stderr
    back = run_verb(root, "retire", "good-cpu", "--undo", "--reason", "asked for", **place)
    assert back.returncode == ExitCode.ACCEPTED, back.stderr
    assert run_verb(root, "publish", "good-cpu", **place).returncode == ExitCode.ACCEPTED
    for each in (reference, newest):
        assert run_verb(tmp_path, "verify", each, "--no-signature").returncode == ExitCode.ACCEPTED


def test_a_rejected_image_gets_no_tag_in_the_registry(sandbox: Project, registry: str) -> None:
    run = run_verb(sandbox.matrix.root, "publish", "crash-cpu", HALLMARK_REGISTRY=f"{registry}/hallmark")
    assert run.returncode == ExitCode.REJECTED, run.stderr
    # The candidate is there by its digest, to be tested anywhere; nobody who asks by name gets it.
    base, digest = f"http://{registry}/v2/hallmark/crash", find_candidate(sandbox, "crash-cpu").digest
    assert requests.get(f"{base}/manifests/{digest}", headers=ACCEPT, timeout=10).status_code == 200
    assert not requests.get(f"{base}/tags/list", timeout=10).json().get("tags")


def test_a_registry_that_is_not_there_is_named(sandbox: Project) -> None:
    run = run_verb(sandbox.matrix.root, "publish", "good-cpu", HALLMARK_REGISTRY="127.0.0.1:9/hallmark")
    assert run.returncode == ExitCode.INCONCLUSIVE
    assert "127.0.0.1:9" in run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr
