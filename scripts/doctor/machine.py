"""What is said of disks, memory, the clock and the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from scripts.doctor.seen import Clock, Disk, Finding, Mark, Memory, RegistrySeen, Unseen
from scripts.files import format_size

GIB = 1 << 30
# What one build takes at its peak, with its inputs: an image for the CPU, and the three of a CUDA line for a GPU, which
# are 10 GB of wheels, as much of layers, and unpacked in the engine (docs/figures.md).
ROOM_FOR_CPU = 10 * 10**9
ROOM_FOR_GPU = 40 * 10**9
# A registry's tokens are good for a minute or more, and certificates begin at some minute.
CLOCK_S = 60

_SET_CLOCK = "`timedatectl set-ntp true`"


def judge_disk(seen: Mapping[str, Disk | Unseen], *, gpu: bool) -> Finding:
    """Whether there is room, and leave to write, where the engine, the cache and the checkout are (by those names)."""
    topic, room = "disk", ROOM_FOR_GPU if gpu else ROOM_FOR_CPU
    for name, disk in seen.items():
        if isinstance(disk, Unseen):
            return Finding(Mark.MISSING, topic, f"{name}: {disk.cause}", "make the folder one that this user can read")
        if not disk.writable:
            mend = f"`chown` {disk.folder} to this user, or run as its owner"
            return Finding(Mark.MISSING, topic, f"{name}: nothing can be written to {disk.folder}", mend)
    disks = [(name, disk) for name, disk in seen.items() if isinstance(disk, Disk)]
    free = {disk.device: disk.free for _, disk in disks}
    names = {device: [name for name, disk in disks if disk.device == device] for device in free}
    text = "; ".join(f"{format_size(free[device])} free for {', '.join(names[device])}" for device in free)
    if short := [device for device in free if free[device] < room]:
        text += f"; a build may take {format_size(room)} of {', '.join(names[short[0]])}"
        return Finding(
            Mark.MISSING, topic, text, "`nox -s clean` frees what no tag needs; `docker system df` shows more"
        )
    return Finding(Mark.THERE, topic, text)


def judge_memory(seen: Memory | Unseen, needs: Mapping[str, int]) -> Finding:
    """Whether each of the cells that could be tested here finds the memory (in GiB) that its scenarios may take."""
    topic = "memory"
    if isinstance(seen, Unseen):
        return Finding(Mark.MISSING, topic, seen.cause, "see that /proc is mounted")
    text = f"{seen.available / GIB:.1f} of {seen.total / GIB:.1f} GiB available"
    most = max(needs.values(), default=0)
    if seen.available < most * GIB:
        cells = [cell for cell, need in needs.items() if need * GIB > seen.available]
        more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
        text += f"; tests of {cells[0]}{more} may take {most} GiB"
        return Finding(Mark.MISSING, topic, text, "end what else runs here (`ps aux --sort -rss`), or test elsewhere")
    return Finding(Mark.THERE, topic, text + (f"; tests may take {most} GiB" if most else ""))


def judge_clock(seen: Clock | Unseen, registry: RegistrySeen | Unseen | None) -> Finding:
    """Whether the time can be right: after the newest lock's, and as the registry's."""
    topic = "clock"
    if isinstance(seen, Unseen):
        return Finding(Mark.MISSING, topic, seen.cause, "see that the checkout can be read")
    now = _format(seen.now)
    if seen.now < seen.newest:
        return Finding(Mark.MISSING, topic, f"{now} is before the newest lock's {_format(seen.newest)}", _SET_CLOCK)
    if not seen.newest:
        return Finding(Mark.UNASKED, topic, f"{now}; no lock file says a time to compare it with")
    ahead = registry.ahead if isinstance(registry, RegistrySeen) else None
    if ahead is None:
        return Finding(Mark.THERE, topic, f"{now}, after the newest lock's time")
    if abs(ahead) > CLOCK_S:
        which = "behind" if ahead > 0 else "ahead of"
        return Finding(Mark.MISSING, topic, f"{now} is {abs(ahead):.0f} s {which} the registry's", _SET_CLOCK)
    return Finding(Mark.THERE, topic, f"{now}, {abs(ahead):.0f} s from the registry's")


def judge_registry(seen: RegistrySeen | Unseen | None, name: str) -> Finding:
    """Whether the registry of HALLMARK_REGISTRY answers and knows us; None is for no such registry."""
    topic = "registry"
    if seen is None:
        return Finding(Mark.UNASKED, topic, "HALLMARK_REGISTRY is not set: tags stay in the engine")
    if isinstance(seen, Unseen):
        return Finding(Mark.MISSING, topic, f"{name}: {seen.cause}", seen.next_step or "unset HALLMARK_REGISTRY")
    known = "credentials are kept for it" if seen.credentials else "no credentials are kept for it"
    if seen.refusal:
        return Finding(Mark.MISSING, topic, f"{name}: {seen.refusal.cause}; {known}", seen.refusal.next_step)
    if not seen.credentials:
        known += f" (`docker login {seen.host}` where it asks for them)"
    return Finding(Mark.THERE, topic, f"{name} answers; {known}")


def judge_setting(topic: str, seen: Sequence[object]) -> list[Finding]:
    """A line for each part of the configuration that cannot be read, and none where all can."""
    return [Finding(Mark.MISSING, topic, each.cause, each.next_step) for each in seen if isinstance(each, Unseen)]


def _format(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f} s after 1970"
