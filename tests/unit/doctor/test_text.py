"""How findings look: a line each, what mends them below, ten lines where all is well."""

from __future__ import annotations

from scripts import __version__
from scripts.doctor.examine import Examination
from scripts.doctor.seen import Finding, Mark
from scripts.doctor.text import MOST_LINES, fit_findings, render_findings, render_report
from scripts.redact import Private

GOOD = Finding(Mark.THERE, "disk", "900 GB free")
BAD = Finding(Mark.MISSING, "engine", "none answers", "start it")
NONE = Finding(Mark.UNASKED, "gpu", "none", "not to be seen")


def test_a_line_has_a_mark_a_topic_and_what_there_is() -> None:
    assert render_findings([GOOD, BAD, NONE]) == [
        "✓ disk       900 GB free",
        "✗ engine     none answers",
        "  next: start it",
        "– gpu        none",
    ]


def test_many_lines_of_a_topic_become_one_where_nothing_is_missing() -> None:
    others = [Finding(Mark.THERE, str(number), "x") for number in range(8)]
    images = [Finding(Mark.THERE, "images", f"for {number}") for number in range(3)]
    assert len(fit_findings([*others, *images[:2]])) == MOST_LINES
    fitted = fit_findings([*others, *images])
    assert len(fitted) == 9 and fitted[-1].text == "for 0; for 1; for 2"
    mixed = [*others, *images, Finding(Mark.UNASKED, "images", "none")]
    assert [finding.mark for finding in fit_findings(mixed)[-2:]] == [Mark.THERE, Mark.UNASKED]


def test_where_something_is_missing_every_line_is_there() -> None:
    many = [BAD, *[GOOD] * 12]
    assert fit_findings(many) == many


def test_a_report_is_a_block_with_versions_and_without_what_mends() -> None:
    found = Examination((GOOD, BAD), "Python 3.11 on tower", "0123456789ab", Private(frozenset({"tower"})))
    assert render_report(found) == [
        "```text",
        f"Hallmark {__version__}, revision 0123456789ab",
        "Python 3.11 on <name>",
        "✓ disk       900 GB free",
        "✗ engine     none answers",
        "```",
    ]
