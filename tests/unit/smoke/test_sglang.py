"""SGLang's smoke script against a stand-in: a server that is right passes, and every way to be wrong fails."""

from __future__ import annotations

import importlib
import io
import json
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.smoke.reference import REFERENCE
from tests.unit.smoke.fake_sglang import FakeSGLang

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "images/sglang"
CHECKS = tomllib.loads((FOLDER / "image.toml").read_text())["smoke"]["checks"]
NAMES = ("smoke", "probe")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The script as a module, with `probe` beside it as in the container; the folder it is shown has the reference."""
    for folder in (ROOT / "scripts/smoke", FOLDER):
        monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("HALLMARK_TOLERANCE", "0.3")
    monkeypatch.delenv("HALLMARK_SERVE_ARGS", raising=False)
    before = {name: sys.modules.pop(name, None) for name in NAMES}
    module = importlib.import_module("smoke")
    assert module.__file__ == str(FOLDER / "smoke.py")
    monkeypatch.setattr(sys.modules["probe"], "SMOKE_DIR", REFERENCE.parent)
    yield module
    for name in NAMES:
        del sys.modules[name]
    sys.modules.update({name: known for name, known in before.items() if known})


def serve(fault: str = "") -> FakeSGLang:
    return FakeSGLang(json.loads(REFERENCE.read_bytes()), fault)


def failure(check: Callable[[], None]) -> str:
    """Why a check failed; anything but a failure with a reason is a fault of the script."""
    with pytest.raises(sys.modules["probe"].Failed) as caught:
        check()
    return str(caught.value)


# --- what it starts and sends


def test_it_starts_what_users_start(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    words = script.command()
    assert (words[0], words[-1]) == ("serve-sglang", "--enable-cache-report")
    assert dict(zip(words[1:-1:2], words[2:-1:2], strict=True)) == {
        "--model-path": str(script.MODEL),
        "--served-model-name": "hallmark",
        "--dtype": "bfloat16",
        "--host": "127.0.0.1",
        "--port": "30000",
    }
    monkeypatch.setenv("HALLMARK_SERVE_ARGS", "--page-size 64 --log-level 'very low'")
    assert script.command()[len(words) :] == ["--page-size", "64", "--log-level", "very low"]


def test_the_prefix_begins_like_nothing_else_and_is_longer_than_a_page(script: Any) -> None:
    reference = json.loads(REFERENCE.read_bytes())
    firsts = {entry["token_ids"][0] for entry in [*reference["prompts"], reference["chat"]]}
    assert script.PREFIX[0] not in {0, *firsts}
    assert 256 < len(script.PREFIX) < 2000 and max(script.PREFIX) < 256


# --- the whole script


def run(script: Any, monkeypatch: pytest.MonkeyPatch, fault: str = "") -> dict[str, dict[str, Any]]:
    """Run the script with a stand-in for its server; the results by check."""

    class Server(FakeSGLang):
        def __init__(self, command: list[str], port: int) -> None:
            super().__init__(json.loads(REFERENCE.read_bytes()), fault)
            assert (command, port) == (script.command(), script.PORT)

        def __enter__(self) -> Server:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def start(self, within_s: float) -> None:
            if fault == "dies":
                raise sys.modules["probe"].Failed("the server has ended with exit code 3")

    stream = io.StringIO()
    monkeypatch.setattr(script, "Server", Server)
    monkeypatch.setattr(script.Report, "on_stdout", lambda: script.Report(stream))
    script.main()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["check"] for line in lines] == CHECKS, "all that image.toml demands, in the order that it says"
    return {line["check"]: line for line in lines}


@pytest.mark.parametrize("fault", ["", "zero"])
def test_a_server_that_is_right_passes_every_check(fault: str, script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    results = run(script, monkeypatch, fault)
    assert {line["outcome"] for line in results.values()} == {"passed"}, results
    numbers = {name: line["measured"] for name, line in results.items()}
    assert numbers["logprobs"]["max_prompt_difference_nats"] == 0
    assert numbers["logprobs"]["max_generated_difference_nats"] == 0
    cached = [numbers["radix-cache"][name] for name in ("prefix_tokens", "cached_first", "cached_second")]
    assert cached == [510, 0, 509]
    assert numbers["unknown-model"]["completion_status"] == 200
    assert numbers["shutdown"]["exit_code"] == 0


def test_a_server_that_does_not_start_is_reported_and_the_script_goes_on(
    script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = run(script, monkeypatch, "dies")
    assert (results["health"]["outcome"], results["health"]["detail"]) == (
        "failed",
        "the server has ended with exit code 3",
    )


# --- each check, and how it rejects


@pytest.mark.parametrize(
    ("check", "fault", "detail"),
    [
        ("models", "two models", "expected ['hallmark']"),
        ("completions", "another tokenizer", "tokens [256, 256, "),
        ("completions", "another token", "tokens ["),
        ("completions", "another text", "the answer is 'text', and /generate answered"),
        ("completions", "no text", "the answer has no content"),
        ("completions", "stop", "it finished for 'stop', expected 'length'"),
        ("completions", "one too many", "usage counts [27, 16, 44] tokens"),
        ("chat", "another token", "tokens ["),
        ("chat", "two starts", "and /generate answered"),
        ("chat", "another text", "the answer is 'text', and /generate answered"),
        ("chat", "no text", "the answer has no content"),
        ("chat", "stop", "it finished for 'stop'"),
        ("chat", "one too many", "usage counts [38, 16, 55] tokens"),
        ("repeatable", "drift", "tokens ["),
        ("repeatable", "another token", "tokens ["),
        ("logprobs", "far prompt", "values differ by up to 1"),
        ("logprobs", "far answer", "values differ by up to 1"),
        ("logprobs", "one too few", "25 values where 26 were expected"),
        ("radix_cache", "no cache", "0 of 510 tokens were cached when a prefix was sent again"),
        ("radix_cache", "no details", "0 of 510 tokens were cached"),
        ("radix_cache", "always cached", "509 tokens of a prefix were cached before it was ever sent"),
        ("unknown_model", "any name", "/v1/models/no-such-model was answered with 200, expected 404"),
        ("unknown_model", "error", "answered with 500, expected 200 or 404"),
        ("shutdown", "is killed", "exit code -9 after SIGTERM; Killed"),
        ("shutdown", "is terminated", "exit code -15 after SIGTERM"),
        ("shutdown", "fails at the end", "exit code 1 after SIGTERM"),
    ],
)
def test_a_server_that_is_wrong_fails(check: str, fault: str, detail: str, script: Any) -> None:
    function = getattr(script, f"check_{check}")
    arguments = [serve(fault), {}][: function.__code__.co_argcount]
    assert detail in failure(lambda: function(*arguments))


def test_the_numbers_of_a_cache_that_is_off_are_kept(script: Any) -> None:
    measured: dict[str, Any] = {}
    failure(lambda: script.check_radix_cache(serve("no cache"), measured))
    assert (measured["cached_first"], measured["cached_second"]) == (0, 0)


def test_a_server_that_refuses_an_unknown_model_passes_too(script: Any) -> None:
    measured: dict[str, Any] = {}
    script.check_unknown_model(serve("refusal"), measured)
    assert measured == {"completion_status": 404}


@pytest.mark.parametrize(("fault", "code"), [("kills itself", -9), ("a shell says so", 137)])
def test_a_server_that_says_goodbye_may_kill_itself(fault: str, code: int, script: Any) -> None:
    measured: dict[str, Any] = {}
    script.check_shutdown(serve(fault), measured)
    assert measured == {"exit_code": code}


def test_an_answer_that_is_not_200_fails(script: Any) -> None:
    assert "answered with 400: {'error'" in failure(lambda: script.answer((400, {"error": "no"})))
