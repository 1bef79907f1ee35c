"""Whether what a bundle says could have been: its times, its driver, and the card that it says it was seen on."""

from __future__ import annotations

import calendar
import re
import time
from collections import defaultdict
from itertools import pairwise

from scripts.bundle.case import Case
from scripts.errors import Undecided
from scripts.pipeline.described import describe_job
from scripts.smoke.gpu import driver_floor, is_driver_enough
from scripts.smoke.parse import expect_number
from scripts.smoke.smoke import MEMORY_KEY, Evidence, name_check
from scripts.verify.tested import Refusal

AHEAD_S = 600  # by which an owner's clock may be before ours
TIDY_S = 120  # that a container may take beyond its scenario's limit, to be made and removed
ROUNDED_S = 2  # what times in seconds may be off by
# Drivers keep a part of a card's memory to themselves, and makers count it in other units.
LEAST_MEMORY, MOST_MEMORY = 0.9, 1.05
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_DRIVER = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){1,3}")


def check_times(case: Case) -> str:
    """Whether it ran after its inputs were locked and before now, for as long as it may, one at a time on a GPU."""
    said, locked = case.said, describe_job(case.asked).epoch
    if case.now < locked:
        raise Undecided("this machine's clock is behind the locks of this checkout", "clock", "set the clock")
    made = read_time(said.made)
    if made > case.now + AHEAD_S:
        raise Refusal(f"it was made in the future ({said.made})")
    limits = {each.name: each.timeout_s for each in case.asked.scenarios}
    spans: defaultdict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for each in said.evidence:
        finished = read_time(each.finished)
        if finished > made:
            raise Refusal(f"{each.scenario} ended ({each.finished}) after the bundle of it was made ({said.made})")
        if finished - each.seconds < locked:
            raise Refusal(f"{each.scenario} began before the inputs of its image were locked")
        _check_duration(each, limits.get(each.scenario, 0))
        spans[each.host.get("index", "")].append((finished - each.seconds, finished, each.scenario))
    for index, found in spans.items():
        for (_, ended, first), (began, _, second) in pairwise(sorted(found)):
            if began < ended - ROUNDED_S:
                raise Refusal(f"{first} and {second} ran on one GPU (index {index or 'not given'}) at the same time")
    return f"seen until {said.finished}, made {said.made}"


def _check_duration(evidence: Evidence, limit_s: int) -> None:
    if not 0 <= evidence.seconds <= limit_s + TIDY_S:
        raise Refusal(f"{evidence.scenario} took {evidence.seconds:g} s, and it is ended after {limit_s} s")
    taken = 0.0
    for result in evidence.results:
        try:
            seconds = expect_number(result.measured.get("seconds", 0))
        except (TypeError, ValueError):
            seconds = -1.0
        if seconds < 0:
            raise Refusal(f"{name_check(evidence.scenario, result.check)} took no time that could be")
        taken += seconds
    if taken > evidence.seconds + ROUNDED_S:
        raise Refusal(f"the checks of {evidence.scenario} took {taken:g} s, and all of it {evidence.seconds:g} s")


def check_driver(case: Case) -> str:
    """Whether every scenario names a driver that the cell can have run with."""
    drivers = sorted({_get(each, "driver") for each in case.said.evidence})
    floor = driver_floor(case.asked.cell)
    for driver in drivers:
        if not _DRIVER.fullmatch(driver):
            raise Refusal(f"{driver[:40]} is no driver's version")
        if not is_driver_enough(case.asked.cell, driver):
            raise Refusal(f"the driver is {driver}, and {floor} or newer is needed")
    return f"{', '.join(drivers)}; {floor} or newer is needed"


def check_gpu(case: Case) -> str:
    """Whether it was seen on the card that the cell is for, by name, compute capability and memory."""
    target = case.asked.cell.target
    for each in case.said.evidence:
        if (name := _get(each, "gpu")) != target.name:
            raise Refusal(f"{each.scenario} was seen on {name[:60]}, and the cell is for {target.name}")
        if (compute := _get(each, "compute")) != target.compute:
            words = f"a {target.name} has compute capability {target.compute}, and that of {each.scenario}"
            raise Refusal(f"{words} has {compute[:20]}")
        if not re.fullmatch(r"[0-9]{1,9}", memory := _get(each, MEMORY_KEY)):
            raise Refusal(f"{each.scenario} names no size of memory ({memory[:20]})")
        gib = int(memory) / 1024
        if not LEAST_MEMORY * target.memory <= gib <= MOST_MEMORY * target.memory:
            raise Refusal(f"a {target.name} has {target.memory} GB, and that of {each.scenario} has {gib:.0f} GB")
    return f"{target.name}, {target.memory} GB"


def read_time(text: str) -> float:
    """Seconds since 1970 of a time in UTC. Raises Refusal for anything else."""
    try:
        if not _TIME.fullmatch(text):
            raise ValueError
        return float(calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")))
    except ValueError:
        raise Refusal(f"{text[:40]} is no time in UTC") from None


def _get(evidence: Evidence, key: str) -> str:
    if key not in evidence.host:
        raise Refusal(f"{evidence.scenario} does not say which {key.partition('_')[0]} it was seen with")
    return evidence.host[key]
