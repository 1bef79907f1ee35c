"""What could not have been is refused: times, drivers and cards."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from scripts.bundle.plausible import AHEAD_S, TIDY_S, read_time
from scripts.model import Verdict
from scripts.verify.tested import Refusal
from tests.unit.builders import EPOCH
from tests.unit.bundle import Said, World, result, said_of, scenario


def clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


NOW = time.time()


def set_times(said: Said, ended: dict[str, tuple[float, float]], made: float = NOW) -> None:
    """Each scenario's end, before now, and how long it took, in seconds."""
    said["made"] = clock(made)
    for name, (ago, took) in ended.items():
        scenario(said, name).update(finished=clock(made - ago), seconds=took)


SPREAD = {"default": (300.0, 50.0), "more": (200.0, 50.0), "extra": (100.0, 50.0)}


def refused(world: World, step: str, change: Callable[[Said], object]) -> str:
    found = world.tamper(change, now=NOW)
    assert found.verdict is Verdict.REJECTED
    return said_of(found, step)


def test_scenarios_one_after_another_hold(world: World) -> None:
    assert world.tamper(lambda said: set_times(said, SPREAD), now=NOW).verdict is Verdict.ACCEPTED


def test_the_future_is_refused_beyond_what_clocks_are_off_by(world: World) -> None:
    soon, later = NOW + AHEAD_S - 5, NOW + AHEAD_S + 5
    assert world.tamper(lambda said: set_times(said, SPREAD, soon), now=NOW).verdict is Verdict.ACCEPTED
    assert "made in the future" in refused(world, "times", lambda said: set_times(said, SPREAD, later))


def test_nothing_ends_after_its_bundle_was_made(world: World) -> None:
    said = refused(world, "times", lambda said: set_times(said, SPREAD | {"more": (-10.0, 50.0)}))
    assert said.startswith("more ended") and "after the bundle" in said


def test_nothing_ran_before_its_inputs_were_locked(world: World) -> None:
    def change(said: Said) -> None:
        set_times(said, SPREAD)
        scenario(said).update(finished=clock(EPOCH + 10))

    assert "default began before the inputs" in refused(world, "times", change)


@pytest.mark.parametrize("took", [-1.0, 60 + TIDY_S + 1])
def test_a_scenario_takes_no_longer_than_it_may(took: float, world: World) -> None:
    assert "default took" in refused(world, "times", lambda said: set_times(said, {"default": (1000.0, took)}))


def test_checks_take_no_longer_than_their_scenario(world: World) -> None:
    def change(said: Said) -> None:
        set_times(said, SPREAD)
        result(said, "serve")["measured"] = {"seconds": 53}

    assert "took 53 s, and all of it 50 s" in refused(world, "times", change)


@pytest.mark.parametrize("seconds", [-1, "long", None, True, 10**400])
def test_a_check_takes_some_time(seconds: object, world: World) -> None:
    change = lambda said: result(said, "serve").update(measured={"seconds": seconds})  # noqa: E731
    assert "default/serve took no time" in refused(world, "times", change)


def test_one_gpu_runs_one_scenario_at_a_time(world: World) -> None:
    overlapping = SPREAD | {"more": (280.0, 50.0)}
    said = refused(world, "times", lambda said: set_times(said, overlapping))
    assert said == "default and more ran on one GPU (index 0) at the same time"

    def on_two(said: Said) -> None:
        set_times(said, overlapping)
        scenario(said, "more")["host"]["index"] = "1"

    assert world.tamper(on_two, now=NOW).verdict is Verdict.ACCEPTED


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "2026-13-01T00:00:00Z", "2026-1-1T00:00:00Z", "2026-01-01T00:00:00+01:00"),
        "٢٠٢٦-01-01T00:00:00Z",  # in the digits of another script
    ],
)
def test_what_is_no_time_is_refused(text: str, world: World) -> None:
    with pytest.raises(Refusal, match="no time in UTC"):
        read_time(text)
    assert "no time in UTC" in refused(world, "times", lambda said: scenario(said).update(finished=text))
    assert "no time in UTC" in refused(world, "times", lambda said: said.update(made=text))


def test_with_a_clock_that_is_wrong_nothing_is_refused(world: World) -> None:
    found = world.check(now=EPOCH - 1)
    assert found.verdict is Verdict.INCONCLUSIVE and "clock is behind" in said_of(found, "times")


# --- driver and card


def on(**host: str) -> Callable[[Said], object]:
    """Every scenario on another host."""
    return lambda said: [each["host"].update(host) for each in said["scenarios"]]


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        ("550.54.14", "the driver is 550.54.14, and 570.124.06 or newer is needed"),
        ("570.124.05", "or newer is needed"),
        ("new", "new is no driver's version"),
        ("580.95.05; x", "no driver's version"),
        ("", "no driver's version"),
        ("٥٨٠.٩٥.٠٥", "no driver's version"),
    ],
)
def test_a_driver_must_do(driver: str, words: str, world: World) -> None:
    assert words in refused(world, "driver", on(driver=driver))


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ({"gpu": "NVIDIA H200"}, "seen on NVIDIA H200, and the cell is for NVIDIA GeForce RTX 5090"),
        ({"compute": "9.0"}, "has compute capability 12.0, and that of default has 9.0"),
        ({"memory_mib": str(80 << 10)}, "a NVIDIA GeForce RTX 5090 has 32 GB, and that of default has 80 GB"),
        ({"memory_mib": str(24 << 10)}, "that of default has 24 GB"),
        ({"memory_mib": "-32607"}, "names no size of memory"),
        ({"memory_mib": "lots"}, "names no size of memory"),
        ({"memory_mib": ""}, "names no size of memory"),
        ({"memory_mib": "٣٢٦٠٧"}, "names no size of memory"),
    ],
)
def test_the_card_must_be_the_one_that_the_cell_is_for(host: dict[str, str], words: str, world: World) -> None:
    assert words in refused(world, "gpu", on(**host))


@pytest.mark.parametrize("mib", ["32607", "32768", "32148"])
def test_what_drivers_keep_to_themselves_is_no_other_card(mib: str, world: World) -> None:
    assert world.tamper(on(memory_mib=mib)).verdict is Verdict.ACCEPTED


@pytest.mark.parametrize(
    ("key", "step"), [("driver", "driver"), ("gpu", "gpu"), ("compute", "gpu"), ("memory_mib", "gpu")]
)
def test_a_scenario_that_decides_nothing_says_so_too(key: str, step: str, world: World) -> None:
    said = refused(world, step, lambda said: scenario(said, "extra")["host"].pop(key))
    assert said == f"extra does not say which {key.partition('_')[0]} it was seen with"
