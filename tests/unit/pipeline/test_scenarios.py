"""Several scenarios of one cell: each is a container with evidence of its own, and all that are required decide."""

from __future__ import annotations

import json

import pytest

from scripts.errors import ExitCode
from scripts.model import Verdict
from tests.unit.builders import edit, write
from tests.unit.fake_docker import FakeContainer
from tests.unit.pipeline.lab import Lab, crashing, passing

CPU, GPU = "serve-cpu", "serve-cu128-5090-wheel"
IMAGE_TOML = "images/serve/image.toml"
MORE = """
[[scenario]]
name = "eager"
checks = ["load", "serve"]
timeout_s = 60
memory_gib = 2
[[scenario.except]]
cuda = "12.8"
reason = "the graphs of this line need it not"
[[scenario]]
name = "wild"
checks = ["load", "serve"]
timeout_s = 60
memory_gib = 2
required = false
"""


@pytest.fixture
def several(lab: Lab) -> Lab:
    """The lab, where `serve` has three scenarios: one is not for the GPU, and one decides nothing."""
    path = lab.root / IMAGE_TOML
    write(path, path.read_text() + MORE)
    return lab


def only(scenario: str, lab: Lab, cell: str, act: object = crashing) -> None:
    """Let one scenario of a cell crash, or act otherwise, and the others pass."""
    lab.docker.scenarios[cell, scenario] = act  # type: ignore[assignment]


def test_each_is_a_container_with_evidence_of_its_own(several: Lab) -> None:
    row = several.run(CPU)[CPU]
    assert several.ran[-3:] == [f"{CPU} smoke {name}" for name in ("default", "eager", "wild")]
    assert (row.smoke, row.verdict) == ("6 of 6 passed", Verdict.ACCEPTED)
    folder = several.folder(CPU) / CPU / "smoke"
    assert {path.name for path in folder.glob("*.json")} == {"default.json", "eager.json", "wild.json"}
    assert {path.name for path in folder.glob("*.log")} == {"default.log", "eager.log", "wild.log"}


def test_a_cell_goes_through_those_that_are_for_it(several: Lab) -> None:
    several.run(GPU)
    assert [line for line in several.ran if "smoke" in line] == [f"{GPU} smoke default", f"{GPU} smoke wild"]
    assert several.verdict(GPU).verdict is Verdict.ACCEPTED


@pytest.mark.parametrize("scenario", ["default", "eager"])
def test_one_that_is_required_rejects_whatever_the_others_did(scenario: str, several: Lab) -> None:
    only(scenario, several, CPU)
    row = several.run(CPU)[CPU]
    assert (row.verdict, row.exit_code, row.smoke) == (Verdict.REJECTED, ExitCode.REJECTED, "5 of 6 passed")
    assert [problem.cause for problem in row.problems] == [f"{scenario}/container: exit code 139: segmentation fault"]
    assert row.problems[0].next_step == f"read {several.folder(CPU) / CPU / f'smoke/{scenario}.log'}"


def test_one_that_is_not_required_is_told_of_and_decides_nothing(several: Lab) -> None:
    only("wild", several, CPU)
    row = several.run(CPU)[CPU]
    assert (row.verdict, row.tag) == (Verdict.ACCEPTED, "hallmark/serve:1.2.0-cpu")
    assert row.smoke == "6 of 6 passed; not required, and failed: wild"


def test_what_was_interrupted_goes_on_with_the_scenarios_that_are_left(several: Lab) -> None:
    def interrupt(container: FakeContainer) -> None:
        raise KeyboardInterrupt

    only("eager", several, CPU, interrupt)
    with pytest.raises(KeyboardInterrupt):
        several.run(CPU)
    found = several.verdict(CPU)
    assert (found.verdict, found.reasons) == (Verdict.INCONCLUSIVE, ("not smoke-tested yet: eager",))
    only("eager", several, CPU, passing)
    row = several.run(CPU)[CPU]
    assert several.ran == [f"{CPU} smoke eager", f"{CPU} smoke wild"]
    assert row.verdict is Verdict.ACCEPTED


def test_a_scenario_that_was_added_is_asked_alone(several: Lab) -> None:
    several.run(CPU)
    path = several.root / IMAGE_TOML
    added = '[[scenario]]\nname = "more"\nchecks = ["load", "serve"]\ntimeout_s = 60\nmemory_gib = 2\n'
    write(path, path.read_text() + added)
    assert several.verdict(CPU).reasons == ("not smoke-tested yet: more",)
    several.run(CPU)
    assert several.ran == [f"{CPU} smoke more"]


def test_evidence_of_one_scenario_is_none_of_another(several: Lab) -> None:
    several.run(CPU)
    folder = several.folder(CPU) / CPU / "smoke"
    (folder / "eager.json").write_bytes((folder / "default.json").read_bytes())
    assert several.verdict(CPU).reasons == ("not smoke-tested yet: eager",)


def test_evidence_under_two_drivers_is_no_verdict_and_is_made_again_under_one(several: Lab) -> None:
    edit(several.root / IMAGE_TOML, 'cuda = "12.8"', 'cuda = "cpu"')
    several.run(GPU)
    path = several.folder(GPU) / GPU / "smoke/default.json"
    evidence = json.loads(path.read_text())
    evidence["host"]["driver"] = "570.1"
    path.write_text(json.dumps(evidence))
    found = several.verdict(GPU)
    assert found.verdict is Verdict.INCONCLUSIVE and "several drivers: 570.1, 580.95.05" in found.reasons[0]
    several.run(GPU)
    assert [line for line in several.ran if "smoke" in line] == [f"{GPU} smoke default"]
    assert several.verdict(GPU).verdict is Verdict.ACCEPTED


def test_a_cell_that_no_scenario_is_for_is_never_accepted(lab: Lab) -> None:
    path = lab.root / IMAGE_TOML
    edit(path, 'name = "default"', 'name = "default"\nexcept = [{ cuda = "12.8", reason = "none" }]')
    row = lab.run(GPU)[GPU]
    assert (row.audit, row.verdict, row.tag) == ("1 native", Verdict.REJECTED, "")
    assert "nothing was shown" in row.problems[0].cause
