"""The rows of a report, as data: which figure of which part each shows, under which heading."""

from __future__ import annotations

from dataclasses import dataclass

from scripts.compare.asked import Sizes
from scripts.compare.models import MODELS
from scripts.compare.parts import PARTS


@dataclass(frozen=True)
class Row:
    """One figure: what people call it, and the part, check and name that it has in the evidence."""

    title: str
    part: str
    check: str
    figure: str

    @property
    def name(self) -> str:
        """Its name among all figures: `load/at-8/ttft`."""
        return f"{self.part}/{self.check}/{self.figure}"


@dataclass(frozen=True)
class Section:
    """Rows under one heading, and what is to be known of them."""

    title: str
    text: str
    rows: tuple[Row, ...]


_LATENCIES = (("time to the first token", "ttft"), ("time per output token", "tpot"))
_THROUGHPUT = ("output throughput", "throughput")


def make_sections(sizes: Sizes) -> tuple[Section, ...]:
    """The report's sections for what is asked."""
    return (_start(sizes), *_load(sizes), _memory(sizes), _prefix(sizes), *_together(sizes))


def _start(sizes: Sizes) -> Section:
    text = f"{sizes.model}, from the command to the first answer. The machine's page cache is as it was."
    rows = (
        Row("empty cache folder", "start", "cold", "start"),
        Row("filled cache folder", "start", "warm", "start"),
    )
    return Section("Start", text, rows)


def _load(sizes: Sizes) -> list[Section]:
    asked = f"{sizes.model}: {sizes.prompt} tokens in, {sizes.answer} out, greedy; no two prompts are alike."
    kinds = (
        ("Time to the first token", "ttft", f"{asked} The median over a run's requests."),
        ("Time to the first token, 99th percentile", "ttft-p99", asked),
        ("Time per output token", "tpot", f"{asked} After the first; the median over a run's requests."),
        ("Output throughput", "throughput", f"{asked} All requests of a run together."),
    )
    return [
        Section(
            title,
            text,
            tuple(
                Row(f"{level} in flight ({requests} requests)", "load", f"at-{level}", name)
                for level, requests in sizes.loads.items()
            ),
        )
        for title, name, text in kinds
    ]


def _memory(sizes: Sizes) -> Section:
    text = f"{sizes.model}, after the load. Servers take what they may and keep their cache in it."
    rows = (
        Row("memory held", "load", "memory", "held"),
        Row("key-value cache", "load", "memory", "cache-tokens"),
    )
    return Section("Memory", text, rows)


def _prefix(sizes: Sizes) -> Section:
    text = f"{sizes.model}: prompts of which the first {sizes.prefix} tokens were sent before, one at a time."
    rows = (
        Row("time to the first token, prefix cache on", "load", "shared-prefix", "ttft"),
        Row("time to the first token, prefix cache off", "no-prefix-cache", "shared-prefix", "ttft"),
        Row("tokens that were cached", "load", "shared-prefix", "cached"),
    )
    return Section("Shared prefix", text, rows)


def _together(sizes: Sizes) -> list[Section]:
    if not sizes.together:
        return []
    names = ", ".join(f"{name} ({MODELS[name].parameters / 1e9:.2f} billion parameters)" for name in sizes.together)
    text = f"{names}: a server each, {sizes.models_at_once} requests in flight at each."
    kinds = (("alone", "the others idle"), ("together", "all under load"))
    sections = [
        Section(
            f"Three models at once: {title}",
            text,
            tuple(
                Row(f"{model}, {said}", "models", check, f"{model}/{name}")
                for model in sizes.together
                for check, said in kinds
            ),
        )
        for title, name in (*_LATENCIES, _THROUGHPUT)
    ]
    rows = (
        Row("memory held by all three", "models", "memory", "held"),
        Row("their key-value caches together", "models", "memory", "cache-tokens"),
    )
    return [*sections, Section("Three models at once: memory", text, rows)]


def describe_part(part: str) -> str:
    """A part in a sentence."""
    return f"`{part}`: {PARTS[part]}"
