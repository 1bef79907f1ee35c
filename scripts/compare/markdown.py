"""A comparison as Markdown."""

from __future__ import annotations

from collections.abc import Mapping

from scripts.compare.figures import Figure, Missing
from scripts.compare.rows import Section
from scripts.compare.types import Comparison
from scripts.compare.words import (
    find_lead,
    format_number,
    format_spread,
    list_absent,
    list_commands,
    list_parts,
    notes_of,
    shorten,
    title_of,
)
from scripts.text import for_code, for_markdown


def render_markdown(comparison: Comparison) -> str:
    """The whole report."""
    commands = list_commands(comparison)
    lines = [
        f"# {for_markdown(title_of(comparison))}",
        "",
        *(line for note in notes_of(comparison) for line in (note, "")),
    ]
    lines += _table(
        ["", *(for_markdown(column.title) for column in comparison.columns)],
        [
            ["cell", *(for_code(column.cell, in_table=True) for column in comparison.columns)],
            ["digest", *(for_code(column.digest, in_table=True) for column in comparison.columns)],
            ["the gate", *(column.verdict for column in comparison.columns)],
        ],
    )
    lines += ["", *(f"- {key}: {for_markdown(value)}" for key, value in comparison.host.items()), ""]
    if absent := list_absent(comparison):
        lines += ["Not compared:", "", *(f"- {for_markdown(line)}" for line in absent), ""]
    for section in comparison.sections:
        lines += [f"## {section.title}", "", section.text, ""]
        lines += _table(
            ["", *(for_markdown(column.title) for column in comparison.columns)], _rows(comparison, section, commands)
        )
        lines.append("")
    lines += ["## Commands", "", "The servers', to which the numbers in brackets refer:", ""]
    lines += [f"{number}. {for_code(command)}" for command, number in commands.items()]
    lines += ["", "Measured again by:", "", *(f"- {line}" for line in list_parts(comparison)), ""]
    return "\n".join(lines)


def _rows(comparison: Comparison, section: Section, commands: Mapping[str, int]) -> list[list[str]]:
    rows = []
    for row in section.rows:
        figures = [column.find(row) for column in comparison.columns]
        lead = find_lead(figures)
        rows.append([row.title, *(_cell(each, commands, leads=each is lead) for each in figures)])
    return rows


def _cell(figure: Figure | Missing, commands: Mapping[str, int], *, leads: bool) -> str:
    if isinstance(figure, Missing):
        return f"– ({for_markdown(shorten(figure))})"
    value = f"{format_number(figure.value)} {figure.unit}"
    return f"{f'**{value}**' if leads else value} ({format_spread(figure)}) [{commands[figure.command]}]"


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
