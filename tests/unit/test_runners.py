"""Which runner builds and tests what; every cell is a row, or has a reason why it is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.__main__ import main
from scripts.errors import ConfigError
from scripts.matrix import load_matrix
from scripts.pipeline import Stage
from scripts.runners import ORDINARY, read_gpus
from scripts.text import for_markdown
from tests.unit.builders import REPOSITORY_ROOT
from tests.unit.pipeline.lab import Lab, crashing, unanswered

CPU, GPU, PRO = "serve-cpu", "serve-cu128-5090-wheel", "serve-cu128-pro6000-wheel"
CANDIDATE = "serve-cu128-sm120-wheel"
MATRIX = load_matrix(REPOSITORY_ROOT)


@pytest.fixture
def lab(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Lab:
    for name in ("GITHUB_STEP_SUMMARY", "HALLMARK_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    return Lab(tmp_path, capsys, monkeypatch)


class Asked:
    """The verb, from the command line: the rows that it prints, and what it says."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
        capsys.readouterr()
        self.code = main(["--project", str(root), "matrix", *arguments])
        shown = capsys.readouterr()
        name, _, text = shown.out.strip().partition("=")
        assert name == "rows" and "\n" not in text, "one line, for $GITHUB_OUTPUT"
        self.rows: list[dict[str, Any]] = json.loads(text)["include"] if text else []
        self.said = shown.err

    @property
    def ids(self) -> list[str]:
        return [row["id"] for row in self.rows]


# --- what is built


def test_a_candidate_is_built_once_for_all_that_can_be_tested(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    asked = Asked(lab.root, capsys, "build", "--gpus", '["5090", "pro6000"]', "--image", "serve")
    rows = {row["candidate"]: row for row in asked.rows}
    assert rows.keys() == {CANDIDATE, "serve-cpu"} and len(asked.rows) == 2
    assert rows[CANDIDATE] == {
        "candidate": CANDIDATE,
        "cell": GPU,
        "build": lab.step(GPU).build_id,
        "runner": ORDINARY,
        "compiles": False,
    }
    assert "serve-cu128-5090: not run: not built yet" in asked.said


def test_a_cell_whose_gpu_nobody_has_is_shown_and_not_run(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = tmp_path / "summary"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    asked = Asked(lab.root, capsys, "build", "--gpus", '["pro6000"]', "--only", "serve-cu128-*-wheel", "--only", CPU)
    assert [row["cell"] for row in asked.rows] == [PRO, CPU], "built by the name of one that can be tested"
    why = "no runner has its GPU: GPU_TARGETS does not name 5090"
    assert f"{GPU}: not run: {why}" in asked.said
    assert f"| {GPU} | not run: {for_markdown(why)} |" in summary.read_text()
    assert f"| {CANDIDATE} | build on {ORDINARY} |" in summary.read_text()


def test_a_run_that_would_build_nothing_is_no_success(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    asked = Asked(lab.root, capsys, "build", GPU)
    assert (asked.code, asked.rows) == (3, [])


@pytest.mark.parametrize(("label", "built"), [("", False), ("large", True)])
def test_what_is_compiled_goes_to_the_runner_for_that(
    label: str, built: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = ["--only", "vllm-cu130-5090", "--only", "vllm-cu130-5090-wheel"]
    asked = Asked(REPOSITORY_ROOT, capsys, "build", "--gpus", '["5090"]', "--compile-on", label, *cells)
    runners = {row["cell"]: (row["runner"], row["compiles"]) for row in asked.rows}
    assert runners.pop("vllm-cu130-5090-wheel") == (ORDINARY, False)
    assert runners == ({"vllm-cu130-5090": (label, True)} if built else {})
    assert ("vllm-cu130-5090: not run: no runner compiles: COMPILE_RUNNER names none" in asked.said) is not built


# --- what is tested


def test_what_is_built_and_not_decided_awaits_its_test_by_digest(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    digest = lab.run(GPU, last=Stage.BUILD)[GPU].digest
    asked = Asked(lab.root, capsys, "test", "--gpus", '["5090"]', "--image", "serve")
    assert asked.rows == [
        {
            "id": GPU,
            "candidate": CANDIDATE,
            "image": "serve",
            "build": lab.step(GPU).build_id,
            "digest": digest,
            "runner": ["self-hosted", "gpu", "5090"],
        }
    ]
    assert f"{PRO}: not run: no runner has its GPU" in asked.said
    assert f"{CPU}: not run: its candidate was not built" in asked.said
    assert "serve-cu128-5090: not run: not built yet" in asked.said


def test_the_cpu_is_tested_on_an_ordinary_runner(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.run(CPU, last=Stage.BUILD)
    [row] = Asked(lab.root, capsys, "test", CPU).rows
    assert row["runner"] == ORDINARY


def test_what_is_decided_is_not_drawn_again_and_what_a_host_left_open_is(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.docker.smokes[PRO] = crashing
    lab.docker.smokes[CPU] = unanswered
    lab.run(CPU, GPU, PRO, last=Stage.SMOKE)
    asked = Asked(lab.root, capsys, "test", CPU, GPU, PRO, "--gpus", '["5090", "pro6000"]')
    assert (asked.code, asked.ids) == (0, [CPU])
    assert f"{GPU}: not run: accepted already" in asked.said and f"{PRO}: not run: rejected already" in asked.said


# --- the variable


@pytest.mark.parametrize(("text", "found"), [("", ()), ("[]", ()), ('["h200","5090"]', ("h200", "5090"))])
def test_the_gpus_that_have_a_runner_are_a_list(text: str, found: tuple[str, ...]) -> None:
    assert read_gpus(text, MATRIX) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("5090", "no JSON list"),
        ("{}", "no JSON list"),
        ("[5090]", "no JSON list"),
        ('"5090"', "no JSON list"),
        ("h200,5090", "no JSON list"),
        ('["509O", "h200"]', "509O: no GPU of the matrix"),
        ('["cpu"]', "cpu: no GPU of the matrix"),
    ],
)
def test_a_list_that_names_no_gpu_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_gpus(text, MATRIX)
