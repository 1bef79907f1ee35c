from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import probe
import pytest
from probe import Failed, compare

from scripts.matrix import Absence, Image, Scenario, Scope
from scripts.model import Cell, Outcome, Result, Target
from scripts.smoke import smoke as module
from scripts.smoke.models.zoo import find_reference
from scripts.smoke.smoke import Evidence, identify, lay_out, read_evidence, run_scenario
from scripts.smoke.trial import Trial
from tests.unit.builders import CPU, RTX, SCENARIO, make_cell, make_image, write
from tests.unit.fake_docker import FakeDocker

DIGEST = "sha256:" + "d" * 64
SERVED = dataclasses.replace(SCENARIO, model="llama")
RESULTS = (Result("load", Outcome.PASSED, "fine", {"seconds": 1.5}), Result("container", Outcome.FAILED, "bad"))


@pytest.fixture
def image(tmp_path: Path) -> Image:
    write(tmp_path / "image/smoke.py", "import probe\n")
    write(tmp_path / "image/README.md", "# Serve\n")
    return make_image(tmp_path / "image")


@pytest.fixture
def helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what smoke scripts share, for a test to change."""
    folder = tmp_path / "helpers"
    models = sorted((module.HERE / "models").glob("*.py"))
    for path in (*sorted((module.HERE / "inside").glob("*.py")), module.HERE / "trial.py", *models):
        write(folder / path.relative_to(module.HERE), path.read_text())
    write(folder / "sandbox.py", module.SANDBOX.read_text())
    write(folder / "reference.json", find_reference("llama").read_text())
    monkeypatch.setattr(module, "HERE", folder)
    monkeypatch.setattr(module, "SANDBOX", folder / "sandbox.py")
    monkeypatch.setattr(module, "find_reference", lambda _: folder / "reference.json")
    return folder


# --- which question a smoke test asks


def test_the_same_question_has_the_same_id(image: Image, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere/smoke.py", "import probe\n")
    moved = dataclasses.replace(image, folder=tmp_path / "elsewhere")
    assert identify(make_cell(), image, SCENARIO, DIGEST) == identify(make_cell(), moved, SCENARIO, DIGEST)


@pytest.mark.parametrize(
    ("cell", "scenario", "digest"),
    [
        (make_cell(), SCENARIO, "sha256:" + "e" * 64),
        (make_cell(), dataclasses.replace(SCENARIO, timeout_s=61), DIGEST),
        (make_cell(), dataclasses.replace(SCENARIO, memory_gib=3), DIGEST),
        (make_cell(), dataclasses.replace(SCENARIO, checks=("load",)), DIGEST),
        (make_cell(), dataclasses.replace(SCENARIO, checks=SCENARIO.checks[::-1]), DIGEST),
        (make_cell(), dataclasses.replace(SCENARIO, name="other"), DIGEST),
        (make_cell(), SERVED, DIGEST),
        (make_cell(), dataclasses.replace(SCENARIO, dtype="bfloat16"), DIGEST),
        (make_cell(), dataclasses.replace(SCENARIO, environment={"HALLMARK_LOAD_S": "1"}), DIGEST),
        (make_cell(), dataclasses.replace(SCENARIO, arguments=("--enforce-eager",)), DIGEST),
        (make_cell(RTX), SCENARIO, DIGEST),
        (make_cell(dataclasses.replace(RTX, compute="9.0")), SCENARIO, DIGEST),
    ],
)
def test_another_question_has_another_id(cell: Cell, scenario: Scenario, digest: str, image: Image) -> None:
    known = {
        identify(make_cell(target), image, SCENARIO, DIGEST)
        for target in ([CPU] if cell == make_cell(RTX) else [CPU, RTX])
    }
    assert identify(cell, image, scenario, digest) not in known


@pytest.mark.parametrize(
    "name",
    [
        "inside/guarding.py",
        "inside/nvml.py",
        "inside/probe.py",
        "inside/serving.py",
        "inside/sweeping.py",
        "trial.py",
        "sandbox.py",
        "models/zoo.py",
        "models/llama.py",
        "reference.json",
    ],
)
def test_other_helpers_ask_another_question(name: str, image: Image, helpers: Path) -> None:
    before = identify(make_cell(), image, SERVED, DIGEST)
    with (helpers / name).open("a") as stream:
        stream.write("\n")
    assert identify(make_cell(), image, SERVED, DIGEST) != before


def test_another_script_asks_another_question_and_another_manual_does_not(image: Image) -> None:
    before = identify(make_cell(), image, SCENARIO, DIGEST)
    write(image.folder / "README.md", "# Other\n")
    assert identify(make_cell(), image, SCENARIO, DIGEST) == before
    write(image.folder / "smoke.py", "import probe  # changed\n")
    assert identify(make_cell(), image, SCENARIO, DIGEST) != before


def test_whether_it_is_required_and_what_it_says_of_other_cells_is_no_part_of_the_question(image: Image) -> None:
    absence = Absence("cannot", Scope(compute="9.0"))
    other = dataclasses.replace(SCENARIO, required=False, absences=(absence,))
    assert identify(make_cell(), image, other, DIGEST) == identify(make_cell(), image, SCENARIO, DIGEST)


# --- running


def smoke(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, results: Any = RESULTS
) -> tuple[Evidence, list[str]]:
    """Smoke-test with a container that ends with these results; returns the evidence and the files it was shown."""
    shown: list[str] = []

    def run_watched(
        engine: Any, digest: str, folder: Path, limits: Scenario, environment: dict[str, str], *_: Any
    ) -> Trial:
        shown.extend(path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")))
        return Trial(results, "the log", 2.5)

    monkeypatch.setattr(module, "run_watched", run_watched)
    engine = FakeDocker().engine()
    made = run_scenario(
        engine, make_cell(), image, SERVED, DIGEST, tmp_path / "work", tmp_path / "run", lambda text: None
    )
    return made, shown


def test_a_container_is_shown_the_script_its_helpers_the_reference_and_a_model(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, shown = smoke(image, tmp_path, monkeypatch)
    assert {"smoke.py", "probe.py", "reference.json", "model/config.json", "model/model.safetensors"} <= set(shown)
    assert not [path for path in (tmp_path / "work").rglob("*") if path.is_file()], "all of it is gone afterwards"


def test_what_a_container_is_shown_is_readable_for_any_user(image: Image, tmp_path: Path) -> None:
    (image.folder / "smoke.py").chmod(0o600)
    lay_out(image, SERVED, tmp_path / "folder")
    for path in ((tmp_path / "folder"), *(tmp_path / "folder").rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644)


def test_evidence_is_written_and_read_again(image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = smoke(image, tmp_path, monkeypatch)
    assert read_evidence(tmp_path / "run", "default", identify(make_cell(), image, SERVED, DIGEST), DIGEST) == made
    assert (made.digest, made.results, made.seconds) == (DIGEST, RESULTS, 2.5)
    assert made.host["engine"] == "28.5.1"
    assert (tmp_path / "run/smoke/default.log").read_text() == "the log"


# --- how far from the reference is too far


@pytest.mark.parametrize(
    ("target", "model", "dtype", "limit", "mean"),
    [
        (CPU, "llama", "", 1e-4, 2e-5),
        (RTX, "llama", "", 0.05, 0.008),
        (dataclasses.replace(RTX, id="h200"), "llama", "", 0.05, 0.008),
        (CPU, "moe", "", 1e-4, 2e-5),
        (RTX, "moe", "", 0.05, 0.008),
        (RTX, "mla", "", 0.05, 0.008),
        (RTX, "hybrid", "", 0.05, 0.008),
        (CPU, "llama-fp8", "", 0.05, 0.01),
        (RTX, "llama-fp8", "", 0.15, 0.03),
        (RTX, "moe-fp8", "", 0.15, 0.03),
        (RTX, "llama-fp8-block", "", 0.08, 0.015),
        (RTX, "llama-nvfp4", "", 0.065, 0.0145),
        (RTX, "moe-nvfp4", "", 0.08, 0.009),
        (CPU, "llama", "float32", 1e-4, 2e-5),
        (RTX, "llama", "float32", 0.003, 0.0006),
        (RTX, "llama-fp8", "float32", 0.05, 0.01),
    ],
)
def test_numbers_just_outside_what_is_written_here_are_rejected(
    target: Target,
    model: str,
    dtype: str,
    limit: float,
    mean: float,
    image: Image,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The numbers stand here again: whoever widens the tolerance says so in two places."""
    given: dict[str, str] = {}

    def run_watched(
        engine: Any, digest: str, folder: Path, limits: Scenario, environment: dict[str, str], *_: Any
    ) -> Trial:
        given.update(environment)
        return Trial(RESULTS, "", 1.0)

    monkeypatch.setattr(module, "run_watched", run_watched)
    work, run = tmp_path / "work", tmp_path / "run"
    scenario = dataclasses.replace(SERVED, model=model, dtype=dtype)
    run_scenario(FakeDocker().engine(), make_cell(target), image, scenario, DIGEST, work, run, lambda text: None)
    assert (given["HALLMARK_TOLERANCE"], given["HALLMARK_MEAN_TOLERANCE"]) == (str(limit), str(mean))
    monkeypatch.setenv("HALLMARK_TOLERANCE", given["HALLMARK_TOLERANCE"])
    assert compare([-2.0 + 0.99 * limit], [-2.0], probe.tolerance()) <= limit
    for difference in (1.01 * limit, -1.01 * limit):
        with pytest.raises(Failed, match="values differ"):
            compare([-2.0 + difference], [-2.0], probe.tolerance())


# --- evidence that is none


@pytest.fixture
def evidence(image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    smoke(image, tmp_path, monkeypatch)
    return tmp_path / "run/smoke/default.json"


def test_evidence_of_another_question_is_none(evidence: Path) -> None:
    assert read_evidence(evidence.parents[1], "default", "0" * 64, DIGEST) is None


def test_no_evidence_is_none(tmp_path: Path) -> None:
    assert read_evidence(tmp_path / "nothing", "default", "0" * 64, DIGEST) is None


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"version": 99}, id="a later version"),
        pytest.param({"version": None}, id="no version"),
        pytest.param({"results": None}, id="no results"),
        pytest.param({"results": "all passed"}, id="results in words"),
        pytest.param({"results": [{"check": "load", "outcome": "perfect"}]}, id="an unknown outcome"),
        pytest.param({"results": [{"outcome": "passed"}]}, id="a result without a name"),
        pytest.param({"results": [{"check": "load", "outcome": "passed", "extra": 1}]}, id="a result with more"),
        pytest.param({"results": [3]}, id="a number for a result"),
        pytest.param({"digest": None}, id="no digest"),
        pytest.param({"digest": "sha256:" + "9" * 64}, id="another digest"),
        pytest.param({"more": 1}, id="an unknown field"),
    ],
)
def test_damaged_evidence_is_none(change: dict[str, Any], evidence: Path) -> None:
    data = json.loads(evidence.read_text()) | change
    evidence.write_text(json.dumps({key: value for key, value in data.items() if value is not None}))
    assert read_evidence(evidence.parents[1], "default", data["smoke_id"], DIGEST) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"smoke"'])
def test_a_file_that_is_no_evidence_at_all_is_none(text: str, evidence: Path) -> None:
    smoke_id = json.loads(evidence.read_text())["smoke_id"]
    evidence.write_text(text)
    assert read_evidence(evidence.parents[1], "default", smoke_id, DIGEST) is None


def test_undamaged_evidence_is_some(evidence: Path) -> None:
    data = json.loads(evidence.read_text())
    evidence.write_text(json.dumps(data))
    assert read_evidence(evidence.parents[1], "default", data["smoke_id"], DIGEST) is not None
