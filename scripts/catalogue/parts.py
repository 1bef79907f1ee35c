"""What all pages share: their frame, a state in words and signs, a command to copy, the feed as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from scripts import __version__
from scripts.catalogue.types import STATES, CellPage, State
from scripts.compare.page import render_body
from scripts.compare.types import Comparison
from scripts.compare.words import title_of
from scripts.feed import Entry
from scripts.markup import Markup, element, join, table
from scripts.model import Verdict

_SEEN = {
    Verdict.ACCEPTED: "passed, as an owner says",
    Verdict.REJECTED: "failed, as an owner says",
    Verdict.INCONCLUSIVE: "undecided, as an owner says",
}
GENERATOR = "Hallmark catalogue"
LONGEST = 2000  # characters of what a check said
_SIGNS = {
    State.STAMPED: "✔",
    State.OWNERS: "◇",
    State.RETIRED: "–",
    State.REJECTED: "✘",
    State.UNDECIDED: "?",
    State.NOT_BUILT: "○",
}


def render_frame(title: str, *content: str, root: str = "") -> str:
    """A whole page; `root` leads from its folder to the site's."""
    head = [
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="generator", content=GENERATOR),
        element("title", title),
        element("link", rel="stylesheet", href=f"{root}style.css"),
        element("link", rel="icon", href="data:,"),
        element("script", src=f"{root}script.js", defer=True),
    ]
    pages = {f"{root}index.html": "Images", f"{root}feed.html": "Feed"}
    links = [element("li", element("a", text, href=address)) for address, text in pages.items()]
    body = [
        element("a", "Skip to the content", class_="skip", href="#main"),
        element("header", element("nav", element("ul", *links), aria_label="Site")),
        element("main", element("h1", title), *content, id="main", tabindex="-1"),
        element(
            "footer", element("p", f"Made of evidence by Hallmark {__version__}. Nothing on these pages is typed.")
        ),
    ]
    page = element("html", element("head", join(head)), element("body", join(body)), lang="en")
    return f"<!doctype html>\n{page}\n"


def render_state(page: CellPage, *, short: bool = False) -> Markup:
    """A cell's state: a sign for the eye, the word, and whether it is of today's build."""
    sign = element("span", _SIGNS[page.state], class_="sign", aria_hidden="true")
    parts = [sign, element("span", page.state)]
    standing = "" if page.state is State.OWNERS else page.standing  # theirs is of today's build, whatever ours is of
    if standing:
        parts.append(element("small", standing))
    name = f"state {page.state.replace(' ', '-')}{' earlier' if standing else ''}{' short' if short else ''}"
    return element("span", join(parts, " "), class_=name)


def render_legend() -> Markup:
    """What the states mean."""
    meanings = {
        State.STAMPED: "this digest passed every check on this GPU",
        State.OWNERS: "owners of this GPU have seen it pass, and we have not",
        State.RETIRED: "it was taken out of service, and its page says why",
        State.REJECTED: "it was shown to be wrong",
        State.UNDECIDED: "not all of it was seen",
        State.NOT_BUILT: "there is no evidence of any build",
    }
    items = [
        element("li", element("span", _SIGNS[state], class_="sign", aria_hidden="true"), f" {state}: {text}")
        for state, text in meanings.items()
    ]
    return element("ul", *items, class_="legend")


def render_command(text: str) -> Markup:
    """A command, with a button beside it that copies it where scripts run."""
    return element("div", element("pre", element("code", text), tabindex="0"), class_="command", data_copy=True)


def address_of(comparison: Comparison) -> str:
    """Where the site has a comparison's report."""
    return f"compare/{comparison.target}.html"


def render_comparison(comparison: Comparison) -> str:
    """A comparison's report as one of the site's pages."""
    return render_frame(title_of(comparison), render_body(comparison), root="../")


def link_comparison(comparison: Comparison, *, root: str = "") -> Markup:
    """A link to a comparison's report, and what it was measured on; `root` as in `render_frame`."""
    link = element("a", title_of(comparison), href=root + address_of(comparison))
    return join([link, element("small", f"({comparison.machine or 'nothing was measured yet'})")], " ")


def render_facts(facts: Mapping[str, str]) -> Markup:
    """Names and what they are; what is empty is left out."""
    return element("dl", *(join([element("dt", key), element("dd", text)], "") for key, text in facts.items() if text))


def render_reasons(reasons: Iterable[str]) -> Markup:
    """Why something was not accepted, a line each, as it was said."""
    return element("ul", *(element("li", reason) for reason in reasons), class_="reasons")


def name_verdict(entry: Entry) -> str:
    """A line in words: a verdict of ours by what it does to a stamp, an owner's by what was seen."""
    return _SEEN[entry.verdict] if entry.by else entry.service or STATES[entry.verdict]


def render_feed(entries: Sequence[Entry], label: str, cells: Iterable[str] = (), *, named: bool = True) -> Markup:
    """Lines of the feed, the newest first, with links to those cells that have a page; `named`: say which cell."""
    known = set(cells)
    rows = []
    for entry in reversed(entries):
        name = element("a", entry.cell, href=f"cells/{entry.cell}.html") if entry.cell in known else entry.cell
        why = render_reasons(entry.reasons) if entry.reasons else "–"
        where = ", driver ".join(text for text in (entry.gpu, entry.driver) if text) or "no GPU"
        where += f", by {entry.by}" if entry.by else ""
        digest = element("code", entry.digest[:19] or "–")
        checks = f"{entry.passed} of {entry.total}"
        rows.append([entry.finished, *([name] if named else []), name_verdict(entry), checks, where, digest, why])
    header = ["when", *(["cell"] if named else []), "verdict", "checks", "where", "digest", "why"]
    return table(header, rows, label)
