"""The first page: the matrix as a picture, every cell as a row, and what ran last; and the page of the whole feed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from scripts.catalogue.parts import link_comparison, render_feed, render_frame, render_legend, render_state
from scripts.catalogue.types import Catalogue, CellPage, State
from scripts.markup import Markup, bullets, element, join
from scripts.matrix import Exclusion
from scripts.model import Cell, Target

_LATEST = 10
_ABSENT = element(
    "td",
    element("span", "–", aria_hidden="true"),
    element("span", "not in the matrix", class_="unseen"),
    class_="absent",
)


def render_overview(catalogue: Catalogue) -> str:
    """The page that a visitor sees first."""
    ids = [page.cell.id for page in catalogue.pages]
    parts = [
        element(
            "p",
            "Images for one GPU each. A tag exists only if this exact digest has loaded a model and served it on the "
            "GPU that it is for.",
        ),
        _filters(catalogue),
        element("section", element("h2", "The matrix", id="matrix"), render_legend(), _grid(catalogue)),
        element("section", element("h2", "Every cell", id="cells"), _list(catalogue.pages)),
        element("section", element("h2", "What was decided last", id="latest"), _latest(catalogue, ids)),
    ]
    if catalogue.comparisons:
        reports = bullets(link_comparison(each) for each in catalogue.comparisons)
        parts.append(element("section", element("h2", "Engines side by side", id="compared"), reports))
    if catalogue.matrix.exclusions:
        left_out = bullets(_explain(each) for each in catalogue.matrix.exclusions)
        parts.append(element("details", element("summary", "What the matrix leaves out, and why"), left_out))
    if catalogue.unread:
        parts.append(element("section", element("h2", "Not read", id="unread"), bullets(catalogue.unread)))
    return render_frame("Images that were seen to work", *parts)


def render_feed_page(catalogue: Catalogue) -> str:
    """All lines of the feed."""
    text = "Every verdict, red ones too, the newest first. Lines are appended and never edited."
    ids = [page.cell.id for page in catalogue.pages]
    content = render_feed(catalogue.feed, "The feed", ids) if catalogue.feed else element("p", "Nothing yet.")
    return render_frame("Feed", element("p", text), content)


def _latest(catalogue: Catalogue, ids: Iterable[str]) -> Markup:
    if not catalogue.feed:
        return element("p", "The feed is empty: what is shown above is of evidence alone.")
    everything = element("p", element("a", "The whole feed", href="feed.html"))
    return join([render_feed(catalogue.feed[-_LATEST:], "What was decided last", ids), everything])


def _filters(catalogue: Catalogue) -> Markup:
    """Hidden until a script shows them: without one there is nothing that they could do."""
    cells = [page.cell for page in catalogue.pages]
    fields = [
        _choice("engine", "Image", [(cell.image, cell.image) for cell in cells]),
        _choice("cuda", "CUDA", [(cell.line, _name_line(cell)) for cell in cells]),
        _choice("gpu", "GPU", [(cell.target.id, _name_target(cell.target)) for cell in cells]),
        _choice("state", "State", [(page.state, page.state) for page in catalogue.pages]),
        join(
            [
                element("label", "Your driver", for_="filter-driver"),
                element("input", id="filter-driver", name="driver", inputmode="decimal", placeholder="580.95.05"),
            ]
        ),
    ]
    count = element("p", role="status", id="count")
    reset = element("button", "Show all", type="reset")
    divs = [element("div", each) for each in fields]
    return element("form", *divs, element("div", reset), count, id="filters", hidden=True, aria_label="Filter")


def _choice(name: str, label: str, values: Sequence[tuple[str, str]]) -> Markup:
    options = [element("option", text, value=value) for value, text in dict(values).items()]  # each value once
    chosen = element("select", element("option", "any", value=""), *options, id=f"filter-{name}", name=name)
    return join([element("label", label, for_=f"filter-{name}"), chosen])


def _grid(catalogue: Catalogue) -> Markup:
    """Images and recipes down, CUDA lines and GPUs across; each cell with its state as a sign and in words."""
    squares: dict[Cell, Markup] = {each.cell: _square(each) for each in catalogue.pages}
    squares |= {planned.cell: _hole(planned.cell.id) for planned in catalogue.gaps}
    placed = {(cell.image, cell.recipe, cell.line, cell.target.id): square for cell, square in squares.items()}
    order = [*catalogue.matrix.cuda, "cpu"]
    there = {(cell.line, cell.target) for cell in squares}
    targets = list(catalogue.matrix.targets.values())
    columns = sorted(there, key=lambda each: (order.index(each[0]), targets.index(each[1])))
    lines = [(line, list(group)) for line, group in groupby(columns, key=lambda each: each[0])]
    names = {cell.line: _name_line(cell) for cell in squares}
    upper = [element("th", names[line], scope="colgroup", colspan=str(len(group))) for line, group in lines]
    lower = [element("th", target.id, scope="col", title=target.name) for _, target in columns]
    rows = []
    for image, recipe in sorted({(cell.image, cell.recipe) for cell in squares}):
        found = [placed.get((image, recipe, line, target.id), _ABSENT) for line, target in columns]
        title = join([image, element("small", recipe)], " ")
        rows.append(element("tr", element("th", title, scope="row"), *found))
    groups = [element("colgroup"), *(element("colgroup", span=str(len(group))) for _, group in lines)]
    head = element(
        "thead",
        element("tr", element("td", rowspan="2"), *upper),
        element("tr", *lower),
    )
    caption = element("caption", "State of each image by recipe, CUDA line and GPU", class_="quiet")
    grid = element("table", caption, *groups, head, element("tbody", join(rows)), class_="grid")
    return element("div", grid, class_="wide", role="region", tabindex="0", aria_label="The matrix")


def _square(page: CellPage) -> Markup:
    name = element("span", f"{page.cell.id}: ", class_="unseen")
    link = element("a", join([name, render_state(page, short=True)], ""), href=_address(page), **_data(page))
    return element("td", link)


def _hole(name: str) -> Markup:
    """A cell of the matrix that nobody has written a recipe for."""
    text = join([element("span", State.NOT_BUILT), element("small", "no recipe yet")], " ")
    seen = element("span", text, class_="state not-built short")
    return element("td", element("span", f"{name}: ", class_="unseen"), seen)


def _list(pages: Sequence[CellPage]) -> Markup:
    """Every cell with what one chooses by, those that one can have first."""
    header = ["cell", "state", "GPU", "CUDA", "driver, at least", "version, as locked", "seen"]
    rows = [
        element(
            "tr",
            element("th", element("a", page.cell.id, href=_address(page)), scope="row"),
            element("td", render_state(page)),
            element("td", page.cell.target.name),
            element("td", page.cell.line),
            element("td", page.driver or "–"),
            element("td", page.versions.get(page.cell.image) or "–"),
            element("td", element("time", page.shown.finished[:10] or "–") if page.shown else "–"),
            **_data(page),
        )
        for page in sorted(pages, key=lambda page: list(State).index(page.state))
    ]
    head = element("thead", element("tr", *(element("th", text, scope="col") for text in header)))
    found = element("table", head, element("tbody", join(rows)))
    return element("div", found, class_="wide", role="region", tabindex="0", aria_label="Every cell")


def _data(page: CellPage) -> dict[str, str]:
    cell = page.cell
    return {
        "data_engine": cell.image,
        "data_cuda": cell.line,
        "data_gpu": cell.target.id,
        "data_state": page.state,
        "data_driver": page.driver,
    }


def _address(page: CellPage) -> str:
    return f"cells/{page.cell.id}.html"


def _name_line(cell: Cell) -> str:
    return f"CUDA {cell.cuda.id}" if cell.cuda else "no CUDA"


def _name_target(target: Target) -> str:
    return f"{target.name} ({target.compute})" if target.has_gpu else target.name


def _explain(exclusion: Exclusion) -> str:
    axes = [exclusion.image, f"CUDA {exclusion.cuda}" if exclusion.cuda else "", exclusion.target, exclusion.recipe]
    return f"{' · '.join(axis for axis in axes if axis)}: {exclusion.reason}"
