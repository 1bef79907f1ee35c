"""Promotion to a real registry: by digest, with evidence, and nothing pushed twice."""

from __future__ import annotations

import requests

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
        ["1.0-cpu", f"1.0-cpu-{step.build_id[:12]}", layout.digest.replace(":", "-")]
    )
    pulled = requests.get(f"{base}/manifests/1.0-cpu", headers=ACCEPT, timeout=10)
    assert pulled.content == layout.blob_path(layout.digest).read_bytes()
    # 2.8 has no referrers API: the evidence is found through the fallback tag.
    index = requests.get(f"{base}/manifests/{layout.digest.replace(':', '-')}", headers=ACCEPT, timeout=10).json()
    [entry] = index["manifests"]
    manifest = requests.get(f"{base}/manifests/{entry['digest']}", headers=ACCEPT, timeout=10).json()
    statement = requests.get(f"{base}/blobs/{manifest['layers'][0]['digest']}", timeout=10).json()
    assert statement["subject"][0]["digest"]["sha256"] == layout.digest.removeprefix("sha256:")
    assert statement["predicate"]["result"] == "PASSED"
    assert statement["predicate"]["passedTests"] == ["default/import", "default/container"]
    again = run_verb(sandbox.matrix.root, "publish", "good-cpu", HALLMARK_REGISTRY=f"{registry}/hallmark")
    assert again.returncode == ExitCode.ACCEPTED, again.stderr
    assert requests.get(f"{base}/tags/list", timeout=10).json()["tags"].__len__() == 3


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
