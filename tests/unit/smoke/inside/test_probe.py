from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import probe
import pytest
from probe import (
    Failed,
    Report,
    Server,
    agree,
    compare,
    compare_tokens,
    find_likeliest,
    load_reference,
    mean_tolerance,
    require,
    tolerance,
)

LIMIT = 1e-3


def run_check(error: BaseException | None = None, **measured: Any) -> dict[str, Any]:
    """The line reported for a check that fills in some numbers and then raises, or ends."""
    stream = io.StringIO()
    with Report(stream).check("example") as numbers:
        numbers |= measured
        if error:
            raise error
    (line,) = stream.getvalue().splitlines()
    return dict(json.loads(line, parse_constant=pytest.fail))


def test_a_check_that_ends_has_passed() -> None:
    line = run_check(count=3)
    assert (line["check"], line["outcome"], line["detail"]) == ("example", "passed", "")
    assert line["measured"]["count"] == 3 and line["measured"]["seconds"] >= 0


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (Failed("too far"), "too far"),
        (ValueError("bad"), "ValueError: bad"),
        (AssertionError(), "AssertionError: "),
        (ImportError("no torch"), "ImportError: no torch"),
        (SystemExit(0), "SystemExit: 0"),
    ],
)
def test_whatever_is_raised_fails_the_check(error: BaseException, detail: str) -> None:
    line = run_check(error, count=3)
    assert (line["outcome"], line["detail"]) == ("failed", detail)
    assert line["measured"]["count"] == 3


def test_an_interruption_ends_the_script_without_a_line() -> None:
    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt), Report(stream).check("example"):
        raise KeyboardInterrupt
    assert stream.getvalue() == ""


def test_a_failure_reports_its_numbers() -> None:
    assert run_check(Failed("too far", max_difference=0.5))["measured"]["max_difference"] == 0.5


def test_numbers_that_json_lacks_are_reported_as_text() -> None:
    measured = run_check(nan=math.nan, deep=[math.inf], path=Path("/a"))["measured"]
    assert (measured["nan"], measured["deep"], measured["path"]) == ("NaN", ["Infinity"], "/a")


def test_a_detail_of_several_lines_stays_one_line() -> None:
    assert run_check(Failed("first\nsecond"))["detail"] == "first\nsecond"


def test_require() -> None:
    require(True, "unused")
    with pytest.raises(Failed, match="reason"):
        require(False, "reason")


def test_compare_gives_the_largest_difference() -> None:
    assert compare([-1.0, -2.0005, 0], [-1.0, -2.0, 0.0], LIMIT) == pytest.approx(5e-4)
    assert compare([1.0], [1.0], 0.0) == 0


@pytest.mark.parametrize(
    "values",
    [
        [],
        [-1.0],
        [-1.0, -2.0, -3.0],
        [-1.0, math.nan],
        [math.nan, -2.0],
        [-1.0, -math.inf],
        [-1.0, None],
        [-1.0, True],
        [-1.0, "-2.0"],
        [-1.0, -2.1],
        [-1.1, -2.0],
    ],
)
def test_compare_fails_on_missing_malformed_or_far_values(values: list[Any]) -> None:
    with pytest.raises(Failed):
        compare(values, [-1.0, -2.0], LIMIT)


def test_compare_fails_when_there_is_nothing_to_compare() -> None:
    with pytest.raises(Failed, match="0 values"):
        compare([], [], LIMIT)


@pytest.mark.parametrize("wanted", [math.nan, math.inf])
def test_compare_fails_on_a_broken_reference(wanted: float) -> None:
    with pytest.raises(Failed):
        compare([wanted], [wanted], LIMIT)


def test_compare_fails_on_a_limit_that_is_no_number() -> None:
    with pytest.raises(Failed):
        compare([1.0], [1.0], math.nan)


def test_compare_reports_how_far_values_are() -> None:
    with pytest.raises(Failed, match=r"up to 0\.5") as caught:
        compare([1.5], [1.0], LIMIT)
    assert caught.value.measured == {"max_difference": 0.5}


@pytest.mark.parametrize("tokens", [None, [], [1], [1, 3], [1, 2, 3]])
def test_other_tokens_fail(tokens: list[int] | None) -> None:
    with pytest.raises(Failed, match=r"expected \[1, 2\]"):
        compare_tokens(tokens, [1, 2])


def test_equal_tokens_pass_and_none_at_all_fail() -> None:
    compare_tokens([1, 2], [1, 2])
    with pytest.raises(Failed):
        compare_tokens([], [])


def test_tolerance_has_a_default_and_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HALLMARK_TOLERANCE", raising=False)
    assert tolerance() == 1e-3
    monkeypatch.setenv("HALLMARK_TOLERANCE", "0.5")
    assert tolerance() == 0.5
    monkeypatch.delenv("HALLMARK_MEAN_TOLERANCE", raising=False)
    assert mean_tolerance() == 2e-4
    monkeypatch.setenv("HALLMARK_MEAN_TOLERANCE", "0.25")
    assert mean_tolerance() == 0.25


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "wide"])
def test_a_tolerance_that_would_accept_anything_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALLMARK_TOLERANCE", text)
    monkeypatch.setenv("HALLMARK_MEAN_TOLERANCE", text)
    for read in (tolerance, mean_tolerance):
        with pytest.raises(ValueError):
            read()


@pytest.fixture
def bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALLMARK_TOLERANCE", "0.05")
    monkeypatch.setenv("HALLMARK_MEAN_TOLERANCE", "0.008")


TEXTS: list[tuple[list[float | None], list[float]]] = [([-1.0] * 9, [-1.0] * 9), ([-2.04], [-2.0])]


def test_texts_agree_by_the_farthest_and_on_average(bounds: None) -> None:
    measured: dict[str, Any] = {}
    agree(TEXTS, measured)
    assert measured["max_difference_nats"] == pytest.approx(0.04) and measured["values"] == 10
    assert measured["mean_difference_nats"] == pytest.approx(0.004)
    assert (measured["tolerance_nats"], measured["mean_tolerance_nats"]) == (0.05, 0.008)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([-2.06], "differ by up to 0.06"),
        ([None], "value 0 is None"),
        ([], "0 values where 1 were expected"),
        ([math.nan], "value 0 is nan"),
    ],
)
def test_one_value_too_far_or_missing_is_enough(values: list[float | None], said: str, bounds: None) -> None:
    with pytest.raises(Failed, match=said):
        agree([*TEXTS, (values, [-2.0])], {})


TOP = {"token_ids": [[7, 3], [5, 9]], "logprobs": [[-1.0, -2.0], [-1.5, -1.6]]}


def test_the_likeliest_tokens_of_each_position_are_paired_by_token() -> None:
    listed = [{3: -2.01, 7: -1.0, 200: -9.0}, {5: -1.52, 8: -1.6}]
    assert find_likeliest(listed, TOP, 0.05) == ([-1.0, -2.01, -1.52], [-1.0, -2.0, -1.5])


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ([{7: -1.0, 3: -2.0}], "1 positions, expected 2"),
        ([{7: -1.0}, {5: -1.5, 9: -1.6}], "1 tokens are listed at position 0"),
        ([{7: -1.0, 3: -2.0}, {5: -1.5, 8: -1.7, 1: -9.0}], "token 9 is not among the likeliest at position 1"),
    ],
)
def test_a_likely_token_that_is_not_listed_fails(listed: list[dict[int, float]], said: str) -> None:
    with pytest.raises(Failed, match=said):
        find_likeliest(listed, TOP, 0.05)


def test_many_that_are_a_little_off_are_too_many(bounds: None) -> None:
    with pytest.raises(Failed, match=r"differ by 0\.012 on average, and 0\.008 is accepted"):
        agree([([-1.0, -1.024], [-1.0, -1.0])], {})


def test_load_reference_reads_the_smoke_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SMOKE_DIR", tmp_path)
    with pytest.raises(FileNotFoundError):
        load_reference()
    (tmp_path / "reference.json").write_text('{"seed": 0}')
    assert load_reference() == {"seed": 0}


def test_a_server_that_never_started_fails_every_request() -> None:
    server = Server(["no-such-command"], 8000)
    for act in (lambda: server.request("GET", "/v1/models"), lambda: server.stop(1)):
        with pytest.raises(Failed, match="did not start: no-such-command"):
            act()


class Ended:
    """A process that has ended with exit code 3."""

    pid = 0

    def poll(self) -> int:
        return 3


def test_a_dead_server_fails_every_request_and_quotes_its_log_once(tmp_path: Path) -> None:
    server = Server(["serve"], 8000)
    server.log = tmp_path / "log"
    server.log.write_text("RuntimeError: no kernel image\n" + "".join(f"frame {number}\n" for number in range(50)))
    server.process = Ended()  # type: ignore[assignment]
    with pytest.raises(Failed, match="exit code 3") as first:
        server.request("GET", "/v1/models")
    assert "RuntimeError: no kernel image" in str(first.value) and str(first.value).endswith("frame 49")
    with pytest.raises(Failed) as second:
        server.stop(1)
    assert str(second.value) == "the server has ended with exit code 3"
