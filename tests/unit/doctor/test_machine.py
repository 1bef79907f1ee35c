"""What is said of disks, memory, the clock and the registry: each both ways, and at its bound."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.doctor.machine import (
    CLOCK_S,
    GIB,
    ROOM_FOR_CPU,
    ROOM_FOR_GPU,
    judge_clock,
    judge_disk,
    judge_memory,
    judge_registry,
    judge_setting,
)
from scripts.doctor.seen import Clock, Disk, Mark, Memory, RegistrySeen, Unseen

NOW = 1_800_000_000


def disk(free: int, device: int = 1, *, writable: bool = True) -> Disk:
    return Disk(Path("/data"), device, free, writable)


def test_folders_on_one_file_system_share_what_is_free() -> None:
    finding = judge_disk(
        {"the engine": disk(50 * 10**9), "the cache": disk(50 * 10**9), "x": disk(10**12, 2)}, gpu=True
    )
    assert finding.mark is Mark.THERE
    assert finding.text == "50.00 GB free for the engine, the cache; 1000.00 GB free for x"


@pytest.mark.parametrize(
    ("free", "gpu", "mark"),
    [
        (ROOM_FOR_CPU, False, Mark.THERE),
        (ROOM_FOR_CPU - 1, False, Mark.MISSING),
        (ROOM_FOR_GPU - 1, False, Mark.THERE),
        (ROOM_FOR_GPU, True, Mark.THERE),
        (ROOM_FOR_GPU - 1, True, Mark.MISSING),
    ],
)
def test_a_build_needs_room(free: int, gpu: bool, mark: Mark) -> None:
    finding = judge_disk({"the engine": disk(free), "the cache": disk(10**12, 2)}, gpu=gpu)
    assert finding.mark is mark
    if mark is Mark.MISSING:
        assert "a build may take" in finding.text and "of the engine" in finding.text
        assert "nox -s clean" in finding.next_step


def test_a_folder_that_cannot_be_written_to_is_missing() -> None:
    finding = judge_disk({"the cache": disk(10**12, writable=False)}, gpu=False)
    assert finding.mark is Mark.MISSING and "nothing can be written to /data" in finding.text and finding.next_step


def test_a_folder_that_cannot_be_looked_at_is_missing() -> None:
    finding = judge_disk({"x": disk(10**12), "the cache": Unseen("/locked: Permission denied")}, gpu=False)
    assert finding.mark is Mark.MISSING and finding.text == "the cache: /locked: Permission denied"


@pytest.mark.parametrize(("available", "mark"), [(16 * GIB, Mark.THERE), (16 * GIB - 1, Mark.MISSING)])
def test_tests_need_memory(available: int, mark: Mark) -> None:
    needs = {"small": 2, "large": 16, "larger": 16}
    finding = judge_memory(Memory(32 * GIB, available), needs)
    assert finding.mark is mark
    assert finding.text.startswith("16.0 of 32.0 GiB available; tests ")
    if mark is Mark.MISSING:
        assert finding.text.endswith("tests of large and 1 more may take 16 GiB") and finding.next_step


def test_memory_is_told_where_nothing_can_be_tested_and_where_it_is_not_known() -> None:
    assert judge_memory(Memory(8 * GIB, 4 * GIB), {}).text == "4.0 of 8.0 GiB available"
    assert judge_memory(Unseen("no /proc"), {}).mark is Mark.MISSING


@pytest.mark.parametrize(("now", "mark"), [(NOW, Mark.THERE), (NOW - 1, Mark.MISSING), (0, Mark.MISSING)])
def test_the_time_is_after_the_newest_locks(now: float, mark: Mark) -> None:
    finding = judge_clock(Clock(now, NOW), None)
    assert finding.mark is mark
    assert bool(finding.next_step) is (mark is Mark.MISSING)
    if mark is Mark.MISSING:
        assert finding.text.endswith("is before the newest lock's 2027-01-15 08:00:00 UTC")


@pytest.mark.parametrize(
    ("ahead", "mark", "said"),
    [
        (CLOCK_S, Mark.THERE, "60 s from the registry's"),
        (-CLOCK_S, Mark.THERE, "60 s from the registry's"),
        (CLOCK_S + 1, Mark.MISSING, "61 s behind the registry's"),
        (-7200, Mark.MISSING, "7200 s ahead of the registry's"),
        (None, Mark.THERE, "after the newest lock's time"),
    ],
)
def test_the_time_is_the_registrys(ahead: float | None, mark: Mark, said: str) -> None:
    finding = judge_clock(Clock(NOW + 5, NOW), RegistrySeen("r", credentials=True, ahead=ahead))
    assert finding.mark is mark and said in finding.text


def test_a_time_that_nothing_can_be_compared_with_is_only_told() -> None:
    assert judge_clock(Clock(NOW, 0), None).mark is Mark.UNASKED
    assert judge_clock(Unseen("matrix.lock: Permission denied"), None).mark is Mark.MISSING
    assert judge_clock(Clock(1e30, NOW), None).text.startswith("1000000000000000019884624838656 s after 1970")


def test_a_registry_that_answers_is_told_with_whether_we_are_known_there() -> None:
    finding = judge_registry(RegistrySeen("r.example", credentials=True), "r.example/team")
    assert (finding.mark, finding.text) == (Mark.THERE, "r.example/team answers; credentials are kept for it")
    finding = judge_registry(RegistrySeen("r.example", credentials=False), "r.example/team")
    assert finding.mark is Mark.THERE and "no credentials are kept for it (`docker login r.example`" in finding.text


def test_a_registry_that_refuses_or_cannot_be_asked_is_missing() -> None:
    refusal = Unseen("GET https://r.example/v2/: HTTP 401", "`docker login r.example`")
    finding = judge_registry(RegistrySeen("r.example", credentials=False, refusal=refusal), "r.example/team")
    assert finding.mark is Mark.MISSING and finding.next_step == "`docker login r.example`"
    assert "HTTP 401; no credentials are kept for it" in finding.text
    finding = judge_registry(Unseen("not a repository"), "Bad")
    assert (finding.mark, finding.text) == (Mark.MISSING, "Bad: not a repository") and finding.next_step


def test_no_registry_is_no_fault() -> None:
    assert judge_registry(None, "").mark is Mark.UNASKED


def test_only_settings_that_cannot_be_read_have_a_line() -> None:
    [finding] = judge_setting("settings", [object(), Unseen("bad", "mend")])
    assert (finding.mark, finding.text, finding.next_step) == (Mark.MISSING, "bad", "mend")
