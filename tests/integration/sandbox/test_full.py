"""A registry whose disk is really full: no tag is set, the cause is said, and with room the same command ends well."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from scripts.engine import Engine
from scripts.errors import ExitCode
from scripts.project import Project
from tests.docker_registry import serve_registry
from tests.integration.conftest import run_verb


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 20 MB; it is skipped where nothing may be mounted."""
    store = tmp_path / "registry" / "store"
    store.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=20m", "hallmark-full", str(store)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"nothing may be mounted here: {mounted.stderr.strip()}")
    try:
        yield store
    finally:
        subprocess.run(["umount", "--lazy", str(store)], check=True)


def test_a_full_registry_is_told_from_a_broken_one(
    sandbox: Project, checkout: Project, engine: Engine, small: Path
) -> None:
    with serve_registry(checkout, small.parent) as place:
        arguments = (sandbox.matrix.root, "publish", "good-cpu")
        run = run_verb(*arguments, HALLMARK_REGISTRY=f"{place}/hallmark")
        said = run.stdout + run.stderr
        assert run.returncode == ExitCode.INCONCLUSIVE, said
        assert "the registry's disk is full" in said and "Traceback" not in said
        tags = requests.get(f"http://{place}/v2/hallmark/good/tags/list", timeout=10).json().get("tags")
        assert not tags
        subprocess.run(["mount", "-o", "remount,size=1g", str(small)], check=True)
        again = run_verb(*arguments, HALLMARK_REGISTRY=f"{place}/hallmark")
        assert again.returncode == ExitCode.ACCEPTED, again.stdout + again.stderr
        tags = requests.get(f"http://{place}/v2/hallmark/good/tags/list", timeout=10).json()["tags"]
        assert {"cpu", "1.0-cpu"} <= set(tags)
