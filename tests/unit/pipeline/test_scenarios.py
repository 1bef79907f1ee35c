"""Several scenarios of one cell: each is a container with evidence of its own, and all that are required decide."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from threading import Barrier, Event
from typing import Any

import pytest

from scripts.errors import ExitCode, Undecided
from scripts.locks import hold_one
from scripts.model import Verdict
from scripts.smoke import watch
from scripts.smoke.watch import Sighting
from tests.unit.builders import edit, write
from tests.unit.fake_docker import FakeContainer
from tests.unit.pipeline.lab import RTX_5090, Lab, crashing, passing

CPU, GPU = "serve-cpu", "serve-cu128-5090-wheel"
IMAGE_TOML = "images/serve/image.toml"
WAIT_S = 30
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


def test_where_several_reject_the_folder_of_their_logs_is_named(several: Lab) -> None:
    only("default", several, CPU)
    only("eager", several, CPU)
    row = several.run(CPU)[CPU]
    assert [problem.cause.partition("/")[0] for problem in row.problems] == ["default", "eager"]
    assert {problem.next_step for problem in row.problems} == {f"read {several.folder(CPU) / CPU / 'smoke'}"}


def test_those_that_decide_nothing_come_last(several: Lab) -> None:
    edit(several.root / IMAGE_TOML, 'name = "eager"', 'name = "eager"\nrequired = false')
    edit(several.root / IMAGE_TOML, "memory_gib = 2\nrequired = false\n", "memory_gib = 2\n")
    several.run(CPU)
    order = [line.rpartition(" ")[2] for line in several.ran if "smoke" in line]
    assert order == ["default", "wild", "eager"]


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


# --- several GPUs


@pytest.fixture
def two_gpus(several: Lab) -> Lab:
    """Three scenarios for the GPU, and a machine that has two of them."""
    edit(several.root / IMAGE_TOML, 'cuda = "12.8"', 'cuda = "cpu"')
    several.gpus = {**several.GPUS, "second": replace(RTX_5090, index="7", uuid="GPU-7")}
    return several


def test_scenarios_are_run_side_by_side_one_on_each_gpu(two_gpus: Lab) -> None:
    meeting = Barrier(2)
    given: list[str] = []

    def meet(container: FakeContainer) -> None:
        passing(container)
        container.on_start = lambda: meeting.wait(WAIT_S)

    for name in ("default", "eager"):
        only(name, two_gpus, GPU, meet)
    create = two_gpus.docker.create

    def note(image: str, *, name: str, **options: Any) -> FakeContainer:
        given.extend(device.device_ids[0] for device in options["device_requests"])
        return create(image, name=name, **options)

    two_gpus.docker.create = note  # type: ignore[method-assign]
    row = two_gpus.run(GPU)[GPU]
    assert (row.smoke, row.verdict) == ("8 of 8 passed", Verdict.ACCEPTED)
    assert sorted(given[:2]) == ["GPU-1", "GPU-7"] and len(given) == 3
    known = two_gpus.verdict(GPU).scenarios
    assert list(known) == ["default", "eager", "wild"]


def test_no_more_gpus_are_held_than_there_is_to_do(two_gpus: Lab) -> None:
    two_gpus.run(GPU)
    (two_gpus.folder(GPU) / GPU / "smoke/eager.json").unlink()
    free: list[str] = []

    def look(container: FakeContainer) -> None:
        def try_each() -> None:
            for uuid in ("GPU-1", "GPU-7"):
                with suppress(Undecided), hold_one([two_gpus.site.cache / f"locks/{uuid}.lock"], "", patience_s=0):
                    free.append(uuid)

        passing(container)
        container.on_start = try_each

    only("eager", two_gpus, GPU, look)
    assert two_gpus.run(GPU)[GPU].verdict is Verdict.ACCEPTED
    assert free == ["GPU-7"], "another cell can be tested on it meanwhile"


def test_side_by_side_the_longest_of_those_that_decide_begins_first(two_gpus: Lab) -> None:
    late = '[[scenario]]\nname = "late"\nchecks = ["load"]\ntimeout_s = 90\nmemory_gib = 1\n'
    edit(two_gpus.root / IMAGE_TOML, '[[scenario]]\nname = "wild"', f'{late}[[scenario]]\nname = "wild"')
    begun: list[str] = []
    long = Event()

    def note(name: str) -> Callable[[FakeContainer], None]:
        def act(container: FakeContainer) -> None:
            begun.append(name)
            passing(container)
            if name == "late":
                long.set()
            if name == "default":
                container.on_start = lambda: long.wait(WAIT_S)

        return act

    for name in ("default", "eager", "late", "wild"):
        only(name, two_gpus, GPU, note(name))
    two_gpus.run(GPU)
    assert begun.index("late") < begun.index("eager")


def test_a_gpu_in_trouble_is_left_out(two_gpus: Lab) -> None:
    two_gpus.gpus = two_gpus.gpus | {"5090": replace(RTX_5090, trouble="in use by process 12")}
    two_gpus.run(GPU)
    assert two_gpus.docker.devices[GPU] == [["GPU-7"]]


def test_an_interruption_ends_what_runs_on_the_other_gpu(two_gpus: Lab) -> None:
    running, removed = Event(), Event()

    def hang(container: FakeContainer) -> None:
        def wait() -> None:
            running.set()
            assert removed.wait(WAIT_S)

        passing(container)
        container.on_wait, container.on_remove = wait, removed.set

    def interrupt(container: FakeContainer) -> None:
        assert running.wait(WAIT_S)
        raise KeyboardInterrupt

    only("default", two_gpus, GPU, interrupt)  # the first of them is what the thread that is interrupted waits for
    only("eager", two_gpus, GPU, hang)
    with pytest.raises(KeyboardInterrupt):
        two_gpus.run(GPU)
    assert removed.is_set() and two_gpus.builder.stopped == 1
    assert not list(two_gpus.folder(GPU).glob(f"{GPU}/smoke/*")), "nothing that was ended is evidence"


def test_a_gpu_that_fails_is_not_held_against_the_image(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    only("default", lab, GPU)  # it crashes
    fine = watch.Watch.end
    monkeypatch.setattr(watch.Watch, "end", lambda _: Sighting({79: 1}))
    row = lab.run(GPU)[GPU]
    assert (row.verdict, row.exit_code, row.tag) == (Verdict.INCONCLUSIVE, ExitCode.INCONCLUSIVE, "")
    assert "Xid 79" in row.problems[0].cause and "container" in row.problems[0].cause
    monkeypatch.setattr(watch.Watch, "end", fine)
    only("default", lab, GPU, passing)
    assert lab.run(GPU)[GPU].verdict is Verdict.ACCEPTED, "it is asked again"


def test_evidence_without_a_watch_on_the_gpu_is_no_stamp(lab: Lab) -> None:
    lab.run(GPU)
    path = lab.folder(GPU) / GPU / "smoke/default.json"
    evidence = json.loads(path.read_text())
    evidence["results"] = [result for result in evidence["results"] if result["check"] != watch.WATCHED]
    path.write_text(json.dumps(evidence))
    assert lab.verdict(GPU).reasons == ("default/gpu: no result",)


def test_a_cell_that_no_scenario_is_for_is_never_accepted(lab: Lab) -> None:
    path = lab.root / IMAGE_TOML
    edit(path, 'name = "default"', 'name = "default"\nexcept = [{ cuda = "12.8", reason = "none" }]')
    row = lab.run(GPU)[GPU]
    assert (row.audit, row.verdict, row.tag) == ("1 native", Verdict.REJECTED, "")
    assert "nothing was shown" in row.problems[0].cause
