from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scripts.buildkit.build import Build, run_build
from scripts.buildkit.builder import Builder, BuilderLost, EngineBuilder
from scripts.buildkit.pool import BuilderPool, open_builder
from scripts.engine import Engine
from scripts.errors import BuildFailed, ExitCode, Undecided
from tests.unit.buildkit.streams import FakeBuilder, compact, output, vertex

WITHIN_S = 20
ENGINE = Engine("unix:///run/fake.sock", embedded=True, version="28")
LOST = (1, ("ERROR: rpc error: code = Unavailable",))
DONE = (0, compact(vertex("r", "RUN make"), output("r", b"cc -o x\n")))


def ignore(line: str) -> None:
    pass


class Held(FakeBuilder):
    """Runs each build until it is told to go on."""

    def __init__(self, where: str) -> None:
        super().__init__(where=where)
        self.began, self.go_on = threading.Event(), threading.Event()

    def run(self, arguments: Sequence[str], on_line: Callable[[str], None]) -> int:
        self.ran.append(list(arguments))
        self.began.set()
        assert self.go_on.wait(WITHIN_S)
        return 0

    def stop(self) -> None:
        super().stop()
        self.go_on.set()


def test_one_name_is_that_builder_and_several_are_a_pool() -> None:
    assert open_builder(ENGINE, ["far"]) == EngineBuilder(ENGINE, "far")
    pool = open_builder(ENGINE, ["default", "far"])
    assert isinstance(pool, BuilderPool)
    assert pool.where == "unix:///run/fake.sock, builder far"


def test_each_build_goes_to_one_that_is_free_and_further_ones_wait() -> None:
    builders = [Held("a"), Held("b")]
    pool: Builder = BuilderPool(builders)
    with ThreadPoolExecutor(3) as threads:
        runs = [threads.submit(pool.run, [str(number)], ignore) for number in range(2)]
        assert all(builder.began.wait(WITHIN_S) for builder in builders)
        third = threads.submit(pool.run, ["third"], ignore)
        time.sleep(0.1)
        assert not third.done() and sum(len(builder.ran) for builder in builders) == 2
        builders[1].go_on.set()
        assert third.result(WITHIN_S) == 0
        assert builders[1].ran[-1] == ["third"], "the first that was free"
        builders[0].go_on.set()
        assert [run.result(WITHIN_S) for run in runs] == [0, 0]


def test_a_build_that_failed_has_failed_wherever_it_ran() -> None:
    builders = [FakeBuilder([(3, ())], where="a"), FakeBuilder(where="b")]
    pool = BuilderPool(builders)
    assert pool.run(["build"], ignore) == 3
    assert not builders[1].ran and pool.answers()


def test_one_that_was_lost_gets_no_further_build(capsys: pytest.CaptureFixture[str]) -> None:
    lost, other = FakeBuilder([LOST], alive=False, where="a"), FakeBuilder(where="b")
    pool = BuilderPool([lost, other])
    with pytest.raises(BuilderLost):
        pool.run(["first"], ignore)
    assert "a does not answer any more: 1 of 2 builders are left" in capsys.readouterr().err
    assert [pool.run(["again"], ignore) for _ in range(2)] == [0, 0]
    assert lost.ran == [["first"]] and other.ran == [["again"]] * 2


def test_where_none_is_left_nothing_is_decided() -> None:
    pool = BuilderPool([FakeBuilder([LOST], alive=False, where=name) for name in "ab"])
    with pytest.raises(BuilderLost):
        pool.run(["build"], ignore)
    assert pool.run(["build"], ignore) == 1 and not pool.answers()
    with pytest.raises(Undecided, match="a, b: no builder answers any more") as caught:
        pool.run(["build"], ignore)
    assert caught.value.exit_code is ExitCode.INCONCLUSIVE and caught.value.problems[0].next_step


def test_what_waits_is_told_when_the_last_one_is_lost() -> None:
    builder = Held("a")
    builder.alive = False
    pool = BuilderPool([builder])
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(pool.run, ["first"], ignore)
        assert builder.began.wait(WITHIN_S)
        second = threads.submit(pool.run, ["second"], ignore)
        time.sleep(0.1)
        builder.run = lambda arguments, on_line: 1  # type: ignore[method-assign]
        pool._set_aside(builder)
        with pytest.raises(Undecided, match="no builder answers"):
            second.result(WITHIN_S)
        builder.go_on.set()
        assert first.result(WITHIN_S) == 0


def test_a_stop_ends_what_runs_and_what_waits_and_nothing_after_it() -> None:
    builder = Held("a")
    pool = BuilderPool([builder])
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(pool.run, ["first"], ignore)
        assert builder.began.wait(WITHIN_S)
        second = threads.submit(pool.run, ["second"], ignore)
        time.sleep(0.1)
        pool.stop()
        assert first.result(WITHIN_S) == 0
        with pytest.raises(Undecided, match="stopped"):
            second.result(WITHIN_S)
    assert builder.stopped == 1
    assert pool.run(["later"], ignore) == 0


def test_an_exception_gives_the_builder_back() -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    builder = FakeBuilder(on_run=fail)
    pool = BuilderPool([builder])
    with pytest.raises(KeyboardInterrupt):
        pool.run(["build"], ignore)
    builder.on_run = lambda: None
    assert pool.run(["build"], ignore) == 0


def test_all_of_them_are_pruned_and_the_first_says_where_room_is_taken() -> None:
    builders = [FakeBuilder(where="a", disk=Path("/a")), FakeBuilder(where="b", disk=Path("/b"))]
    pool = BuilderPool(builders)
    pool.prune()
    pool.prune(everything=True)
    assert [builder.pruned for builder in builders] == [2, 2] and pool.disk == Path("/a")


# --- a whole build


def build_in(pool: Builder, folder: Path) -> None:
    run_build(pool, Build(folder, {}, {}, {}, folder / "made"), folder / "build.log", ignore)


def test_a_build_goes_on_in_another_builder(tmp_path: Path) -> None:
    lost = FakeBuilder([LOST], alive=False, on_run=lambda: (tmp_path / "made").mkdir())
    seen: list[bool] = []
    other = FakeBuilder([DONE], on_run=lambda: seen.append((tmp_path / "made").exists()))
    build_in(BuilderPool([lost, other]), tmp_path)
    assert seen == [False], "what the lost one had exported is not added to"
    assert (tmp_path / "build.log").read_text() == "ERROR: rpc error: code = Unavailable\n"
    assert (tmp_path / "build.2.log").read_text() == "#1 RUN make\n#1 cc -o x\n"


def test_a_build_that_loses_every_builder_is_not_decided(tmp_path: Path) -> None:
    (tmp_path / "build.7.log").write_text("of an earlier build")
    pool = BuilderPool([FakeBuilder([LOST], alive=False, where=name) for name in "abc"])
    with pytest.raises(Undecided, match="a, b, c does not answer after the build failed") as caught:
        build_in(pool, tmp_path)
    assert caught.value.problems[0].place == str(tmp_path / "build.3.log")
    assert not (tmp_path / "build.7.log").exists()


def test_a_build_that_fails_elsewhere_too_has_failed(tmp_path: Path) -> None:
    failed = (1, compact(vertex("r", "RUN make", completed=True, error="exit code: 2")))
    with pytest.raises(BuildFailed, match="exit code: 2"):
        build_in(BuilderPool([FakeBuilder([LOST], alive=False), FakeBuilder([failed])]), tmp_path)
