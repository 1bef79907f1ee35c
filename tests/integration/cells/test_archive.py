"""A real candidate goes to another checkout as an archive, and is tagged there by its digest."""

from __future__ import annotations

from pathlib import Path

from scripts.engine import Engine
from scripts.engine.images import digest_of_tag
from scripts.errors import ExitCode
from scripts.project import Project
from tests.integration.conftest import ROOT, find_candidate, run_verb
from tests.integration.elsewhere import Elsewhere, copy_checkout


def test_a_real_one_as_an_archive(stamped: None, checkout: Project, engine: Engine, tmp_path: Path) -> None:
    digest = find_candidate(checkout, "pytorch-cpu").digest
    archive = tmp_path / "pytorch.tar"
    assert run_verb(ROOT, "build", "pytorch-cpu", "--output", str(archive)).returncode == 0
    elsewhere = Elsewhere(copy_checkout(ROOT, tmp_path / "elsewhere"))
    before = digest_of_tag(engine, "hallmark/pytorch:2.13.0-cpu")
    site = {**engine.environment, "DOCKER_HOST": engine.host, "HALLMARK_ENGINE": "host"}
    code, said = elsewhere.publish("pytorch-cpu", "--digest", digest, "--from", str(archive), **site)
    assert code == ExitCode.ACCEPTED, said
    assert digest_of_tag(engine, "hallmark/pytorch:2.13.0-cpu") == before == digest
    assert list((elsewhere.root / ".hallmark").rglob("build.log")) == []
