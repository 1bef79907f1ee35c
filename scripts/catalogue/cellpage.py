"""A cell's own page: how to get it, what it is, what was seen of it and what was not, and how that came to be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scripts.catalogue.figures import (
    Line,
    format_caches,
    format_difference,
    format_start,
    list_kernels,
    list_lines,
    list_load,
)
from scripts.catalogue.gather import judge_build
from scripts.catalogue.inside import render_inside
from scripts.catalogue.manual import name_references
from scripts.catalogue.parts import (
    LONGEST,
    link_comparison,
    name_verdict,
    render_command,
    render_facts,
    render_feed,
    render_frame,
    render_reasons,
    render_state,
)
from scripts.catalogue.types import STATES, Build, CellPage, Standing, State
from scripts.markup import Markup, bullets, element, inline, join, table
from scripts.smoke.smoke import Evidence


def render_cell(page: CellPage, registry: str) -> str:
    """One cell's page."""
    parts = [
        element("p", page.job.planned.image.summary, class_="quiet"),
        element("p", render_state(page)),
        *_explain(page),
        _section("Get it", *_pull(page, registry)),
        _section("What it is", _facts(page)),
        *_tested(page),
        *_owners(page),
        *_compared(page),
        _section("What was not run", _not_run(page)),
        *(_section(title, *content) for title, content in render_inside(page)),
        _section("Run it", *_serve(page)),
        _section("History", *_history(page)),
    ]
    return render_frame(page.cell.id, *parts, root="../")


def _section(title: str, *content: str) -> Markup:
    return element("section", element("h2", title), *content)


def _explain(page: CellPage) -> Iterator[Markup]:
    """What the state does not say by itself."""
    notes = {
        Standing.EARLIER_BUILD: "What is shown is of an earlier build: this checkout builds another digest.",
        Standing.EARLIER_SUITE: "What is shown was asked by an earlier suite. Today's asks something else, and has no "
        "answer yet; nor is it said that this checkout still builds this digest.",
        Standing.UNPLACED: "Which digest this checkout builds is not known here: what is shown may be of another one.",
    }
    if page.standing:
        yield element("p", notes[page.standing], class_="note")
    if page.reasons:
        yield element("div", render_reasons(reason[:LONGEST] for reason in page.reasons), class_="why")


def _pull(page: CellPage, registry: str) -> Iterator[Markup]:
    build = page.shown
    if page.state is State.RETIRED:
        yield element("p", "Its tags were withdrawn; those that end in a build id stay where they are.")
        return
    if page.state is not State.STAMPED or build is None:
        yield element("p", "No tag is known here: there is one only for what was accepted.")
        return
    newest, versioned = name_references(page.job, registry)
    if page.standing is Standing.CURRENT:
        yield element("p", "What was accepted last, whatever its version:")
        yield render_command(f"docker pull {newest}")
        yield element("p", "What was accepted last of this version:")
        yield render_command(f"docker pull {versioned}")
    yield element("p", "By its digest, which is what was tested and never moves:")
    yield render_command(f"docker pull {newest.rpartition(':')[0]}@{build.digest}")
    if not registry:
        yield element(
            "p", "No registry was named when this page was made: this is the name in the engine that tested it."
        )


def _facts(page: CellPage) -> Markup:
    cell, build = page.cell, page.shown
    siblings = [element("a", each, href=f"{each}.html") for each in page.siblings]
    versions = "Versions, as locked now" if page.standing else "Versions"
    return render_facts(
        {
            "Digest": element("code", build.digest) if build else "",
            "GPU": cell.target.name if cell.target.has_gpu else "",
            "Compute capability": cell.target.compute,
            "Driver, at least": page.driver,
            "CUDA line": cell.cuda.id if cell.cuda else "",
            "Recipe": f"{cell.recipe} ({'compiled here' if page.job.step.compiled else 'upstream’s wheels'})",
            versions: ", ".join(f"{name} {version}" for name, version in page.versions.items() if version),
            "Candidate": element("code", cell.candidate),
            "The same bytes, for other GPUs": join(siblings, ", "),
        }
    )


def _tested(page: CellPage) -> Iterator[Markup]:
    build = page.shown
    if build is None or not build.evidence:
        yield _section("What was tested", element("p", "Nothing yet, of which there is evidence here."))
        return
    lines = list_lines(page.job, build)
    host = build.host
    where = render_facts(
        {
            "GPU": host.get("gpu", "none"),
            "Driver": host.get("driver", ""),
            "Processor": host.get("cpu", ""),
            "Docker Engine": host.get("engine", ""),
            "Last seen": build.finished,
            "Checks passed": _count([line for line in lines if line.required]),
            "Of what decides nothing": _count([line for line in lines if not line.required]),
        }
    )
    header = ["scenario", "ended", "checks", "largest difference, nats", "mean", "healthy after", "caches", "took"]
    scenarios = table(header, [_row(line) for line in lines], "Scenarios")
    checks = [_checks(each) for each in sorted(build.evidence, key=lambda each: each.scenario)]
    details = element("details", element("summary", "Each check, and what it said"), *checks)
    yield _section("What was tested", where, scenarios, details)
    loads = [(each, figures) for each in build.evidence if (figures := list_load(each))]
    if loads:
        tables = [table(["", each.scenario], figures.items(), f"Load of {each.scenario}") for each, figures in loads]
        yield _section("Under load", *tables)
    kernels = [(each, found) for each in build.evidence if (found := list_kernels(each))]
    if kernels:
        yield _section("Kernels that ran", *(_kernels(each, found) for each, found in kernels))


def _owners(page: CellPage) -> Iterator[Markup]:
    if not page.owners:
        return
    text = "Runs that owners of this GPU have sent. They were checked to be whole and, where nothing else is said, of "
    text += "this build. Nobody of us was there, and they give no tag."
    header = ["when", "by", "it", "checks", "driver", "digest", "file"]
    rows = [
        [
            run.entry.finished,
            run.entry.by,
            join([name_verdict(run.entry), *([element("small", f"({run.earlier})")] if run.earlier else [])], " "),
            f"{run.entry.passed} of {run.entry.total}",
            run.entry.driver,
            element("code", run.entry.digest[:19]),
            run.file,
        ]
        for run in reversed(page.owners)
    ]
    yield _section("What owners have seen", element("p", text), table(header, rows, "What owners have seen"))


def _compared(page: CellPage) -> Iterator[Markup]:
    if not page.compared:
        return
    items = []
    for comparison in page.compared:
        digests = {column.digest for column in comparison.columns if column.cell == page.cell.id}
        ours = page.shown and page.shown.digest in digests
        notes = [] if ours else [element("small", f"of another build: {', '.join(sorted(digests)) or 'none'}")]
        items.append(join([link_comparison(comparison, root="../"), *notes], " "))
    yield _section("Side by side", bullets(items))


def _row(line: Line) -> list[str]:
    agreement = line.agreement
    marks = ["" if line.required else "decides nothing", "" if line.todays else "earlier suite"]
    noted = ", ".join(mark for mark in marks if mark)
    return [
        join([line.name, element("small", f"({noted})")], " ") if noted else line.name,
        element("span", line.ended, class_="good" if line.ended == "passed" else "bad"),
        f"{line.passed} of {line.total}",
        format_difference(agreement.largest, agreement.accepted),
        format_difference(agreement.mean, agreement.accepted_mean),
        format_start(line),
        format_caches(line),
        f"{line.seconds:.0f} s",
    ]


def _count(lines: Sequence[Line]) -> str:
    return f"{sum(line.passed for line in lines)} of {sum(line.total for line in lines)}" if lines else ""


def _checks(evidence: Evidence) -> Markup:
    rows = [
        [result.check, result.outcome, element("span", result.detail[:LONGEST] or "–", class_="said")]
        for result in evidence.results
    ]
    found = table(["check", "ended", "what it said"], rows, f"Checks of {evidence.scenario}")
    return join([element("h3", evidence.scenario), found])


def _kernels(evidence: Evidence, found: dict[str, int]) -> Markup:
    rows = [[element("code", name), f"{count:,}"] for name, count in found.items()]
    title = f"{evidence.scenario}: {len(found)} kernels"
    return element(
        "details", element("summary", title), table(["kernel", "times"], rows, f"Kernels of {evidence.scenario}")
    )


def _not_run(page: CellPage) -> Markup:
    if not page.not_run:
        return element("p", "Every scenario of the suite was run.")
    rows = [[what, inline(why)] for what, why in page.not_run.items()]
    return table(["what", "why"], rows, "What was not run")


def _serve(page: CellPage) -> Iterator[Markup]:
    if not page.serve:
        yield element("p", "The image's manual has no command for this kind of cell.")
    for command in page.serve:
        yield render_command(command)


def _history(page: CellPage) -> Iterator[Markup]:
    if page.history:
        yield render_feed(page.history, "History", named=False)
    else:
        yield element("p", "The feed has no line about this cell.")
    if page.others:
        rows = [_other(page, build) for build in page.others]
        yield element("h3", "Other builds")
        yield table(["digest", "last seen", "verdict", "checks", "why"], rows, "Other builds")


def _other(page: CellPage, build: Build) -> list[str]:
    verdict, reasons = judge_build(page.job, build)
    results = [result for each in build.evidence for result in each.results]
    checks = f"{sum(result.passed for result in results)} of {len(results)}" if results else "–"
    why = render_reasons(reason[:LONGEST] for reason in reasons) if reasons else "–"
    return [element("code", build.digest[:19]), build.finished or "–", STATES[verdict], checks, why]
