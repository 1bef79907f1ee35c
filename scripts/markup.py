"""HTML that is escaped where it is made: text becomes markup in `element` alone, and what is markup stays as it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from scripts.text import for_markup

_VOID = {"br", "col", "input", "link", "meta"}


class Markup(str):
    """Text that is HTML already. Any other string that is put into an element is escaped."""

    __slots__ = ()


def markup(text: str) -> Markup:
    """Text as HTML: escaped, unless it is HTML already."""
    return text if isinstance(text, Markup) else Markup(for_markup(text))


def join(parts: Iterable[str], between: str = "\n") -> Markup:
    """Parts one after another, each escaped unless it is HTML already."""
    return Markup(between.join(markup(part) for part in parts))


def element(tag: str, /, *content: str, **attributes: str | bool) -> Markup:
    """One element. `class_` is written for `class`, `data_cell` for `data-cell`; True is one without a value."""
    given = ""
    for key, value in attributes.items():
        if value is not False:
            given += f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{for_markup(str(value))}"')
    return Markup(f"<{tag}{given}>" if tag in _VOID else f"<{tag}{given}>{join(content, '')}</{tag}>")


def table(header: Sequence[str], rows: Iterable[Sequence[str]], label: str = "") -> Markup:
    """A table that scrolls in a box of its own. With a label, the box is a region that a keyboard reaches."""
    named = {"role": "region", "tabindex": "0", "aria_label": label} if label else {}
    head = join((element("th", cell, scope="col") if cell else element("td") for cell in header), "")
    body = join(
        element("tr", element("th", row[0], scope="row"), *(element("td", cell) for cell in row[1:])) for row in rows
    )
    inner = element("table", element("thead", element("tr", head)), element("tbody", body))
    return element("div", inner, class_="wide", **named)


def bullets(items: Iterable[str]) -> Markup:
    """A list, a line for each."""
    return element("ul", *(element("li", inline(item)) for item in items))


def inline(text: str) -> Markup:
    """Markdown's code and bold as HTML, which is all of Markdown that our sentences have."""
    if isinstance(text, Markup):
        return text
    escaped = re.sub(r"`([^`]+)`", r"<code>\1</code>", for_markup(text))
    return Markup(re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", escaped))
