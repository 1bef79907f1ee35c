from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.buildkit.progress import KEPT, Progress
from tests.unit.buildkit.streams import FORMS, compact, output, status, vertex

INTERNAL = "[internal] load build context"
RUN = "[2/4] RUN make"


def follow(*messages: dict[str, Any], form: str = "compact") -> tuple[Progress, list[str]]:
    progress = Progress()
    return progress, [line for each in FORMS[form](*messages) for line in progress.feed(each)]


# --- the log


@pytest.mark.parametrize("form", FORMS)
def test_the_log_reads_as_people_know_it(form: str) -> None:
    _, log = follow(
        vertex("i", INTERNAL),
        status("i", "transferring context:", current=1_500_000, completed=True),
        vertex("i", INTERNAL, completed=True),
        vertex("c", "[1/4] FROM parent", completed=True, cached=True),
        vertex("r", RUN, started=False),
        vertex("r", RUN),
        output("r", b"cc -o x\nld"),
        output("r", b" -o y\n"),
        vertex("r", RUN, completed=True),
        {"warnings": [{"vertex": "r", "short": base64.b64encode(b"an old word").decode()}]},
        form=form,
    )
    assert log == [
        f"#1 {INTERNAL}",
        "#1 transferring context 1.5 MB 2.5s done",
        "#1 DONE 2.5s",
        "#2 [1/4] FROM parent",
        "#2 CACHED",
        f"#3 {RUN}",
        "#3 cc -o x",
        "#3 ld -o y",
        "#3 DONE 2.5s",
        "#3 WARNING: an old word",
    ]


def test_a_step_that_was_only_looked_up_is_not_done() -> None:
    looked_up, runs = vertex("r", RUN, completed=True)["vertexes"], vertex("r", RUN)["vertexes"]
    for messages in ([{"vertexes": looked_up + runs}], [{"vertexes": looked_up}, {"vertexes": runs}]):
        progress, log = follow(*messages)
        assert log == [f"#1 {RUN}"]
        assert progress.text == f"0 of 1 steps: {RUN}"
        assert progress.feed(compact(vertex("r", RUN, completed=True))[0]) == ["#1 DONE 2.5s"]


def test_a_last_line_without_an_end_is_in_the_log() -> None:
    progress, log = follow(vertex("r", RUN), output("r", b"no newline"))
    assert log == [f"#1 {RUN}"]
    assert progress.end() == ["#1 no newline"]
    _, log = follow(vertex("r", RUN), output("r", b"no newline"), vertex("r", RUN, completed=True))
    assert log[1:] == ["#1 no newline", "#1 DONE 2.5s"]


def test_a_stream_cut_short_is_in_the_log_as_it_is() -> None:
    progress, _ = follow(vertex("r", RUN))
    assert progress.feed('{"vertexes": [{"digest": "r", ') == []
    assert progress.end() == ['{"vertexes": [{"digest": "r", ']


def test_output_is_text_whatever_its_bytes_are() -> None:
    _, log = follow(output("r", b"10 %\r90 %\r100 %\r\n"), output("r", b"caf\xc3"), output("r", b"\xa9\n\xff\n"))
    assert log == ["#1 100 %", "#1 café", "#1 \N{REPLACEMENT CHARACTER}"]


@pytest.mark.parametrize(
    "message",
    [
        {"vertexes": None, "statuses": 1, "logs": "x", "warnings": [None]},
        {"vertexes": [{}], "statuses": [{}], "logs": [{}], "warnings": [{}]},
        {"logs": [{"vertex": "a", "data": "no base64"}], "statuses": [{"vertex": "a", "current": "many"}]},
        {"statuses": [{"vertex": "a", "id": "x", "current": 10**400, "total": -(10**400)}]},
        {"vertexes": [{"digest": "a", "name": 3, "started": "noon", "completed": "later", "error": 5}]},
    ],
)
def test_messages_of_another_shape_stop_nothing(message: dict[str, Any]) -> None:
    progress, _ = follow(message, vertex("r", RUN))
    assert progress.text.endswith(RUN)


# --- the bar


def test_the_bar_has_the_step_its_place_and_what_it_does() -> None:
    progress, _ = follow(
        vertex("a", "[1/4] FROM parent", completed=True, cached=True),
        vertex("b", RUN, started=False),
        vertex("e", "exporting to oci image format", started=False),
    )
    assert progress.text == "1 of 3 steps"
    for message, said in (
        (vertex("b", RUN + " <<EOF\nmore\nEOF"), f"1 of 3 steps: {RUN} <<EOF"),
        (output("b", b"cc -o x\n\n"), f"1 of 3 steps: {RUN} <<EOF: cc -o x"),
        (vertex("b", RUN, completed=True), "2 of 3 steps"),
        (vertex("e", "exporting"), "2 of 3 steps: exporting"),
        (status("e", "exporting layers", current=0), "2 of 3 steps: exporting: exporting layers"),
        (status("e", "pushing", current=1000, total=2_000_000), "2 of 3 steps: exporting: pushing 1.0 kB of 2.0 MB"),
    ):
        progress.feed(compact(message)[0])
        assert progress.text == said


def test_what_is_not_in_the_dockerfile_is_shown_only_while_nothing_else_runs() -> None:
    progress, _ = follow(vertex("i", INTERNAL), status("i", "transferring context:", current=24))
    assert progress.text == f"{INTERNAL}: transferring context 24 B"
    for message in (vertex("r", RUN), status("i", "transferring context:", current=48)):
        progress.feed(compact(message)[0])
        assert progress.text == f"0 of 1 steps: {RUN}"


def test_of_steps_side_by_side_the_one_last_heard_of_is_shown() -> None:
    progress, _ = follow(vertex("a", "[x 1/2] RUN a"), vertex("b", "[y 1/2] RUN b"), output("a", b"a says\n"))
    assert progress.text == "0 of 2 steps: [x 1/2] RUN a: a says"
    progress.feed(compact(output("b", b"b says\n"))[0])
    assert progress.text == "0 of 2 steps: [y 1/2] RUN b: b says"


def test_before_anything_is_known_the_bar_is_empty() -> None:
    assert Progress().text == ""


# --- the failure


def test_a_failure_is_the_failed_steps_own_output() -> None:
    progress, log = follow(
        vertex("a", "[x 1/2] RUN a"),
        vertex("b", "[y 1/2] RUN b"),
        output("b", b"cc: no such file\n"),
        output("a", b"noise\n" * 99),
        output("b", b"make: *** [x] Error 1"),
        vertex("a", "[x 1/2] RUN a", completed=True, error="context canceled"),
        vertex("b", "[y 1/2] RUN b", completed=True, error="process did not complete: exit code: 2"),
    )
    progress.feed("ERROR: failed to solve")
    expected = ["#2 [y 1/2] RUN b", "cc: no such file", "make: *** [x] Error 1"]
    assert progress.failure == [*expected, "ERROR: process did not complete: exit code: 2"]
    assert log[-1] == "#2 ERROR: process did not complete: exit code: 2"
    assert log[-2] == "#2 make: *** [x] Error 1"


def test_only_the_end_of_a_failed_steps_output_is_kept() -> None:
    text = b"".join(b"line %d\n" % number for number in range(100))
    progress, _ = follow(output("r", text), vertex("r", RUN, completed=True, error="exit code: 1"))
    assert len(progress.failure) == KEPT + 2
    assert progress.failure[1] == f"line {100 - KEPT}"


def test_where_all_were_canceled_the_first_is_told() -> None:
    progress, _ = follow(vertex("r", RUN, completed=True, error="context canceled"))
    assert progress.failure == [f"#1 {RUN}", "ERROR: context canceled"]


def test_without_a_failed_step_buildxs_own_words_explain_it() -> None:
    progress, _ = follow(vertex("r", RUN, completed=True))
    for line in ("Dockerfile:2", ">>> BOGUS x", "ERROR: dockerfile parse error"):
        assert progress.feed(line) == [line]
    assert progress.failure == ["Dockerfile:2", ">>> BOGUS x", "ERROR: dockerfile parse error"]


_TIMES = st.sampled_from(("2026-01-02T03:04:05Z", "2026-01-02", "noon"))
_FIELDS = st.sampled_from(("digest", "vertex", "name", "id", "started", "completed", "error", "data", "current"))
_VALUES = st.none() | st.booleans() | st.integers() | st.sampled_from(("a", "b", "bm90ZQo=", "")) | _TIMES
_LISTS = st.lists(st.dictionaries(_FIELDS, _VALUES, max_size=5) | _VALUES, max_size=2)
_KEYS = st.sampled_from(("vertexes", "statuses", "logs", "warnings"))


@given(st.lists(st.dictionaries(_KEYS, _LISTS | _VALUES, max_size=2), max_size=4))
def test_no_message_makes_it_fail(messages: list[dict[str, Any]]) -> None:
    progress, log = follow(*messages)
    assert all(line.startswith("#") for line in log)
    assert isinstance(progress.text, str) and isinstance(progress.failure, list) and isinstance(progress.end(), list)
