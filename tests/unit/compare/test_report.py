"""The report in its forms: each number with its spread and command, and where there is none, why."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from scripts.compare.figures import Figure, Missing
from scripts.compare.form import parse_comparison, render_data
from scripts.compare.markdown import render_markdown
from scripts.compare.page import render_page
from scripts.compare.types import Comparison
from scripts.compare.words import find_lead, format_number, shorten
from scripts.compare.write import write_report
from scripts.model import Outcome, Result
from tests.unit.compare.made import ENDED, make_check, make_column, make_comparison

REASON = "the server has ended with exit code -9; its log has:\nCUDA error | <no kernel>"
FAST = make_column(
    "vllm-cu130-5090",
    "vLLM 1",
    make_check("at-8", "vllm serve | x", value=12.0, runs=[11.0, 12.0, 13.0]),
    make_check("at-32", "vllm serve | x", value=40.0, runs=[40.0]),
    ENDED,
)
SLOW = make_column(
    "sglang-cu130-5090",
    "SGLang <2>",
    make_check("at-8", "serve-sglang", value=20.0, runs=[14.0, 20.0, 22.0]),
    Result("at-32", Outcome.FAILED, REASON, {"figures": [{"name": "ttft", "value": 77.7, "runs": [77.7]}]}),
    ENDED,
    verdict="inconclusive",
)
UNMEASURED = make_column("sglang-cu130-5090", "SGLang <2>")


@pytest.fixture
def comparison() -> Comparison:
    return make_comparison(FAST, SLOW, absent={"toolkit": "it serves nothing"})


def test_a_number_has_its_spread_and_its_command(comparison: Comparison) -> None:
    text = render_markdown(comparison)
    assert "| 8 in flight | **12.0 ms** (11.0–13.0) [1] | 20.0 ms (14.0–22.0) [2] |" in text
    assert "1. `vllm serve | x`" in text and "2. `serve-sglang`" in text
    assert "`nox -s compare -- 5090 --again --only load`" in text
    assert "--only start" not in text, "no row is of that part"


def test_what_chose_the_cells_and_the_memory_is_in_the_commands_that_measure_again(comparison: Comparison) -> None:
    chosen = replace(comparison, options=("--memory", "24", "--recipe", "wheel"))
    for text in (render_markdown(chosen), render_page(chosen)):
        assert "nox -s compare -- 5090 --memory 24 --recipe wheel --again --only load" in text


def test_a_number_of_one_run_says_so(comparison: Comparison) -> None:
    assert "40.0 ms (one run) [1]" in render_markdown(comparison)


def test_where_there_is_no_number_there_is_the_reason(comparison: Comparison) -> None:
    for text in (render_markdown(comparison), render_page(comparison)):
        assert "– (failed: the server has ended with exit code -9; its log has:)" in text
        assert "77.7" not in text, "what a failed check had measured is no result"


def test_what_was_not_measured_is_said_to_be_so_and_has_no_number() -> None:
    comparison = make_comparison(UNMEASURED)
    for text in (render_markdown(comparison), render_page(comparison)):
        assert text.count("– (not measured yet)") == 2 and " ms" not in text


def test_an_engine_without_a_column_has_its_reason(comparison: Comparison) -> None:
    assert "- toolkit: it serves nothing" in render_markdown(comparison)
    assert "<li>toolkit: it serves nothing</li>" in render_page(comparison)


def test_the_report_says_that_the_text_is_not_real_and_what_the_gate_thinks(comparison: Comparison) -> None:
    for text in (render_markdown(comparison), render_page(comparison)):
        assert "the text is not" in text and "held to 32 GiB" in text
        assert "sglang-cu130-5090 is inconclusive" in text and "driver 580.95.05" in text


class Page(HTMLParser):
    """Which elements a page has, and all addresses in it."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.addresses: list[str] = []
        self.charts: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.opened.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "action", "data"):
                self.addresses.append(value or "")
            if tag == "svg" and name == "aria-label":
                self.charts.append(value or "")


def test_the_page_asks_nobody_for_anything_and_is_light_and_dark(comparison: Comparison) -> None:
    text = render_page(comparison)
    page = Page()
    page.feed(text)
    assert page.addresses == [] and not {"script", "link", "img", "iframe"} & set(page.opened)
    assert "url(" not in text and "@import" not in text
    assert re.findall(r"https?://[^\"]+", text) == ["http://www.w3.org/2000/svg"]
    assert "prefers-color-scheme: dark" in text
    assert page.charts == ["Time to the first token, ms"]


def test_what_engines_say_is_text_and_no_markup(comparison: Comparison) -> None:
    assert "SGLang &lt;2&gt;" in render_page(comparison) and "<2>" not in render_page(comparison)
    assert "`vllm serve" in render_markdown(comparison)


def test_a_chart_has_a_bar_for_each_number_and_words_where_there_is_none(comparison: Comparison) -> None:
    text = render_page(comparison)
    svg = text[text.index("<svg") : text.index("</svg>")]
    assert len(re.findall(r'<rect class="s\d" x="300" y="(?!6")', svg)) == 3
    assert svg.count('class="spread"') == 3 and svg.count('class="missing"') == 1
    assert "lower is better" in svg


def test_a_section_without_a_number_has_no_chart() -> None:
    assert "<svg" not in render_page(make_comparison(UNMEASURED))


def test_machines_are_given_every_number_and_every_reason(comparison: Comparison, tmp_path: Path) -> None:
    files = write_report(comparison, tmp_path)
    assert [path.name for path in files] == ["5090.md", "5090.html", "5090.json"]
    data = json.loads(files[2].read_bytes())
    assert data == render_data(comparison)
    first, _, _, failed = data["figures"]
    assert first == {
        "cell": "vllm-cu130-5090",
        "name": "load/at-8/ttft",
        "value": 12.0,
        "unit": "ms",
        "better": "lower",
        "runs": [11.0, 12.0, 13.0],
        "command": "vllm serve | x",
    }
    assert (failed["value"], failed["failed"], failed["reason"]) == (None, True, REASON)


# --- read back


def test_a_report_is_made_again_from_what_machines_are_given(comparison: Comparison, tmp_path: Path) -> None:
    chosen = replace(comparison, options=("--memory", "32"))
    data = json.loads(write_report(chosen, tmp_path)[2].read_bytes())
    assert parse_comparison(data) == chosen
    assert render_page(parse_comparison(data)) == (tmp_path / "5090.html").read_text()


@pytest.mark.parametrize(
    "change",
    [
        {"version": 1},
        {"place": 3},
        {"figures": []},
        {"options": [1]},
        {"host": {"cpu": 8}},
        {"engines": [{"cell": "vllm-cu130-5090", "title": "vLLM 1", "digest": "latest", "verdict": "accepted"}]},
        {"sections": [{"title": "T", "text": "", "rows": [{"title": "8 in flight"}]}]},
        {"limit_gib": "32"},
    ],
)
def test_what_is_no_report_is_not_read_as_one(comparison: Comparison, change: dict[str, Any]) -> None:
    data = json.loads(json.dumps(render_data(comparison)))
    with pytest.raises((ValueError, KeyError, TypeError)):
        parse_comparison(data | change)


def test_a_cell_of_a_report_has_one_column(comparison: Comparison) -> None:
    data = json.loads(json.dumps(render_data(comparison)))
    with pytest.raises(ValueError, match="two columns"):
        parse_comparison(data | {"engines": data["engines"][:1] * 2})


@pytest.mark.parametrize(
    "change", [{"value": "12"}, {"value": True}, {"runs": []}, {"runs": [None]}, {"better": "smaller"}, {"unit": None}]
)
def test_a_number_of_a_report_is_one(comparison: Comparison, change: dict[str, Any]) -> None:
    data = json.loads(json.dumps(render_data(comparison)))
    data["figures"][0] |= change
    with pytest.raises((ValueError, TypeError)):
        parse_comparison(data)


# --- words


def figure(*runs: float, better: str = "lower") -> Figure:
    return Figure(sorted(runs)[len(runs) // 2], "ms", better, runs, "")


@pytest.mark.parametrize(
    ("figures", "lead"),
    [
        ([figure(1, 2), figure(3, 4)], 0),
        ([figure(1, 3), figure(2, 4)], None),
        ([figure(1, 3), figure(3, 4)], None),
        ([figure(1, 2, better="higher"), figure(3, 4, better="higher")], 1),
        ([figure(1, 3, better="higher"), figure(3, 4, better="higher")], None),
        ([figure(1, 2), Missing("failed", failed=True)], None),
        ([Missing("x"), figure(1, 2), figure(5)], 1),
        ([figure(2, 9), figure(3, 3), figure(4, 4)], None),
        ([], None),
    ],
)
def test_an_engine_leads_where_none_of_its_runs_is_in_reach(figures: list[Figure | Missing], lead: int | None) -> None:
    found = find_lead(figures)
    assert found is (None if lead is None else figures[lead])


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.00"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346")]
)
def test_numbers_have_the_digits_that_count(value: float, text: str) -> None:
    assert format_number(value) == text


def test_a_long_reason_is_cut_short() -> None:
    assert len(shorten(Missing("x" * 5000, failed=True))) < 330
    assert shorten(Missing("")) == ""
