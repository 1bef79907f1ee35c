from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from scripts.build.buildx import make_arguments, make_command, run_build
from scripts.build.inputs import Inputs
from scripts.build.steps import Step
from scripts.engine import Engine
from scripts.errors import BuildFailed, ExitCode, HallmarkError, Undecided
from scripts.oci.descriptor import Descriptor
from scripts.oci.layout import Layout
from tests.unit.builders import EPOCH, make_image
from tests.unit.fake_docker import FakeDocker

LOCKED = "ERROR: failed to solve: ref layer-sha256:ab locked for 2.1s: unavailable"
INPUTS = Inputs(Path("/w/context"), Path("/w/inputs"), Path("/w/tools"))


def make_step(name: str, parent: Step | None = None) -> Step:
    labels = {"org.opencontainers.image.title": name, "a": "with a space"}
    return Step(name, make_image(Path("/images") / name), parent, (), (), EPOCH, labels, name[0] * 64)


def test_layers_are_compressed_as_the_site_says() -> None:
    step = replace(make_step("base"), compression="gzip")
    command = make_command(step, INPUTS, None, Path("/w/layout"), cached=True)
    assert "compression=gzip" in command[command.index("--output") + 1]


def test_the_command_of_an_image_without_a_parent_is_this() -> None:
    output = "type=oci,tar=false,rewrite-timestamp=true,compression=zstd,force-compression=true,dest=/w/layout"
    assert make_command(make_step("base"), INPUTS, None, Path("/w/layout"), cached=True) == [
        *["buildx", "build", "--builder", "default", "--progress", "plain", "--network", "none"],
        *["--provenance=false", "--sbom=false", "--build-arg", f"SOURCE_DATE_EPOCH={EPOCH}"],
        *["--build-context", "inputs=/w/inputs", "--build-context", "tools=/w/tools"],
        *["--label", "a=with a space"],
        *["--label", f"io.hallmark.build-id={'b' * 64}"],
        *["--label", "org.opencontainers.image.created=2023-11-14T22:13:20Z"],
        *["--label", "org.opencontainers.image.title=base"],
        *["--output", output, "/w/context"],
    ]


def test_a_parent_comes_in_by_digest_and_is_named_in_the_labels() -> None:
    digest = "sha256:" + "d" * 64
    parent = Layout(Path("/layouts/p"), Descriptor(digest, 1, "m"))
    command = make_command(make_step("serve-cpu", make_step("base")), INPUTS, parent, Path("/w/layout"), cached=True)
    assert f"parent=oci-layout:///layouts/p@{digest}" in command
    assert f"org.opencontainers.image.base.digest={digest}" in command
    assert "org.opencontainers.image.base.name=hallmark/base" in command


def test_a_second_build_uses_no_cache() -> None:
    commands = [
        make_command(make_step("base"), INPUTS, None, Path("/w/layout"), cached=cached) for cached in (True, False)
    ]
    assert ["--no-cache" in command for command in commands] == [False, True]
    assert [part for part in commands[1] if part != "--no-cache"] == commands[0]


def test_a_programs_arguments_are_given_to_the_build_where_there_are_any() -> None:
    step = make_step("serve")
    assert make_arguments(step) == {"SOURCE_DATE_EPOCH": str(EPOCH)}
    step = dataclasses.replace(step, arguments="--backend 'a b'")
    assert make_arguments(step) == {"SOURCE_DATE_EPOCH": str(EPOCH), "ARGUMENTS": "--backend 'a b'"}
    command = make_command(step, INPUTS, None, Path("/w/layout"), cached=True)
    assert "ARGUMENTS=--backend 'a b'" in command, "one word of the command line, whatever is in it"


@dataclass(frozen=True)
class ScriptedEngine(Engine):
    """Each build prints and ends as the next run says; the last one stays. `dies` with the first build."""

    runs: list[tuple[int, str]] = field(default_factory=list)
    spawned: list[list[str]] = field(default_factory=list)

    def spawn(self, arguments: list[str], log: Path, on_line: Callable[[str], None]) -> int:
        code, text = self.runs[min(len(self.spawned), len(self.runs) - 1)]
        self.spawned.append(arguments)
        log.write_text(text)
        for line in text.splitlines():
            on_line(line)
        return code


def build(log: Path, *runs: tuple[int, str], alive: bool = True) -> tuple[ScriptedEngine, HallmarkError | None]:
    docker = FakeDocker()
    docker.alive = alive
    engine = ScriptedEngine("unix:///run/fake.sock", embedded=True, version="28", runs=list(runs))
    engine.__dict__["client"] = docker
    try:
        run_build(engine, ["buildx", "build"], log, lambda line: None)
    except HallmarkError as error:
        return engine, error
    return engine, None


def test_a_build_that_ends_with_0_is_done(tmp_path: Path) -> None:
    engine, error = build(tmp_path / "log", (0, "done\n"))
    assert error is None and engine.spawned == [["buildx", "build"]]


@pytest.mark.parametrize(
    ("text", "alive", "kind", "said"),
    [
        ("RUN make\nerror: no rule\n", True, BuildFailed, "ended with exit code 1"),
        ("", True, BuildFailed, "ended with exit code 1"),
        ("write /x: no space left on device\n", True, Undecided, "the disk filled up"),
        ("write /x: No Space Left On Device\n", False, Undecided, "the disk filled up"),
        ("write /x: disk quota exceeded\n", True, Undecided, "the disk filled up"),
        ("error reading from server: EOF\n", False, Undecided, "the engine died"),
    ],
)
def test_a_failure_is_told_from_surroundings_that_failed(
    text: str, alive: bool, kind: type[HallmarkError], said: str, tmp_path: Path
) -> None:
    engine, error = build(tmp_path / "log", (1, text), alive=alive)
    assert type(error) is kind and said in str(error)
    assert error.exit_code is (ExitCode.BUILD_FAILED if kind is BuildFailed else ExitCode.INCONCLUSIVE)
    assert error.problems[0].place == str(tmp_path / "log") and error.problems[0].next_step
    assert all(line in str(error) for line in text.splitlines())
    assert len(engine.spawned) == 1


def test_only_the_end_of_a_long_log_is_shown(tmp_path: Path) -> None:
    _, error = build(tmp_path / "log", (1, "".join(f"line {number}\n" for number in range(1000))))
    assert "line 975\n" in str(error) and "line 974\n" not in str(error)


def test_an_export_that_met_another_is_tried_once_more(tmp_path: Path) -> None:
    engine, error = build(tmp_path / "log", (1, LOCKED), (0, "done"))
    assert error is None and len(engine.spawned) == 2


def test_an_export_that_meets_another_again_has_failed(tmp_path: Path) -> None:
    engine, error = build(tmp_path / "log", (1, LOCKED))
    assert isinstance(error, BuildFailed) and len(engine.spawned) == 2
