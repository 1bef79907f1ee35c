"""The feed: appended in order and once, under a lock; what is there already is never touched."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.errors import Undecided
from scripts.feed import RETIRED, RETURNED, Entry, append_entry, cut_reasons, find_retired, read_feed, trace_stamps
from scripts.locks import hold
from scripts.model import Verdict

DIGEST = "sha256:" + "a" * 64
ENTRY = Entry(
    cell="vllm-cu130-5090",
    build="b" * 64,
    digest=DIGEST,
    verdict=Verdict.ACCEPTED,
    reasons=(),
    gpu="NVIDIA GeForce RTX 5090",
    driver="580.95.05",
    finished="2026-11-29T05:00:00Z",
    passed=7,
    total=7,
    tool="0.1.0",
)
REJECTED = replace(ENTRY, verdict=Verdict.REJECTED, reasons=("serve/logprobs: off by 3 nats",), passed=6)


@pytest.fixture
def feed(tmp_path: Path) -> Path:
    return tmp_path / "site" / "feed.jsonl"


def append(feed: Path, *entries: Entry) -> list[bool]:
    return [append_entry(feed, entry, feed.parent / "feed.lock") for entry in entries]


def test_verdicts_stand_in_the_order_in_which_they_fell(feed: Path) -> None:
    other = replace(ENTRY, cell="sglang-cu130-5090")
    assert append(feed, ENTRY, other, REJECTED) == [True, True, True]
    assert read_feed(feed) == ([ENTRY, other, REJECTED], 0)
    line = json.loads(feed.read_text().splitlines()[2])
    assert (line["version"], line["verdict"], line["reasons"]) == (1, "rejected", ["serve/logprobs: off by 3 nats"])


def test_there_is_no_feed_before_the_first_verdict(feed: Path) -> None:
    assert read_feed(feed) == ([], 0)


def test_a_verdict_that_is_the_last_one_already_is_not_said_again(feed: Path) -> None:
    later = replace(ENTRY, finished="2026-11-30T00:00:00Z", tool="0.2.0")
    other = replace(ENTRY, cell="sglang-cu130-5090")
    assert append(feed, ENTRY, other, later) == [True, True, False]
    assert read_feed(feed)[0] == [ENTRY, other]


@pytest.mark.parametrize(
    "news",
    [
        pytest.param(REJECTED, id="verdict"),
        pytest.param(replace(ENTRY, digest="sha256:" + "c" * 64), id="digest"),
        pytest.param(replace(ENTRY, digest="", build="d" * 64), id="build"),
        pytest.param(replace(ENTRY, driver="590.10"), id="driver"),
        pytest.param(replace(ENTRY, gpu="NVIDIA GeForce RTX 5090 D"), id="gpu"),
    ],
)
def test_news_is_said(news: Entry, feed: Path) -> None:
    assert append(feed, replace(ENTRY, digest="") if not news.digest else ENTRY, news) == [True, True]


def test_a_verdict_that_comes_back_is_said_again(feed: Path) -> None:
    assert append(feed, ENTRY, REJECTED, ENTRY) == [True, True, True]


def test_a_rejection_for_another_reason_is_said(feed: Path) -> None:
    assert append(feed, REJECTED, replace(REJECTED, reasons=("serve/health: no answer",))) == [True, True]


def test_what_is_there_is_never_edited_a_torn_line_neither(feed: Path) -> None:
    append(feed, ENTRY)
    whole = feed.read_bytes()
    torn = whole + whole[: len(whole) // 2]
    feed.write_bytes(torn)
    assert read_feed(feed) == ([ENTRY], 1)
    assert append(feed, REJECTED) == [True]
    assert feed.read_bytes().startswith(torn + b"\n")
    assert read_feed(feed) == ([ENTRY, REJECTED], 1)


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "{}",
        "\x00",
        '{"version": 2}',
        json.dumps({"version": 1, "cell": "x"}),
        json.dumps({"version": 1} | vars(ENTRY) | {"passed": "7"}),
        json.dumps({"version": 1} | vars(ENTRY) | {"verdict": "fine"}),
        json.dumps({"version": 1} | vars(ENTRY) | {"gpu": ["x"]}),
        json.dumps({"version": 1} | vars(ENTRY) | {"digest": "sha256:0; reboot"}),
        json.dumps({"version": 1} | vars(ENTRY) | {"reasons": [1]}),
        json.dumps({"version": 1} | vars(ENTRY) | {"more": 1}),
    ],
)
def test_a_line_that_is_none_of_ours_is_counted_and_left(line: str, feed: Path) -> None:
    append(feed, ENTRY)
    with feed.open("a") as stream:
        stream.write(f"{line}\n")
    append(feed, REJECTED)
    assert read_feed(feed) == ([ENTRY, REJECTED], 1)


def test_cells_side_by_side_lose_no_line(feed: Path) -> None:
    entries = [replace(ENTRY, cell=f"cell-{number}") for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda entry: append_entry(feed, entry, feed.parent / "feed.lock"), entries))
    found, unread = read_feed(feed)
    assert sorted(each.cell for each in found) == sorted(each.cell for each in entries) and unread == 0


def test_whoever_holds_the_feed_is_waited_for(feed: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        with hold(feed.parent / "feed.lock", "this test"):
            waiting = pool.submit(append, feed, ENTRY)
            time.sleep(0.3)
            assert not feed.exists() and not waiting.done()
        assert waiting.result() == [True]


def test_a_feed_that_cannot_be_written_is_an_error_with_a_next_step(feed: Path) -> None:
    feed.mkdir(parents=True)
    with pytest.raises(Undecided, match="feed"):
        append(feed, ENTRY)


def test_reasons_are_cut() -> None:
    assert cut_reasons(["a\n  b"]) == ("a b",)
    assert cut_reasons(["x" * 5000]) == ("x" * 300 + " …",)
    many = cut_reasons([str(number) for number in range(20)])
    assert len(many) == 9 and many[-1] == "… and 12 more"


# --- what became of stamps

OTHER = "sha256:" + "c" * 64


def test_a_stamp_is_on_what_was_accepted_last_until_that_falls() -> None:
    open_ = replace(ENTRY, verdict=Verdict.INCONCLUSIVE)
    newer = replace(ENTRY, digest=OTHER)
    told = [
        REJECTED,
        ENTRY,
        ENTRY,
        replace(REJECTED, digest=OTHER),
        newer,
        REJECTED,
        replace(open_, digest=OTHER),
        open_,
    ]
    done = ["none", "given", "kept", "kept", "given", "kept", "taken back", "none"]
    assert trace_stamps(told) == list(zip(told, done, strict=True))


def test_cells_have_stamps_of_their_own() -> None:
    other = replace(REJECTED, cell="sglang-cu130-5090")
    assert [done for _, done in trace_stamps([ENTRY, other, REJECTED])] == ["given", "none", "taken back"]


def test_a_cell_that_was_retired_has_no_stamp_until_it_is_back_and_accepted() -> None:
    gone = replace(ENTRY, reasons=("too old",), service=RETIRED)
    back = replace(gone, reasons=("still asked for",), service=RETURNED)
    told = [ENTRY, gone, ENTRY, REJECTED, replace(ENTRY, digest=OTHER), back, ENTRY]
    assert [done for _, done in trace_stamps(told)] == ["given", "taken back", "none", "none", "none", "none", "given"]
    assert find_retired(told[:5]) == {ENTRY.cell: gone} and find_retired(told) == {}


def test_what_was_retired_is_accepted_again_in_a_line_of_its_own(feed: Path) -> None:
    gone = replace(ENTRY, service=RETIRED)
    assert append(feed, ENTRY, gone, gone, ENTRY) == [True, True, False, True]
    assert read_feed(feed) == ([ENTRY, gone, ENTRY], 0)
    assert [json.loads(line).get("service") for line in feed.read_text().splitlines()] == [None, "retired", None]
    feed.write_text(feed.read_text().replace('"retired"', '"resting"'))
    assert read_feed(feed) == ([ENTRY, ENTRY], 1)
