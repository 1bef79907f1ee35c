from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.buildkit.build import Build, make_command, run_build
from scripts.errors import BuildFailed, ExitCode, HallmarkError, Undecided
from tests.unit.buildkit.streams import FakeBuilder, compact, output, vertex

LOCKED = "ERROR: failed to solve: ref layer-sha256:ab locked for 2.1s: unavailable"
RUN = "[2/4] RUN make"
BUILD = Build(
    context=Path("/w/context"),
    contexts={"tools": "/w/tools", "inputs": "/w/inputs"},
    arguments={"SOURCE_DATE_EPOCH": "1700000000", "ARGUMENTS": "--backend 'a b'"},
    labels={"b": "with a space", "a": "1"},
    destination=Path("/no/such/layout"),
)
FAILED = (
    *compact(vertex("r", RUN), output("r", b"error: no rule\n")),
    *compact(vertex("r", RUN, completed=True, error="exit code: 2"), vertex("x", "[3/4] RUN never", started=False)),
    "ERROR: failed to solve: exit code: 2",
)


# --- the command


def test_the_command_of_a_build_is_this() -> None:
    output = "type=oci,tar=false,rewrite-timestamp=true,compression=zstd,force-compression=true,dest=/no/such/layout"
    assert make_command(BUILD) == [
        *["build", "--progress", "rawjson", "--network", "none", "--provenance=false", "--sbom=false"],
        *["--build-arg", "ARGUMENTS=--backend 'a b'", "--build-arg", "SOURCE_DATE_EPOCH=1700000000"],
        *["--build-context", "inputs=/w/inputs", "--build-context", "tools=/w/tools"],
        *["--label", "a=1", "--label", "b=with a space"],
        *["--output", output, "/w/context"],
    ]


def test_the_order_in_which_it_is_given_changes_nothing() -> None:
    values = {"contexts": BUILD.contexts, "arguments": BUILD.arguments, "labels": BUILD.labels}
    turned = {name: dict(list(mapping.items())[::-1]) for name, mapping in values.items()}
    assert make_command(replace(BUILD, **turned)) == make_command(BUILD)  # type: ignore[arg-type]


def test_what_may_be_otherwise() -> None:
    command = make_command(replace(BUILD, compression="gzip", cached=False, dockerfile=Path("/w/Other")))
    assert ",compression=gzip," in command[command.index("--output") + 1]
    assert command[command.index("--file") + 1] == "/w/Other"
    rest = [part for part in command if part not in ("--no-cache", "--file", "/w/Other")]
    assert len(command) == len(rest) + 3
    assert len(rest) == len(make_command(BUILD))


def test_files_come_out_as_they_are_where_no_image_is_asked_for() -> None:
    command = make_command(replace(BUILD, export="local"))
    assert command[command.index("--output") + 1] == "type=local,dest=/no/such/layout"
    assert len(command) == len(make_command(BUILD))


# --- the run


def run(
    log: Path, *runs: tuple[int, Sequence[str]], alive: bool = True, build: Build = BUILD
) -> tuple[FakeBuilder, list[str], HallmarkError | None]:
    builder = FakeBuilder(runs, alive)
    said: list[str] = []
    try:
        run_build(builder, build, log, said.append)
    except HallmarkError as error:
        return builder, said, error
    return builder, said, None


def test_a_build_that_ends_with_0_is_done(tmp_path: Path) -> None:
    lines = compact(vertex("r", RUN), output("r", b"cc -o x\n"), vertex("r", RUN, completed=True))
    builder, said, error = run(tmp_path / "run/build.log", (0, lines))
    assert error is None and builder.ran == [make_command(BUILD)]
    assert (tmp_path / "run/build.log").read_text() == f"#1 {RUN}\n#1 cc -o x\n#1 DONE 2.5s\n"
    assert said == [f"0 of 1 steps: {RUN}", f"0 of 1 steps: {RUN}: cc -o x", "1 of 1 steps"]


def test_a_reader_of_the_output_says_how_far_it_is(tmp_path: Path) -> None:
    def describe(line: str) -> str | None:
        return f"unit {line[1:4]}" if line.startswith("[") else None

    lines = compact(vertex("r", RUN), output("r", b"[1/9] x\n"), output("r", b"a warning\n"), output("r", b"[2/9] y\n"))
    said: list[str] = []
    run_build(FakeBuilder([(0, lines)]), BUILD, tmp_path / "log", said.append, describe)
    assert said == [f"0 of 1 steps: {RUN}", "unit 1/9", "unit 2/9"]
    assert "#1 [1/9] x\n#1 a warning\n#1 [2/9] y\n" in (tmp_path / "log").read_text()


def test_the_log_can_be_read_while_the_build_runs(tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    lines = [*compact(vertex("r", RUN)), "a line of buildx's"]
    read: list[str] = []
    builder = FakeBuilder([(0, lines)])
    run_build(builder, BUILD, log, lambda text: read.append(log.read_text()))
    assert read == [f"#1 {RUN}\n"]


def test_the_end_of_a_stream_cut_short_is_in_the_log(tmp_path: Path) -> None:
    _, _, error = run(tmp_path / "log", (1, [*compact(output("r", b"half a line")), '{"vertexes": [']))
    assert (tmp_path / "log").read_text() == '{"vertexes": [\n#1 half a line\n'
    assert isinstance(error, BuildFailed) and '{"vertexes": [' in str(error)


def test_an_interrupted_build_leaves_the_log_it_had(tmp_path: Path) -> None:
    class Interrupted(FakeBuilder):
        def answers(self) -> bool:
            raise AssertionError("nobody asks after an interruption")

        def run(self, arguments: Sequence[str], on_line: object) -> int:
            super().run(arguments, on_line)  # type: ignore[arg-type]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_build(Interrupted([(0, compact(output("r", b"half")))]), BUILD, tmp_path / "log", lambda text: None)
    assert (tmp_path / "log").read_text() == "#1 half\n"


def test_what_an_earlier_build_left_is_not_added_to(tmp_path: Path) -> None:
    left = tmp_path / "layout/blobs/sha256/old"
    left.parent.mkdir(parents=True)
    left.write_text("x")
    builder = FakeBuilder(on_run=lambda: seen.append(left.parents[2].exists()))
    seen: list[bool] = []
    run_build(builder, replace(BUILD, destination=tmp_path / "layout"), tmp_path / "log", lambda text: None)
    assert seen == [False]


# --- the failure


@pytest.mark.parametrize(
    ("code", "lines", "alive", "kind", "said"),
    [
        (1, FAILED, True, BuildFailed, "ended with exit code 1"),
        (1, (), True, BuildFailed, "ended with exit code 1"),
        (1, ("write /x: no space left on device",), True, Undecided, "the disk filled up during the build (a fake)"),
        (1, ("write /x: No Space Left On Device",), False, Undecided, "the disk filled up"),
        (1, ("write /x: disk quota exceeded",), True, Undecided, "the disk filled up"),
        (1, ("error reading from server: EOF",), False, Undecided, "a fake does not answer"),
        (-9, FAILED, True, Undecided, "killed by signal 9"),
    ],
)
def test_a_failure_is_told_from_surroundings_that_failed(
    code: int, lines: Sequence[str], alive: bool, kind: type[HallmarkError], said: str, tmp_path: Path
) -> None:
    builder, _, error = run(tmp_path / "build.log", (code, lines), alive=alive)
    assert type(error) is kind and said in str(error)
    assert error.exit_code is (ExitCode.BUILD_FAILED if kind is BuildFailed else ExitCode.INCONCLUSIVE)
    assert error.problems[0].place == str(tmp_path / "build.log") and error.problems[0].next_step
    assert len(builder.ran) == 1
    if lines is FAILED:
        assert f"    #1 {RUN}\n    error: no rule\n    ERROR: exit code: 2" in str(error)
        assert "failed to solve" not in str(error), "what the step says is enough"
    else:
        assert all(line in str(error) for line in lines)


def test_an_error_quotes_the_failed_step_and_not_what_came_last(tmp_path: Path) -> None:
    noise = compact(vertex("n", "[x 1/1] RUN noise"), output("n", b"noise\n" * 500))
    _, _, error = run(tmp_path / "log", (1, [*compact(output("r", b"the cause\n")), *noise, *FAILED]))
    assert "the cause" in str(error) and "noise" not in str(error)


def test_an_export_that_met_another_is_tried_once_more(tmp_path: Path) -> None:
    log, second = tmp_path / "build.log", tmp_path / "build.2.log"
    builder, _, error = run(log, (1, [LOCKED]), (0, ["done"]))
    assert error is None and len(builder.ran) == 2
    assert (log.read_text(), second.read_text()) == (f"{LOCKED}\n", "done\n"), "a log for each attempt"
    _, _, error = run(log, (0, ["done"]))
    assert log.read_text() == "done\n" and not second.exists(), "no log of another run's attempt stays"


def test_an_export_that_meets_another_again_has_failed(tmp_path: Path) -> None:
    builder, _, error = run(tmp_path / "build.log", (1, [LOCKED]))
    assert isinstance(error, BuildFailed) and len(builder.ran) == 2
    assert error.problems[0].place == str(tmp_path / "build.2.log")


def test_a_lock_is_found_where_the_exporter_says_it(tmp_path: Path) -> None:
    failed = vertex("e", "exporting", completed=True, error=LOCKED.removeprefix("ERROR: failed to solve: "))
    builder, _, error = run(tmp_path / "build.log", (1, compact(failed)), (0, []))
    assert error is None and len(builder.ran) == 2


def test_a_disk_too_full_for_the_log_is_undecided(tmp_path: Path) -> None:
    def fill() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(Undecided, match="the disk is full"):
        run_build(FakeBuilder(on_run=fill), BUILD, tmp_path / "log", lambda text: None)
