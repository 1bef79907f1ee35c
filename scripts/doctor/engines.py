"""What is said of the engine, of how it hands GPUs out, and of how it bounds memory."""

from __future__ import annotations

from collections.abc import Mapping

from scripts.doctor.find_engine import UP, mend_host
from scripts.doctor.seen import Cgroup, EngineSeen, Finding, GateSeen, Mark, Unseen
from scripts.engine.host import CONTAINERD, find_shortcoming, read_store

_ACCESS = {"cdi": "CDI", "nvidia": "NVIDIA's runtime"}


def judge_engine(seen: EngineSeen | Unseen) -> Finding:
    """Which engine a build would use and why that one; or what keeps it from being used."""
    topic = "engine"
    if isinstance(seen, Unseen):
        return Finding(Mark.MISSING, topic, seen.cause, seen.next_step or f"`{UP}` says more")
    if not seen.embedded and seen.lacking:
        return Finding(Mark.MISSING, topic, seen.lacking, seen.next_step)
    kind = "embedded" if seen.embedded else "host's"
    because = f" ({seen.why})" if seen.why else ""
    text = f"{kind} Docker Engine {seen.version}{because}"
    if seen.lacking:
        return Finding(Mark.MISSING, topic, f"{text}: {seen.lacking}", seen.next_step)
    if seen.engine is None:
        return Finding(Mark.THERE, topic, f"{text}, stopped: a build starts it")
    store = read_store(seen.info)
    if why := find_shortcoming(seen.version, store):
        return Finding(Mark.MISSING, topic, why, mend_host(why))
    assert store == CONTAINERD
    return Finding(Mark.THERE, topic, f"{text}, containerd image store, buildx {seen.buildx}")


def judge_access(seen: EngineSeen | Unseen, ways: Mapping[str, str | Unseen]) -> Finding:
    """How the engine hands out each GPU; `ways` has, by its index, the driver of the request for it."""
    topic = "gpu access"
    if not ways:
        return Finding(Mark.UNASKED, topic, "no GPU is shown that could be handed out")
    if isinstance(seen, Unseen) or seen.lacking:
        return Finding(Mark.MISSING, topic, "there is no engine to hand a GPU out")
    if seen.engine is None:
        text = "not known: only an engine that runs says how it hands a GPU out"
        return Finding(Mark.MISSING, topic, text, f"`{UP}`, then ask again")
    for index, way in ways.items():
        if isinstance(way, Unseen):
            return Finding(Mark.MISSING, topic, f"GPU {index}: {way.cause}", way.next_step)
    grouped = {way: [index for index, other in ways.items() if other == way] for way in ways.values()}
    parts = [f"{_ACCESS.get(str(way), way)} (GPU {', '.join(indices)})" for way, indices in grouped.items()]
    return Finding(Mark.THERE, topic, f"the engine hands GPUs out by {' and '.join(parts)}")


def judge_gate(seen: GateSeen | Unseen | None, address: str) -> list[Finding]:
    """Where candidates are tested, if that is in the engine of HALLMARK_GPU_HOST (None: there is no such)."""
    topic = "gpu host"
    if seen is None:
        return []
    if isinstance(seen, Unseen):
        return [Finding(Mark.MISSING, topic, f"{address}: {seen.cause}", seen.next_step or "unset HALLMARK_GPU_HOST")]
    text = f"candidates are tested and tagged at {seen.address}: Docker Engine {seen.version}"
    if seen.refusal:
        return [Finding(Mark.MISSING, topic, f"{text}; {seen.refusal.cause}", seen.refusal.next_step)]
    return [Finding(Mark.THERE, topic, f"{text}, GPUs by {_ACCESS.get(seen.access, seen.access)}")]


def judge_cgroup(seen: Cgroup | Unseen, engine: EngineSeen | Unseen) -> Finding:
    """Whether a container's memory and processes can be bounded: as the engine says, else as the kernel does."""
    topic = "cgroup"
    info = {} if isinstance(engine, Unseen) else engine.info
    if "MemoryLimit" in info:
        return _judge_limits(topic, info)
    if isinstance(seen, Unseen):
        return Finding(Mark.MISSING, topic, seen.cause, "mount control groups at /sys/fs/cgroup")
    if not seen.memory:
        return Finding(Mark.MISSING, topic, f"v{seen.version} cannot limit memory", _MEND)
    return Finding(Mark.THERE, topic, f"v{seen.version}, limits memory")


_MEND = "boot with `cgroup_enable=memory` on the kernel's command line, or with control groups v2"


def _judge_limits(topic: str, info: Mapping[str, object]) -> Finding:
    version = info.get("CgroupVersion") or "1"
    kinds = {"MemoryLimit": "memory", "PidsLimit": "processes"}
    missing = [name for key, name in kinds.items() if not info.get(key)]
    if missing:
        return Finding(Mark.MISSING, topic, f"v{version}: the engine cannot limit {' or '.join(missing)}", _MEND)
    swap = "" if info.get("SwapLimit") else "; not swap, so what needs too much grows slow before it ends"
    return Finding(Mark.THERE, topic, f"v{version}, the engine limits memory and processes{swap}")
