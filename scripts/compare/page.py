"""A comparison as one HTML file: tables and charts, light and dark, without a request to anywhere."""

from __future__ import annotations

from collections.abc import Mapping

from scripts.compare.charts import draw_section
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
from scripts.markup import Markup, bullets, element, inline, join, table
from scripts.text import for_markup

# What the body needs of a page's style, beside its colours of text: `--text`, `--quiet`.
BODY_STYLE = """
:root { --bad: #b42318; --s0: #2f6fb3; --s1: #c77414; --s2: #3a8f5c; --s3: #8457b3; }
@media (prefers-color-scheme: dark) {
  :root { --bad: #ff8a80; --s0: #6aa9ea; --s1: #eda54f; --s2: #6fc493; --s3: #b894e6; } }
.missing { color: var(--bad); } li code { overflow-wrap: anywhere; }
svg { display: block; height: auto; margin: 1rem 0; min-width: 40rem; width: 100%; font: 13px system-ui, sans-serif; }
svg text { fill: var(--text); } svg .quiet { fill: var(--quiet); } svg .missing { fill: var(--bad); }
.s0 { fill: var(--s0); } .s1 { fill: var(--s1); } .s2 { fill: var(--s2); } .s3 { fill: var(--s3); }
.spread { stroke: var(--text); stroke-width: 2; }
"""
_PAGE_STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1c2024; --quiet: #666d75; --line: #d9dde1; }
@media (prefers-color-scheme: dark) { :root { --back: #15181b; --text: #e6e9ec; --quiet: #9aa3ac; --line: #343a40; } }
body { background: var(--back); color: var(--text); font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 62rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
table { border-collapse: collapse; width: 100%; } .wide { overflow-x: auto; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .6rem; text-align: left; vertical-align: top; }
code { font-size: .85em; overflow-wrap: anywhere; }
small { color: var(--quiet); }
"""


def render_page(comparison: Comparison) -> str:
    """The whole report."""
    title = for_markup(title_of(comparison))
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title>\n<style>{_PAGE_STYLE}{BODY_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>",
        render_body(comparison),
        "</body>\n</html>\n",
    ]
    return "\n".join(parts)


def render_body(comparison: Comparison) -> Markup:
    """All of the report below its title."""
    commands = list_commands(comparison)
    parts = [
        *(f"<p>{inline(note)}</p>" for note in notes_of(comparison)),
        table(
            ["", *(column.title for column in comparison.columns)],
            [
                ["cell", *(element("code", column.cell) for column in comparison.columns)],
                ["digest", *(element("code", column.digest or "–") for column in comparison.columns)],
                ["the gate", *(column.verdict for column in comparison.columns)],
            ],
            "Engines",
        ),
        bullets(f"{key}: {value}" for key, value in comparison.host.items()),
    ]
    if absent := list_absent(comparison):
        parts += ["<p>Not compared:</p>", bullets(absent)]
    for section in comparison.sections:
        parts += [f"<h2>{for_markup(section.title)}</h2>", f"<p>{for_markup(section.text)}</p>"]
        parts += [_scrolled(svg, section.title) for svg in draw_section(comparison, section)]
        parts.append(_section_table(comparison, section, commands))
    items = "".join(f"<li><code>{for_markup(command)}</code></li>" for command in commands)
    parts += [
        "<h2>Commands</h2>",
        f"<p>The servers', to which the numbers in brackets refer:</p>\n<ol>{items}</ol>",
        "<p>Measured again by:</p>",
        bullets(list_parts(comparison)),
    ]
    return Markup("\n".join(parts))


def _scrolled(svg: str, title: str) -> Markup:
    """A picture in a box of its own, as tables are: on a phone it would be too small to be read."""
    return element("div", Markup(svg), class_="wide", role="region", tabindex="0", aria_label=f"{title}, as a picture")


def _section_table(comparison: Comparison, section: Section, commands: Mapping[str, int]) -> str:
    rows = []
    for row in section.rows:
        figures = [column.find(row) for column in comparison.columns]
        lead = find_lead(figures)
        rows.append([row.title, *(_cell(each, commands, leads=each is lead) for each in figures)])
    return table(["", *(column.title for column in comparison.columns)], rows, section.title)


def _cell(figure: Figure | Missing, commands: Mapping[str, int], *, leads: bool) -> Markup:
    if isinstance(figure, Missing):
        return element("span", f"– ({shorten(figure)})", class_="missing")
    value = f"{format_number(figure.value)} {figure.unit}"
    small = element("small", f"({format_spread(figure)}) [{commands[figure.command]}]")
    return join([element("strong", value) if leads else value, small], " ")
