"""Text of others, made safe to show: each way out (terminal, table, Markdown, SVG, HTML) takes it from here.

Names in wheels, layers and registries, options, and what engines answer may hold anything: a line break with a forged
verdict after it, an escape sequence, a command to CI, letters that turn the direction of others, half a code point. It
is shown escaped, as Python would write it, and cut.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from html import escape
from typing import Any

LONGEST_LINE = 2000  # characters, of anything that is shown
LONGEST_PAGE = 100_000  # characters, of one text in a page
_SPECIAL = re.compile(r"[\\`*_\[\]<>|~&$!]")  # what Markdown could take for more than text
_URL = re.compile(r"(?i)://|www\.")  # forges make links of these by themselves
_LIST = re.compile(r"^([0-9]*)([-+#=.)])")  # what begins a list, a heading or a line below one
_VOICE = re.compile(r"^(\s*):(?=:)|##(?=\[)")  # how a line speaks to GitHub's runner


def one_line(text: object, limit: int = LONGEST_LINE) -> str:
    """A text as one line of at most `limit` characters, all of which can be printed; said of a cut is how long it was.

    What is safe already stays as it is, so that a line may be made of such parts and then be taken as a whole.
    """
    said = str(text)
    if len(said) <= limit and said.isprintable() and "##[" not in said and not said.lstrip(" ").startswith("::"):
        return said  # nearly all are, and there are many
    shown = _silence(said[:limit] if said.isprintable() else "".join(map(_show, said[: limit + 1])))
    if len(said) <= limit and len(shown) <= limit:
        return shown
    # What is said of a thing often stands after its name: the end is kept, too.
    end = limit // 4
    tail = _silence("".join(map(_show, said[-end:])))[-end:]
    told = f" … ({len(said)} characters) … "
    return shown[: limit - len(told) - len(tail)] + told + tail


def lines_of(text: str) -> list[str]:
    """The lines of a text that may have several, each made safe; empty ones left out."""
    return [one_line(line) for line in text.splitlines() if line.strip()]


def for_markdown(text: object) -> str:
    """A text as a cell or a line of Markdown that says just this: no markup, no link, no further cell."""
    said = _SPECIAL.sub(lambda found: f"\\{found[0]}", one_line(text).strip())
    return _LIST.sub(r"\1\\\2", _URL.sub(lambda found: found[0].replace(":", "&#58;").replace(".", "&#46;"), said))


def for_code(text: object, *, in_table: bool = False) -> str:
    """A text as a piece of code in Markdown: as it is, but for what would end the piece, or its cell."""
    said = one_line(text).replace("`", "'")
    return f"`{(said.replace('|', '¦') if in_table else said) or '–'}`"


def for_markup(text: object) -> str:
    """A text as the contents, or the value of an attribute, of HTML and SVG; it may have several lines."""
    said = str(text)
    cut = f" … ({len(said)} characters)" if len(said) > LONGEST_PAGE else ""
    shown = said[: LONGEST_PAGE - len(cut)] if cut else said
    return escape("".join(each if each in "\n\t" else _show(each) for each in shown) + cut)


def for_json(value: Any, *, indent: int | None = None) -> str:
    """A value as JSON in letters of ASCII alone, which every terminal and every stream takes."""
    return json.dumps(value, indent=indent).replace("##[", "#\\u0023[")


def name_some(names: Iterable[str], none: str = "there is none") -> str:
    """What could have been meant: `one of: a, b`, or that there is nothing to choose from."""
    known = ", ".join(names)
    return f"one of: {known}" if known else none


def _show(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode()


def _silence(line: str) -> str:
    return _VOICE.sub(lambda found: "#\\x23" if found[0] == "##" else f"{found[1]}\\x3a", line)
