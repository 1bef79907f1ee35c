"""A gate on another machine: built here, tested and tagged there; what fails there is said with its name."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import requests
from docker.errors import APIError

from scripts.errors import ExitCode, Undecided
from scripts.pipeline import CellReport
from tests.unit.fake_docker import FakeContainer, FarDocker, raise_
from tests.unit.pipeline.lab import RTX_5090, Lab, crashing, passing

CPU, GPU = "serve-cpu", "serve-cu128-5090-wheel"
HOST = "ssh://me@gpubox"
SEEN = {"xids": {}, "slowed": [], "celsius": 71, "fault": "", "untold": ""}


class Far(FarDocker):
    """The other machine: what it has, what its watch sees, and how the containers under test end."""

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        lab.remote = self.far_engine()
        self.gpus = [vars(RTX_5090)]
        self.error = ""
        self.sighting: Any = SEEN
        self.test = passing
        self.tested: list[str] = []
        self.runtimes: dict[str, Any] = {"nvidia": {}}
        self.behave = self._behave

    def info(self) -> dict[str, Any]:
        return super().info() | {"Runtimes": self.runtimes}

    def load_image(self, source: io.RawIOBase) -> list[dict[str, str]]:
        return super().load_image(io.BytesIO(b"".join(iter(lambda: source.read(1 << 16), b""))))  # type: ignore[arg-type]

    def _behave(self, container: FakeContainer) -> None:
        image, options = self.created[-1]
        assert image in self.tags, "the image is there before its container"
        words = options["entrypoint"]
        if "look" in words:
            container.stdout = json.dumps({"cpu": "AMD Ryzen 9", "gpus": self.gpus, "error": self.error}).encode()
        elif "watch" in words:
            container.stdout, container.hangs = json.dumps(self.sighting).encode(), True
        elif words != ["-"]:
            self.tested.append(image)
            self.test(container)

    @property
    def tagged(self) -> set[str]:
        return {tag for tags in self.tags.values() for tag in tags}


@pytest.fixture
def far(lab: Lab) -> Far:
    return Far(lab)


def run(lab: Lab, far: Far, cell: str) -> CellReport:
    """Run a cell: nothing of it is done in the engine here, and nothing stays there but the image."""
    row = lab.run(cell)[cell]
    assert lab.docker.created == [] and lab.docker.tags == {}
    if far.alive:
        assert all(each.removed for each in far.made.values()) and far.volumes == {}
    return row


def read(lab: Lab, cell: str) -> dict[str, Any]:
    return dict(json.loads((lab.folder(cell) / cell / "smoke/default.json").read_text()))


def test_a_candidate_is_tested_and_tagged_there(lab: Lab, far: Far) -> None:
    row = run(lab, far, CPU)
    assert row.exit_code is ExitCode.ACCEPTED and far.tested == [row.digest]
    assert row.tag in far.tagged
    assert f"{CPU} load at {HOST}" in lab.ran
    assert read(lab, CPU)["host"] == {"cpu": "32 × AMD Ryzen 9", "kernel": "6.1.0", "engine": "28.5.1"}


def test_a_gpu_there_is_what_the_evidence_tells_of(lab: Lab, far: Far) -> None:
    row = run(lab, far, GPU)
    assert row.exit_code is ExitCode.ACCEPTED and row.tag in far.tagged
    kept = read(lab, GPU)
    assert kept["host"]["gpu"] == RTX_5090.name and kept["host"]["driver"] == RTX_5090.driver
    assert kept["results"][-1]["check"] == "gpu" and kept["results"][-1]["measured"]["celsius"] == 71
    [options] = [options for _, options in far.created if options["entrypoint"][-1].endswith("smoke.py")]
    assert [device.device_ids for device in options["device_requests"]] == [[RTX_5090.uuid]]


@pytest.mark.parametrize("cell", [CPU, GPU])
def test_no_file_that_is_kept_names_the_machine(cell: str, lab: Lab, far: Far) -> None:
    run(lab, far, cell)
    require_unnamed(lab)


def require_unnamed(lab: Lab) -> None:
    kept = [path for path in (*lab.workspace.runs.rglob("*"), lab.workspace.feed) if path.is_file()]
    assert len(kept) > 2 and [path for path in kept if b"gpubox" in path.read_bytes()] == []


def test_a_second_run_finds_nothing_to_do(lab: Lab, far: Far) -> None:
    run(lab, far, GPU)
    made = len(far.created)
    row = run(lab, far, GPU)
    assert row.exit_code is ExitCode.ACCEPTED and len(far.created) == made


def test_what_fails_its_test_there_is_rejected(lab: Lab, far: Far) -> None:
    far.test = crashing
    row = run(lab, far, CPU)
    assert row.exit_code is ExitCode.REJECTED and far.tagged == set()


def test_a_tag_there_is_taken_back(lab: Lab, far: Far) -> None:
    assert run(lab, far, CPU).tag in far.tagged
    far.test = crashing
    script = lab.root / "images/serve/smoke.py"
    script.write_text(script.read_text() + "# asked anew\n")
    assert run(lab, far, CPU).exit_code is ExitCode.REJECTED
    assert far.tagged == set()


# --- what leaves it open


def undecided(row: CellReport, why: str) -> None:
    assert row.exit_code is ExitCode.INCONCLUSIVE and row.tag == ""
    said = "\n".join(map(str, row.problems))
    assert why in said and HOST in said and all(problem.next_step for problem in row.problems)


def test_a_machine_that_hands_out_no_gpu_is_sent_nothing(lab: Lab, far: Far) -> None:
    far.runtimes = {}
    undecided(run(lab, far, GPU), "has no NVIDIA runtime")
    assert far.tags == {}


@pytest.mark.parametrize(
    ("gpus", "why"),
    [
        ([], f"{HOST} has no NVIDIA GPU"),
        ([vars(RTX_5090) | {"name": "NVIDIA H200", "compute": "9.0"}], f"{HOST} has NVIDIA H200 (9.0), not"),
        ([vars(RTX_5090) | {"driver": "500.1"}], f"the driver of {HOST} is 500.1"),
        ([vars(RTX_5090) | {"trouble": "in use by process 12"}], f"no GPU can be judged on at {HOST}"),
    ],
)
def test_a_machine_without_the_right_gpu_leaves_it_open(gpus: Any, why: str, lab: Lab, far: Far) -> None:
    far.gpus = gpus
    row = run(lab, far, GPU)
    undecided(row, why)
    assert "let HALLMARK_GPU_HOST name a machine" in row.problems[0].next_step and far.tested == []


def test_a_driver_that_fails_there_is_to_be_mended_there(lab: Lab, far: Far) -> None:
    far.error = "Driver Not Loaded"
    row = run(lab, far, GPU)
    undecided(row, "the NVIDIA driver fails: Driver Not Loaded")
    assert "`nvidia-smi` says there" in row.problems[0].next_step and far.tested == []


@pytest.mark.parametrize("cell", [CPU, GPU])
def test_a_connection_that_is_lost_half_way_leaves_it_open_and_goes_on(cell: str, lab: Lab, far: Far) -> None:
    def lose(container: FakeContainer) -> None:
        def act() -> None:
            far.alive = False
            raise requests.ConnectionError("gone")

        container.on_wait = act

    far.test = lose
    row = run(lab, far, cell)
    undecided(row, "a container is left behind")
    assert not (lab.folder(cell) / cell / "smoke/default.json").exists()
    far.alive, far.test = True, passing
    for each in far.made.values():
        each.removed = True  # by `clean`
    assert lab.run(cell)[cell].exit_code is ExitCode.ACCEPTED


def test_an_engine_that_fails_there_is_not_held_against_the_image(lab: Lab, far: Far) -> None:
    far.test = lambda container: setattr(
        container, "on_start", lambda: raise_(APIError("no space left on device", None, "no space left on device"))
    )
    row = run(lab, far, CPU)
    undecided(row, "no space left on device")
    assert f"docker --host {HOST} version" in row.problems[0].next_step


def test_a_disk_that_is_full_there_leaves_it_open(lab: Lab, far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(far, "load_image", lambda source: raise_(APIError("no space left on device")))
    undecided(run(lab, far, CPU), "no space left on device")


def test_a_gpu_that_failed_there_is_not_held_against_the_image(lab: Lab, far: Far) -> None:
    far.sighting, far.test = SEEN | {"xids": {"79": 1}}, crashing
    row = run(lab, far, GPU)
    assert row.exit_code is ExitCode.INCONCLUSIVE and far.tagged == set()
    assert "the GPU of HALLMARK_GPU_HOST failed: the driver reported Xid 79" in str(row.problems[0])
    require_unnamed(lab)


def test_a_watch_that_is_lost_counts_as_a_fault(lab: Lab, far: Far) -> None:
    far.sighting = "nothing of ours"
    row = run(lab, far, GPU)
    assert row.exit_code is ExitCode.INCONCLUSIVE and "its watch is lost" in str(row.problems[0])


def test_an_interruption_ends_what_runs_there(lab: Lab, far: Far) -> None:
    bench = lab.bench
    bench.stop()
    with pytest.raises(Undecided, match="the run was interrupted"), bench.gate.tending(object()):
        pass


def test_what_travels_is_the_layout_and_no_path(lab: Lab, far: Far, tmp_path: Path) -> None:
    run(lab, far, GPU)
    assert str(tmp_path) not in repr(far.created)
