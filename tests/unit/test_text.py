"""What others wrote, on its way to a terminal, a table, Markdown, SVG, HTML and JSON."""

from __future__ import annotations

import io
import json
import time
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from scripts import console
from scripts.errors import Problem
from scripts.markup import element
from scripts.report.table import append_step_summary, print_table
from scripts.text import LONGEST_LINE, for_code, for_json, for_markdown, for_markup, lines_of, name_some, one_line
from tests.unit.conftest import find_faults, find_faults_of_line

# Anything at all, half code points too, and more of what has done harm than chance would bring.
EVIL = ["\n", "\r", "\x1b[2J", "\x9b1A", "::error::no", "##[error]no", "\u202e", "\u2066", "\udcff", "\0", "\x85"]
EVIL += ["\u2028", "\ufeff", "|", "\\", "`", "<script>", "&", "](x)", "https://x", "www.x", "- ", "# ", "1. "]
letters = st.characters() | st.characters(categories=["Cs", "Cf", "Cc"])
texts = st.lists(st.text(letters, max_size=8) | st.sampled_from(EVIL), max_size=12).map("".join)


@given(texts, st.integers(60, LONGEST_LINE))
def test_any_text_becomes_one_line_that_can_be_shown(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert find_faults_of_line(line) == [] and len(line) <= limit
    assert one_line(line, limit) == line, "a line may be made of such parts"
    line.encode("utf-8")


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=60))
def test_what_is_safe_stays_as_it_is(text: str) -> None:
    if "##[" not in text and not text.startswith("::"):
        assert one_line(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("exe.\u202efdp", "exe.\\u202efdp"),
        ("\udcff", "\\udcff"),
        ("  ::error::x", "  \\x3a:error::x"),
        ("std::vector", "std::vector"),
        ("a ##[error]x", "a #\\x23[error]x"),
        ("größer – ✓", "größer – ✓"),
    ],
)
def test_what_is_not_is_escaped_and_still_to_be_recognised(text: str, shown: str) -> None:
    assert one_line(text) == shown


@pytest.mark.parametrize("letter", ["x", "\n", "\u202e", "::"])
def test_a_message_of_millions_of_characters_becomes_one_line_at_once(letter: str) -> None:
    text = letter * (4_000_000 // len(letter))
    started = time.monotonic()
    line = one_line(text)
    assert len(line) == LONGEST_LINE and " … (4000000 characters) … " in line
    assert find_faults(Problem(text, text, text, (text,))) == []
    assert time.monotonic() - started < 5


def test_of_a_long_text_both_ends_are_kept() -> None:
    line = one_line("begin " + "x" * 9000 + " is not a folder", 200)
    assert line.startswith("begin xx") and line.endswith("xx is not a folder") and len(line) == 200


def test_a_text_of_several_lines_is_shown_line_by_line() -> None:
    assert lines_of("a\n\n b\x1b\r\n::c") == ["a", " b\\x1b", "\\x3a:c"]


def test_nothing_to_choose_from_is_said_to_be_nothing() -> None:
    assert name_some(["a", "b"]) == "one of: a, b"
    assert name_some([], "write one") == "write one"


# --- each way out


@given(texts, texts, texts)
def test_a_problem_can_be_shown_whatever_it_quotes(cause: str, place: str, step: str) -> None:
    problem = Problem(cause or "x", place or "x", step or "x", (cause, step))
    assert find_faults(problem) == []
    assert len(problem.lines()) == 4 and str(problem).count("\n") == 3, "no line of its own for what is quoted"


@given(texts)
def test_a_line_on_either_stream_is_one_line(text: str) -> None:
    stream, log = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", stream)
        patch.setattr(console, "log", Console(file=log, soft_wrap=True, highlight=False, width=120))
        console.show(text)
        console.note(text)
        with console.step(text, "audit") as update:
            update(text)
    assert stream.getvalue().count("\n") == 1 and log.getvalue().count("\n") == 3
    for line in (stream.getvalue() + log.getvalue()).splitlines():
        assert find_faults_of_line(line) == []


@given(texts, texts)
def test_a_table_has_as_many_lines_as_rows(one: str, two: str) -> None:
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", stream)
        print_table(["name", "state"], [[one, "failed"], [two, "passed"]])
    lines = stream.getvalue().split("\n")
    assert len(lines) == 4 and lines[1].endswith("failed") and lines[2].endswith("passed")
    assert all(find_faults_of_line(line) == [] for line in lines)


def _cells(line: str) -> list[str]:
    """A row's cells as GitHub's Markdown splits it: at bars that no backslash stands before."""
    cells, escaped = [""], False
    for letter in line:
        if letter == "|" and not escaped:
            cells.append("")
        else:
            cells[-1] += letter
        escaped = letter == "\\" and not escaped
    return cells[1:-1]


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=3))
def test_the_summary_of_ci_has_the_same_rows_and_no_markup_of_others(rows: list[tuple[str, str]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stream = io.StringIO()
        patch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
        patch.setattr(Path, "open", lambda *_, **__: stream)
        patch.setattr(stream, "close", lambda: None)
        append_step_summary(["a", "b"], rows)
    lines = stream.getvalue().split("\n")
    assert len(lines) == len(rows) + 3 and lines[-1] == ""
    for line in lines[:-1]:
        assert len(_cells(line)) == 2
        assert find_faults_of_line(line) == []


@given(texts)
@example("ftp://a.invalid")
def test_markdown_says_just_the_text(text: str) -> None:
    said, escaped = for_markdown(text), False
    for letter in said:
        assert escaped or letter not in "`*_[]<>|~!$", "each is escaped"
        escaped = letter == "\\" and not escaped
    assert "://" not in said and not said.startswith(("-", "#", "+"))
    code = for_code(text, in_table=True)
    assert code.count("`") == 2 and "|" not in code and len(code) > 2


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@given(texts)
def test_markup_is_well_formed_and_has_no_element_of_others(text: str) -> None:
    root = ElementTree.fromstring(f'<text title="{for_markup(text)}">{for_markup(text)}</text>')
    shown = "".join(letter if letter.isprintable() or letter in "\n\t" else "" for letter in (root.text or ""))
    assert list(root) == [] and shown == (root.text or "")
    page = _Text()
    page.feed(element("p", text, title=text))
    assert page.tags == ["p"]


@given(st.recursive(texts | st.integers() | st.none(), lambda inner: st.lists(inner, max_size=3)))
def test_json_says_the_same_and_can_be_written_anywhere(value: object) -> None:
    text = for_json(value)
    assert json.loads(text) == value
    assert text.isascii() and text.isprintable() and "##[" not in text


# --- the check itself


@pytest.mark.parametrize(
    ("problem", "fault"),
    [
        (Problem("x", "", "mend it"), "it names no place"),
        (Problem("x", "here"), "it names no next step"),
    ],
)
def test_a_message_without_place_or_next_step_is_found(problem: Problem, fault: str) -> None:
    assert find_faults(problem) == [fault]


@pytest.mark.parametrize("line", ["a\nb", "\x1b[0m", "\u202e", "x" * 2001, " ::error::x", "##[error]"])
def test_a_line_that_cannot_be_shown_is_found(line: str) -> None:
    assert len(find_faults_of_line(line)) == 1


SCRIPTS = Path(console.__file__).parent
# These run in a container or a child of ours, and say what they say to us.
ELSEWHERE = ("inside", "models", "lister.py", "byte_compile.py", "nvml.py", "console.py")


def test_nothing_writes_past_the_console() -> None:
    files = [path for path in SCRIPTS.rglob("*.py") if not set(path.parts) & set(ELSEWHERE)]
    found = [
        f"{path.name}: {word}"
        for path in files
        for word in (" print(", "log.print(", "sys.stdout.write", "sys.stderr.write", "Console(")
        if word in path.read_text("utf-8")
    ]
    assert len(files) > 100 and found == []
