"""Engines that are scripted, through the parts of a comparison: what is asked, kept, known again, and shown."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.compare import run as module
from scripts.compare.asked import find_gap
from scripts.compare.engines import ENGINES
from scripts.compare.figures import Figure, Missing
from scripts.compare.gather import gather
from scripts.compare.rows import Row
from scripts.compare.run import Asked, Subject, measure
from scripts.compare.types import Comparison
from scripts.errors import ExitCode, Undecided
from scripts.pipeline import Stage
from scripts.smoke.gpu import Gpu
from scripts.verbs.comparing import judge
from scripts.workspace import name_work
from tests.unit.compare.made import ENTRY
from tests.unit.fake_docker import FakeContainer
from tests.unit.pipeline.lab import RTX_5090, Lab

CELLS = ("serve-cu128-5090-wheel", "train-cu128-5090-wheel")
SERVE, TRAIN = CELLS
AT_8 = Row("8 in flight", "load", "at-8", "ttft")
Answer = Callable[[FakeContainer, dict[str, str]], None]


class Comparing:
    """A comparison on the lab's bench, of two images that are taken for engines."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.asked: list[tuple[str, str, str]] = []
        self.answers: dict[str, Answer] = {}
        lab.run(*CELLS, last=Stage.BUILD)
        create = lab.docker.create

        def answer(image: str, *, name: str, **options: Any) -> FakeContainer:
            container = create(image, name=name, **options)
            folder = Path(str(options["mounts"][0]["Source"]))
            cell = name_work(folder.parent).removeprefix("compare-")
            assert (folder / "measure.py").is_file() and (folder / "models/tiny/config.json").is_file()
            environment = options["environment"]
            self.asked.append((cell, folder.name, environment["HALLMARK_RUNS"]))
            self.answers.get(cell, well)(container, environment)
            return container

        lab.docker.create = answer  # type: ignore[method-assign]

    def subjects(self, limit_gib: int = 32) -> list[Subject]:
        return [Subject(job, limit_gib) for cell in CELLS for job in self.lab.jobs(cell, last=Stage.SMOKE)]

    def measure(self, *parts: str, limit_gib: int = 32, **options: Any) -> Comparison:
        asked = Asked(parts or ("load",), limit_gib, **options)
        subjects = self.subjects(limit_gib)
        machine, undecided = measure(self.lab.bench, subjects, asked)
        return self.report(limit_gib, machine, undecided)

    def report(self, limit_gib: int = 32, machine: str = "", undecided: dict[str, str] | None = None) -> Comparison:
        target = self.lab.project.matrix.targets["5090"]
        return gather(self.lab.workspace, target, self.subjects(limit_gib), {}, machine, undecided)


def well(container: FakeContainer, environment: dict[str, str], **changes: Any) -> None:
    """Every check passes, with as many runs as are asked for."""
    runs = [12.0] * int(environment["HALLMARK_RUNS"])
    measured = {"runs": len(runs), "command": "serve", "figures": [ENTRY | {"runs": runs}]}
    lines = [
        {"check": name, "outcome": "passed", "detail": "", "measured": measured} | changes
        for name in environment["HALLMARK_CHECKS"].split()
    ]
    container.stdout = "\n".join(map(json.dumps, lines)).encode()


def badly(container: FakeContainer, environment: dict[str, str]) -> None:
    """Every check fails."""
    well(container, environment, outcome="failed", detail="the answer stalled")


@pytest.fixture
def comparing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Comparing:
    names = {"serve": ENGINES["vllm"], "train": ENGINES["sglang"]}
    monkeypatch.setattr(module, "ENGINES", names)
    return Comparing(lab)


def shown(comparison: Comparison) -> list[float | str]:
    """The figure of each engine, or why there is none."""
    found = [column.find(AT_8) for column in comparison.columns]
    return [each.value if isinstance(each, Figure) else each.reason for each in found]


def test_engines_are_measured_part_by_part(comparing: Comparing) -> None:
    comparison = comparing.measure("load", "models")
    assert comparing.asked == [(cell, part, "3") for part in ("load", "models") for cell in CELLS]
    assert shown(comparison) == [12.0, 12.0]
    assert [column.verdict for column in comparison.columns] == ["inconclusive"] * 2
    assert comparison.machine == "NVIDIA GeForce RTX 5090, driver 580.95.05"
    titles = ["vLLM 1.2.0, CUDA 12.8", "SGLang 1.2.0, CUDA 12.8"]
    assert [column.title for column in comparison.columns] == titles


def test_a_container_has_the_gpu_its_script_and_nothing_else(comparing: Comparing) -> None:
    comparing.measure("load")
    _, options = comparing.lab.docker.created[-1]
    assert options["entrypoint"] == ["python3", "-B", "/hallmark/measure.py"]
    assert options["network_mode"] == "none" and options["read_only"] is True
    assert [device.device_ids for device in options["device_requests"]] == [["GPU-1"]]
    spec = json.loads(options["environment"]["HALLMARK_SPEC"])
    assert spec["servers"][0]["share"]["option"] == "--mem-fraction-static"


def test_what_is_known_is_not_measured_again(comparing: Comparing) -> None:
    comparing.measure("load")
    comparing.asked.clear()
    assert shown(comparing.measure("load")) == [12.0, 12.0]
    assert comparing.asked == []
    comparing.measure("load", again=True)
    assert len(comparing.asked) == 2


def test_an_interrupted_comparison_goes_on_with_what_is_left(comparing: Comparing) -> None:
    def interrupt(container: FakeContainer, environment: dict[str, str]) -> None:
        raise KeyboardInterrupt

    comparing.answers[TRAIN] = interrupt
    with pytest.raises(KeyboardInterrupt):
        comparing.measure("load", "start")
    assert shown(comparing.report()) == [12.0, "not measured yet"]
    comparing.asked.clear()
    del comparing.answers[TRAIN]
    assert shown(comparing.measure("load", "start")) == [12.0, 12.0]
    assert comparing.asked == [(TRAIN, "load", "3"), *[(SERVE, "start", "1")] * 3, *[(TRAIN, "start", "1")] * 3]


def kept_runs(comparing: Comparing, cell: str, part: str) -> list[float]:
    """The runs of the first figure that a part's evidence has."""
    [job] = comparing.lab.jobs(cell)
    file = job.cell_folder(comparing.lab.workspace) / f"compare/{part}.json"
    runs: list[float] = json.loads(file.read_bytes())["results"][0]["measured"]["figures"][0]["runs"]
    return runs


def test_each_start_is_evidence_as_it_ends_and_a_later_call_adds_those_that_lack(comparing: Comparing) -> None:
    starts = iter((10.0, 20.0))

    def answer(container: FakeContainer, environment: dict[str, str]) -> None:
        if (start := next(starts, None)) is None:
            raise KeyboardInterrupt
        entry = ENTRY | {"name": "start", "runs": [start]}
        well(container, environment, measured={"runs": 1, "command": "serve", "figures": [entry]})

    comparing.answers[SERVE] = answer
    with pytest.raises(KeyboardInterrupt):
        comparing.measure("start")
    assert kept_runs(comparing, SERVE, "start") == [10.0, 20.0]
    comparing.asked.clear()
    starts = iter((90.0,))
    comparing.measure("start")
    assert comparing.asked == [(SERVE, "start", "1"), *[(TRAIN, "start", "1")] * 3]
    assert kept_runs(comparing, SERVE, "start") == [10.0, 20.0, 90.0]
    cold = comparing.report().columns[0].find(Row("", "start", "cold", "start"))
    assert isinstance(cold, Figure) and cold.value == 20.0
    del comparing.answers[SERVE]
    comparing.measure("start", again=True, runs=2)
    assert len(kept_runs(comparing, TRAIN, "start")) == 2, "anew, and nothing of before"


def test_after_a_start_that_failed_there_is_no_other(comparing: Comparing) -> None:
    comparing.answers[SERVE] = badly
    for asked in ([(SERVE, "start", "1"), *[(TRAIN, "start", "1")] * 3], []):
        comparing.asked.clear()
        comparing.measure("start")
        assert comparing.asked == asked


def test_a_report_is_put_together_from_several_visits(comparing: Comparing) -> None:
    comparing.measure("load")
    comparing.measure("start")
    comparing.asked.clear()
    known = {row.part for _, row, _, found in comparing.report().numbers if found != Missing("not measured yet")}
    assert known == {"load", "start"}
    assert comparing.asked == []


def test_more_runs_than_are_known_are_measured_and_fewer_are_not(comparing: Comparing) -> None:
    comparing.measure("load", runs=2)
    assert shown(comparing.report()) == [12.0, 12.0]
    for runs, count in ((1, 0), (2, 0), (3, 2)):
        comparing.asked.clear()
        comparing.measure("load", runs=runs)
        assert len(comparing.asked) == count


def test_a_failure_is_evidence_and_is_shown_with_its_reason(comparing: Comparing) -> None:
    comparing.answers[SERVE] = badly
    assert shown(comparing.measure("load")) == ["the answer stalled", 12.0]
    comparing.asked.clear()
    assert shown(comparing.measure("load")) == ["the answer stalled", 12.0]
    assert comparing.asked == []


def crash(container: FakeContainer, environment: dict[str, str]) -> None:
    well(container, environment)
    container.code = 139


def kill(container: FakeContainer, environment: dict[str, str]) -> None:
    well(container, environment)
    container.oom_killed = True


def stay_silent(container: FakeContainer, environment: dict[str, str]) -> None:
    container.stdout = b""


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (crash, "exit code 139: segmentation fault"),
        (kill, "a process was killed for memory: it needs more than 64 GiB"),
        (stay_silent, "the check gave no result"),
    ],
)
def test_a_container_that_did_not_end_well_gives_no_number(answer: Answer, reason: str, comparing: Comparing) -> None:
    comparing.answers[SERVE] = answer
    comparison = comparing.measure("load")
    assert shown(comparison) == [reason, 12.0]
    found = comparison.columns[0].find(AT_8)
    assert isinstance(found, Missing) and found.failed


def test_what_the_docker_engine_failed_to_do_is_asked_again(comparing: Comparing) -> None:
    def forget(container: FakeContainer, environment: dict[str, str]) -> None:
        container.on_start = lambda: container.docker.images.get("nothing")

    comparing.answers[SERVE] = forget
    assert "the engine does not have the image" in str(shown(comparing.measure("load"))[0])
    del comparing.answers[SERVE]
    assert shown(comparing.measure("load")) == [12.0, 12.0]


# --- what is not current is not shown


def test_evidence_of_another_digest_is_not_shown(comparing: Comparing) -> None:
    comparing.measure("load")
    lab = comparing.lab
    [job] = lab.jobs(SERVE)
    file = job.build_folder(lab.workspace) / "build.json"
    record = json.loads(file.read_bytes())
    file.write_text(json.dumps(record | {"digest": "sha256:" + "e" * 64}))
    assert shown(comparing.report()) == ["not measured yet", 12.0]


def test_evidence_of_another_question_is_not_shown(comparing: Comparing) -> None:
    comparing.measure("load")
    assert shown(comparing.report(limit_gib=24)) == ["not measured yet", "not measured yet"]
    assert shown(comparing.report(limit_gib=32)) == [12.0, 12.0]


def test_evidence_by_another_script_is_not_shown(
    comparing: Comparing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparing.measure("load")
    copy = tmp_path / "compare"
    shutil.copytree(module.HERE, copy)
    monkeypatch.setattr(module, "HERE", copy)
    assert shown(comparing.report()) == [12.0, 12.0]
    with (copy / "inside/stream.py").open("a") as stream:
        stream.write("# another client\n")
    assert shown(comparing.report()) == ["not measured yet", "not measured yet"]


@pytest.mark.parametrize("damage", ["{", "[]", '{"version": 2}'])
def test_damaged_evidence_is_not_shown(damage: str, comparing: Comparing) -> None:
    comparing.measure("load")
    [job] = comparing.lab.jobs(SERVE)
    (job.cell_folder(comparing.lab.workspace) / "compare/load.json").write_text(damage)
    assert shown(comparing.report()) == ["not measured yet", 12.0]


def use_driver(lab: Lab, driver: str) -> None:
    gpu: Gpu = replace(RTX_5090, driver=driver)
    lab.gpus = lab.GPUS | {"5090": gpu}


def test_evidence_of_another_driver_is_measured_again(comparing: Comparing) -> None:
    comparing.measure("load")
    use_driver(comparing.lab, "590.1")
    comparing.asked.clear()
    comparing.measure("load")
    assert len(comparing.asked) == 2


def test_a_report_is_of_one_driver_and_says_what_was_measured_on_another(
    comparing: Comparing, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparing.measure("start", "load")
    use_driver(comparing.lab, "590.1")
    here = "NVIDIA GeForce RTX 5090, driver 590.1"
    there = "NVIDIA GeForce RTX 5090, driver 580.95.05"
    comparison = comparing.measure("start")
    assert comparison.machine == here and comparison.host["driver"] == "590.1"
    assert shown(comparison) == [f"not measured on {here}, but on {there}"] * 2


def test_what_each_gpu_of_a_machine_has_measured_is_said_of_it(comparing: Comparing) -> None:
    comparing.measure("load")
    [job] = comparing.lab.jobs(SERVE)
    file = job.cell_folder(comparing.lab.workspace) / "compare/load.json"
    record = json.loads(file.read_bytes())
    file.write_text(json.dumps(record | {"host": record["host"] | {"index": "1"}}))
    host = comparing.report().host
    assert sorted(host["index"].split("; ")) == ["0", "1"] and ";" not in host["gpu"]


def test_without_a_machine_the_newest_evidence_says_which_it_is(comparing: Comparing) -> None:
    comparing.measure("load")
    [job] = comparing.lab.jobs(SERVE)
    file = job.cell_folder(comparing.lab.workspace) / "compare/load.json"
    record = json.loads(file.read_bytes())
    newer = {"finished": "2099-01-01T00:00:00Z", "host": record["host"] | {"driver": "590.1"}}
    file.write_text(json.dumps(record | newer))
    assert "but on NVIDIA GeForce RTX 5090, driver 580.95.05" in str(shown(comparing.report())[1])
    assert shown(comparing.report())[0] == 12.0


# --- what cannot be measured


def test_models_that_do_not_fit_are_not_measured_and_no_engine_is_blamed(comparing: Comparing) -> None:
    comparison = comparing.measure("models", limit_gib=8)
    assert comparing.asked == []
    found = [column.find(Row("", "models", "together", "yi-1.5-6b/ttft")) for column in comparison.columns]
    assert [isinstance(each, Missing) and each.reason for each in found] == [
        f"not for 5090: {find_gap(subject.job.cell, 'models', 8)}" for subject in comparing.subjects(8)
    ]
    assert judge(comparison, ["models"], undecided=False) is ExitCode.INCONCLUSIVE


def test_an_engine_that_is_not_here_does_not_keep_the_other_from_being_measured(comparing: Comparing) -> None:
    [job] = comparing.lab.jobs(SERVE)
    (job.build_folder(comparing.lab.workspace) / "build.json").unlink()
    assert shown(comparing.measure("load")) == [
        f"not measured: its candidate is not here (nox -s build -- {SERVE})",
        12.0,
    ]


def test_where_no_engine_can_be_measured_nothing_is_said_of_any(comparing: Comparing) -> None:
    comparing.lab.gpus = {}
    with pytest.raises(Undecided, match=SERVE):
        comparing.measure("load")
    assert comparing.asked == []


def test_a_candidate_is_brought_by_its_digest_and_not_built(comparing: Comparing) -> None:
    lab = comparing.lab
    [job] = lab.jobs(SERVE)
    file = job.build_folder(lab.workspace) / "build.json"
    digest = json.loads(file.read_bytes())["digest"]
    carried = lab.root / "carried"
    shutil.copytree(lab.workspace.layout(job.step.build_id), carried)
    file.unlink()
    lab.forget()
    builds = len(lab.builder.ran)
    [subject] = [Subject(each, 32) for each in lab.jobs(SERVE, digest=digest, source=str(carried))]
    measure(lab.bench, [subject], Asked(("load",), 32))
    assert comparing.asked == [(SERVE, "load", "3")] and len(lab.builder.ran) == builds
