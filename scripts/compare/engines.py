"""The engines that images have, as data: how each is started, and held to its share of a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

NAME = "hallmark"  # what every server calls its model


@dataclass(frozen=True)
class ServingEngine:
    """One engine, by the image that has it.

    `memory_option` is a fraction of the card's `total` memory, or of what is `free` as the engine starts (`memory_of`);
    `counted` is the part of what the engine holds that this option is about. `cache_size` is a pattern of the
    log that has the tokens of its key-value cache.
    """

    image: str
    title: str
    program: tuple[str, ...]
    model_option: tuple[str, ...]
    length_option: str
    cache_off: tuple[str, ...]
    eager: tuple[str, ...]
    report_cached: tuple[str, ...]
    memory_option: str
    memory_of: str
    counted: float
    cache_size: str

    def launch(self, model: str, name: str, host: str, port: int) -> list[str]:
        """The engine's server of a model, under a name that requests ask for it by, listening at an address."""
        return [
            *self.program,
            *self.model_option,
            model,
            *("--served-model-name", name),
            *("--host", host, "--port", str(port)),
        ]

    def command(self, model: str, port: int, dtype: str, length: int, *, caching: bool, eager: bool) -> list[str]:
        """The engine's server of a model with random weights, but for its share of memory.

        `eager`: without compilation and graphs, which an engine has by default.
        """
        return [
            *self.launch(model, NAME, "127.0.0.1", port),
            *("--load-format", "dummy", "--dtype", dtype),
            *(self.length_option, str(length)),
            *self.report_cached,
            *(() if caching else self.cache_off),
            *(self.eager if eager else ()),
        ]

    def share(self, budget_gib: float) -> dict[str, Any]:
        """How the engine is held to so much memory, for the script inside, which knows the card."""
        return {
            "option": self.memory_option,
            "of": self.memory_of,
            "counted": self.counted,
            "budget_gib": round(budget_gib, 3),
        }


_ALL = [
    ServingEngine(
        image="vllm",
        title="vLLM",
        program=("vllm", "serve"),
        model_option=(),
        length_option="--max-model-len",
        cache_off=("--no-enable-prefix-caching",),
        eager=("--enforce-eager",),
        report_cached=("--enable-prompt-tokens-details",),
        memory_option="--gpu-memory-utilization",
        memory_of="total",
        counted=1.0,
        cache_size=r"KV cache size: ([\d,]+) tokens",
    ),
    ServingEngine(
        image="sglang",
        title="SGLang",
        program=("serve-sglang",),
        model_option=("--model-path",),
        length_option="--context-length",
        cache_off=("--disable-radix-cache",),
        eager=("--disable-cuda-graph",),
        report_cached=("--enable-cache-report",),
        memory_option="--mem-fraction-static",
        memory_of="free",
        # Weights and cache alone: for activations and graphs SGLang itself leaves about a fifth of 32 GiB.
        counted=0.8,
        cache_size=r"max_total_num_tokens=(\d+)",
    ),
]
ENGINES: Mapping[str, ServingEngine] = MappingProxyType({engine.image: engine for engine in _ALL})
