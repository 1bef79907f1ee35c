"""What is said of the NVIDIA driver and the GPUs that it shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from packaging.version import Version

from scripts.doctor.seen import Finding, Mark, Unseen
from scripts.matrix import Matrix
from scripts.smoke.gpu import Gpu

Kind = tuple[str, str]  # a GPU's name and compute capability


def group_gpus(gpus: Iterable[Gpu]) -> dict[Kind, list[Gpu]]:
    """The GPUs by what they are, in the driver's order."""
    found: defaultdict[Kind, list[Gpu]] = defaultdict(list)
    for gpu in gpus:
        found[gpu.name, gpu.compute].append(gpu)
    return dict(found)


def judge_gpus(seen: Sequence[Gpu] | Unseen, devices: int | Unseen, matrix: Matrix | None) -> Finding:
    """The driver and its GPUs; what keeps all of one kind from being judged on; GPUs that have no driver."""
    topic = "gpu"
    if isinstance(seen, Unseen):
        return Finding(Mark.MISSING, topic, seen.cause, seen.next_step or "see what `nvidia-smi` says")
    if not seen:
        if isinstance(devices, int) and devices:
            lines = [line.driver for line in matrix.cuda.values()] if matrix else []
            which = f" {max(lines, key=Version)} or newer" if lines else ""
            text = f"{devices} of NVIDIA's on the PCI bus, and the driver shows none"
            return Finding(Mark.MISSING, topic, text, f"install NVIDIA's driver{which}, and restart")
        return Finding(Mark.UNASKED, topic, "no NVIDIA GPU: what is for the CPU is built and tested here")
    kinds = group_gpus(seen)
    parts = [_describe(name, compute, gpus) for (name, compute), gpus in kinds.items()]
    text = f"driver {seen[0].driver}: {', '.join(parts)}"
    troubled = [gpu for gpus in kinds.values() if all(gpu.trouble for gpu in gpus) for gpu in gpus]
    if troubled:
        first = troubled[0]
        return Finding(Mark.MISSING, topic, f"{text}; GPU {first.index} {first.trouble}", _mend(first.trouble))
    if excused := [gpu for gpu in seen if gpu.trouble]:
        text += "; left out: " + ", ".join(f"GPU {gpu.index} {gpu.trouble}" for gpu in excused)
    return Finding(Mark.THERE, topic, text)


def _describe(name: str, compute: str, gpus: Sequence[Gpu]) -> str:
    count = f"{len(gpus)} × " if len(gpus) > 1 else ""
    return f"{count}{name} ({compute})"


def _mend(trouble: str) -> str:
    if trouble.startswith("in use"):
        return "end what uses it (`nvidia-smi` lists that), or wait for it"
    return "see `nvidia-smi -q`: let it cool, see to its power, or restart"
