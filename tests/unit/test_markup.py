"""HTML that is made of text: whatever the text is, it stays text."""

from __future__ import annotations

import pytest

from scripts.markup import bullets, element, inline, join, markup, table

NASTY = """<script>alert('1')</script> & "x" """
SAFE = "&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt; &amp; &quot;x&quot; "


@pytest.mark.parametrize(
    "made",
    [
        markup(NASTY),
        element("p", NASTY),
        element("p", title=NASTY),
        join(["a", NASTY]),
        table([NASTY], [["x"]]),
        table(["x"], [[NASTY, "y"]]),
        table(["x"], [["y", NASTY]], NASTY),
        bullets([NASTY]),
        inline(f"`{NASTY}` **{NASTY}**"),
    ],
)
def test_text_is_escaped_wherever_it_is_put(made: str) -> None:
    assert SAFE in made and "<script" not in made and '"x"' not in made


def test_markup_is_escaped_once() -> None:
    inner = element("b", "1 < 2")
    assert element("p", inner, " & more") == "<p><b>1 &lt; 2</b> &amp; more</p>"
    assert markup(inner) is inner


def test_attributes_are_written_as_html_has_them() -> None:
    made = element("label", "x", for_="a", class_="b", data_cell="c", hidden=True, tabindex=False)
    assert made == '<label for="a" class="b" data-cell="c" hidden>x</label>'
    assert element("input", name="n") == '<input name="n">'


def test_tables_name_their_rows_and_columns_and_scroll_by_themselves() -> None:
    made = table(["", "two"], [["one", "2"]], "Numbers")
    assert made.startswith('<div class="wide" role="region" tabindex="0" aria-label="Numbers"><table>')
    assert '<td></td><th scope="col">two</th>' in made and '<th scope="row">one</th><td>2</td>' in made


def test_sentences_keep_their_code_and_bold() -> None:
    assert inline("run `nox` **now**") == "run <code>nox</code> <strong>now</strong>"
