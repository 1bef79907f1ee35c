"""Each script by itself: sound to shellcheck, and made of nothing that is filled in."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.workflows.runner import read_workflow, workflow_names


def scripts() -> Iterator[Any]:
    for name in workflow_names():
        for key, job in read_workflow(name)["jobs"].items():
            for number, step in enumerate(job.get("steps", [])):
                if "run" in step:
                    yield pytest.param(step["run"], id=f"{name}: {key} {number}")


def check(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "script"
    file.write_text(script)
    program = Path(sys.executable).parent / "shellcheck"
    return subprocess.run([program, "--shell=bash", file], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", list(scripts()))
def test_every_script_is_sound_and_takes_what_it_is_given_from_its_environment(script: str, tmp_path: Path) -> None:
    assert "${{" not in script, "what is written into a script can be a script"
    ran = check(script, tmp_path)
    assert ran.returncode == 0, ran.stdout


def test_one_that_is_not_is_found(tmp_path: Path) -> None:
    assert check("rm -r $RUNNER_TEMP/x\n", tmp_path).returncode == 1
