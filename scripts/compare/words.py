"""What the Markdown and the page of a comparison both say, in words; neither says more than the other."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.compare.figures import Figure, Missing
from scripts.compare.parts import PARTS
from scripts.compare.rows import describe_part
from scripts.compare.types import Comparison
from scripts.text import one_line

_LONGEST = 300  # characters of a reason; all of it is in the log


def title_of(comparison: Comparison) -> str:
    """`vLLM 0.32.0 and SGLang 0.5.23 on NVIDIA H200`."""
    names = list(dict.fromkeys(column.title for column in comparison.columns))
    return f"{' and '.join(names) or 'Nothing'} on {comparison.place}"


def notes_of(comparison: Comparison) -> list[str]:
    """What a reader has to know of all numbers, a sentence or two each."""
    notes = [
        f"Measured on {comparison.machine}." if comparison.machine else "Nothing was measured yet.",
        "Weights are random and of the sizes that public models have: memory and time are real, **the text is not**.",
        "Each number is the median of its runs, with the least and the largest. The lead of an engine is in bold where "
        "no run of another comes near it.",
        "One client asks all engines, in the same container, over HTTP. It is one Python process: beyond some thousand "
        "tokens a second it is part of what is measured.",
    ]
    if comparison.limit_gib:
        notes.append(
            f"Engines are held to {comparison.limit_gib} GiB of the GPU's memory. Batches and graphs are of the sizes "
            "that they choose for the card that they see."
        )
    else:
        notes.append("This is not a GPU: what is shown is that the comparison works, on a model that is tiny.")
    if any(column.verdict != "accepted" for column in comparison.columns):
        unproven = [f"{each.cell} is {each.verdict}" for each in comparison.columns if each.verdict != "accepted"]
        notes.append(f"The gate has not accepted all of it: {', '.join(unproven)}.")
    return notes


def list_absent(comparison: Comparison) -> list[str]:
    """Engines and cells without a column, and why."""
    return [f"{name}: {reason}" for name, reason in comparison.absent.items()]


def list_commands(comparison: Comparison) -> dict[str, int]:
    """The servers' commands that numbers came of, each with the number by which the tables name it."""
    found = [figure.command for *_, figure in comparison.numbers if isinstance(figure, Figure)]
    return {command: number for number, command in enumerate(dict.fromkeys(found), 1)}


def list_parts(comparison: Comparison) -> list[str]:
    """The commands that measure the report's parts again."""
    command = " ".join(["nox -s compare --", comparison.target, *comparison.options, "--again --only"])
    shown = {row.part for section in comparison.sections for row in section.rows}
    return [f"{describe_part(part)}: `{command} {part}`" for part in PARTS if part in shown]


def format_number(value: float) -> str:
    """Three digits that count, and thousands apart."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def format_spread(figure: Figure) -> str:
    """The least and the largest run, or that there was one."""
    least, largest = figure.spread
    return f"{format_number(least)}–{format_number(largest)}" if len(figure.runs) > 1 else "one run"


def shorten(missing: Missing) -> str:
    """Why there is no number, in one line."""
    lines = missing.reason.splitlines() or [""]
    text = one_line(lines[0] if len(lines[0]) <= _LONGEST else f"{lines[0][:_LONGEST]} …")
    return f"failed: {text}" if missing.failed else text


def find_lead(figures: Sequence[Figure | Missing]) -> Figure | None:
    """The figure whose worst run is better than every run of all others, where there are others to compare with."""
    there = [each for each in figures if isinstance(each, Figure)]
    if len(there) < 2:
        return None
    higher = there[0].better == "higher"
    best = max(there, key=lambda each: each.spread[0]) if higher else min(there, key=lambda each: each.spread[1])
    others = [each for each in there if each is not best]
    if higher:
        return best if best.spread[0] > max(each.spread[1] for each in others) else None
    return best if best.spread[1] < min(each.spread[0] for each in others) else None
