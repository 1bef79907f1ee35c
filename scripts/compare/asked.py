"""What is asked of each engine, as data: the parts of a comparison, their models, loads and bounds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scripts.compare.engines import ServingEngine
from scripts.compare.models import MODELS
from scripts.compare.parts import RUNS
from scripts.matrix import Scenario
from scripts.model import Cell
from scripts.smoke.trial import CACHE, MOUNTED_AT

FIRST_PORT = 8000
HELD = 0.9  # of the memory allowed: the rest is what a driver and its contexts take beside an engine


@dataclass(frozen=True)
class Sizes:
    """How much is asked: of which models, how many tokens and requests. `loads` are requests by how many are in flight.

    `prompt`, `answer`, `prefix` and `length` are in tokens. `together` are the models of the part with several.
    `eager` is whether compilation is left out: on a few processors it takes minutes.
    """

    model: str
    together: tuple[str, ...]
    prompt: int
    answer: int
    prefix: int
    length: int
    loads: Mapping[str, int]
    repeats: int
    models_at_once: int
    models_requests: int
    start_s: int
    answer_s: int
    memory_gib: int
    eager: bool


_GPU = Sizes(
    model="yi-1.5-6b",
    together=("tinyllama-1.1b", "qwen2.5-1.5b", "yi-1.5-6b"),
    prompt=512,
    answer=128,
    prefix=1536,
    length=2048,
    loads={"1": 8, "8": 32, "32": 96},
    repeats=8,
    models_at_once=4,
    models_requests=16,
    start_s=420,
    answer_s=60,
    memory_gib=64,
    eager=False,
)
_CPU = Sizes(
    model="tiny",
    together=(),
    prompt=64,
    answer=16,
    prefix=1024,
    length=2048,
    loads={"1": 4, "8": 16, "32": 32},
    repeats=4,
    models_at_once=2,
    models_requests=4,
    start_s=900,  # on processors that others use, too, importing alone takes minutes
    answer_s=120,
    memory_gib=12,
    eager=True,
)
_CHECKS = {
    "start": ("cold", "warm"),
    "no-prefix-cache": ("serve", "shared-prefix"),
    "models": ("serve", "alone", "together", "memory"),
}


def sizes_of(cell: Cell) -> Sizes:
    """How much is asked on a cell's target."""
    return _GPU if cell.target.has_gpu else _CPU


def find_gap(cell: Cell, part: str, limit_gib: int) -> str:
    """Why a part is not for a cell's target, or not for so much of its memory; nothing where it is."""
    sizes = sizes_of(cell)
    if part == "models" and not sizes.together:
        return "is about sharing the memory of a GPU"
    return find_misfit(models_of(sizes, part), limit_gib) if cell.target.has_gpu else ""


def models_of(sizes: Sizes, part: str) -> tuple[str, ...]:
    """The models that a part serves at once."""
    return sizes.together if part == "models" else (sizes.model,)


def find_misfit(names: Sequence[str], limit_gib: int) -> str:
    """Why models do not fit so much memory, by their weights alone; an engine may find too little where they do."""
    weights = {name: MODELS[name].weights_gib for name in names}
    room = HELD * limit_gib
    if (taken := sum(weights.values())) < room:
        return ""
    listed = ", ".join(f"{name} {size:.1f}" for name, size in weights.items())
    return f"{taken:.1f} GiB of weights do not fit {room:.1f} GiB, as much as may be held of {limit_gib}: {listed}"


def make_part(cell: Cell, engine: ServingEngine, part: str, limit_gib: int) -> Scenario:
    """A part as a scenario, for one engine, held to so much of the GPU's memory."""
    sizes = sizes_of(cell)
    loads = tuple(f"at-{level}" for level in sizes.loads)
    checks = ("serve", *loads, "memory", "shared-prefix") if part == "load" else _CHECKS[part]
    names = models_of(sizes, part)
    dtype = "bfloat16" if cell.target.has_gpu else "float32"
    budgets = split_memory(names, HELD * limit_gib) if cell.target.has_gpu else {}
    caching = part != "no-prefix-cache"

    def command(model: str, port: int) -> list[str]:
        folder = f"{MOUNTED_AT}/models/{model}"
        return engine.command(folder, port, dtype, sizes.length, caching=caching, eager=sizes.eager)

    servers = [
        {
            "model": name,
            "port": (port := FIRST_PORT + 100 * number),  # SGLang takes some above its own
            "command": command(name, port),
            "share": engine.share(budgets[name]) if budgets else None,
            "cache_size": engine.cache_size,
        }
        for number, name in enumerate(names)
    ]
    spec: dict[str, Any] = asdict(sizes) | {"servers": servers, "limit_gib": limit_gib, "cached": caching}
    starts = 4 * RUNS if part == "start" else len(servers)
    return Scenario(
        name=part,
        checks=checks,
        timeout_s=starts * sizes.start_s + 900,
        memory_gib=sizes.memory_gib,
        dtype=dtype,
        environment={
            "HALLMARK_SPEC": json.dumps(spec, sort_keys=True),
            "CUDA_CACHE_PATH": f"{CACHE}/nv",
            # On the CPU vLLM would claim most of the machine's memory.
            "VLLM_CPU_KVCACHE_SPACE": "1",
        },
    )


def split_memory(names: Sequence[str], total_gib: float) -> dict[str, float]:
    """What each of some models may hold: its weights, and an equal part of what they all leave. In GiB."""
    left = total_gib - sum(MODELS[name].weights_gib for name in names)
    return {name: MODELS[name].weights_gib + left / len(names) for name in names}
