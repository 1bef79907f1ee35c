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

from scripts.smoke.models.zoo import find_reference
from tests.unit.smoke.fake_sglang import FakeSGLang

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "images/sglang"
REFERENCE = find_reference("llama")
SCENARIOS = tomllib.loads((FOLDER / "image.toml").read_text())["scenario"]
CHECKS = SCENARIOS[0]["checks"]
NAMES = ("smoke", "caches", "guarding", "nvml", "probe", "serving", "sweeping")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """The script as a module, with `probe` beside it as in the container; the folder it is shown has the reference."""
    for folder in (ROOT / "scripts/smoke/inside", FOLDER):
        monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("HALLMARK_TOLERANCE", "0.3")
    monkeypatch.setenv("HALLMARK_MEAN_TOLERANCE", "0.1")
    monkeypatch.setenv("HALLMARK_DTYPE", "bfloat16")
    monkeypatch.setenv("HALLMARK_CHECKS", " ".join(CHECKS))
    monkeypatch.setenv("HALLMARK_START_S", "420")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("HALLMARK_SERVE_ARGS", raising=False)
    before = {name: sys.modules.pop(name, None) for name in NAMES}
    module = importlib.import_module("smoke")
    assert module.__file__ == str(FOLDER / "smoke.py")
    (tmp_path / "reference.json").write_bytes(REFERENCE.read_bytes())
    monkeypatch.setattr(sys.modules["probe"], "SMOKE_DIR", tmp_path)
    yield module
    for name in NAMES:
        sys.modules.pop(name, None)
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
    assert {"guard", *script.CHECKS} == {check for scenario in SCENARIOS for check in scenario["checks"]}
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
    monkeypatch.setattr(script, "check_libraries", lambda server, cuda, measured: None)
    report = sys.modules["probe"].Report(stream)
    monkeypatch.setattr(sys.modules["probe"].Report, "on_stdout", lambda: report)
    script.main()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["check"] for line in lines] == CHECKS, "all that image.toml demands, in the order that it says"
    return {line["check"]: line for line in lines}


@pytest.mark.parametrize("fault", ["", "zero"])
def test_a_server_that_is_right_passes_every_check(fault: str, script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    results = run(script, monkeypatch, fault)
    assert {line["outcome"] for line in results.values()} == {"passed"}, results
    numbers = {name: line["measured"] for name, line in results.items()}
    assert numbers["logprobs"]["max_difference_nats"] == numbers["logprobs"]["mean_difference_nats"] == 0
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
        ("completions", "one too many", "usage counts [25, 10, 36] tokens"),
        ("chat", "another token", "tokens ["),
        ("chat", "two starts", "and /generate answered"),
        ("chat", "another text", "the answer is 'text', and /generate answered"),
        ("chat", "no text", "the answer has no content"),
        ("chat", "stop", "it finished for 'stop'"),
        ("chat", "one too many", "usage counts [38, 10, 49] tokens"),
        ("repeatable", "drift", "tokens ["),
        ("repeatable", "another token", "tokens ["),
        ("logprobs", "far prompt", "values differ by up to 1"),
        ("logprobs", "far answer", "values differ by up to 1"),
        ("logprobs", "far likeliest", "values differ by up to 1"),
        ("logprobs", "one too few", "23 values where 24 were expected"),
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
    assert measured["exit_code"] == code and measured["figures"]


def test_an_answer_that_is_not_200_fails(script: Any) -> None:
    assert "answered with 400: {'error'" in failure(lambda: script.answer((400, {"error": "no"})))


def test_under_load_it_asks_for_tokens_by_tokens_and_reads_what_each_was_worth(
    script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(script, "press", lambda server, ask, limit, measured: asked.append((ask([1, 2, 3], 4), limit)))
    script.check_load(serve(), {})
    [(answer, limit)] = asked
    assert len(answer.tokens) == len(answer.logprobs) == 4 and limit == 0.3


@pytest.mark.parametrize("refused", ["/start_profile", "/stop_profile"])
def test_kernels_are_read_from_a_profile_of_the_references_prompts(
    refused: str, script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, paths = serve(), list[str]()

    def request(method: str, path: str, body: Any = None) -> tuple[int, Any]:
        paths.append(path)
        return (200, "") if path.endswith("_profile") else FakeSGLang.request(server, method, path, body)

    monkeypatch.setattr(server, "request", request)
    monkeypatch.setattr(script, "read_kernels", lambda folder: {"gemm": 1})
    measured: dict[str, Any] = {}
    script.check_kernels_in_use(server, measured)
    assert measured["kernels"] == {"gemm": 1}
    assert (paths[0], paths[-1]) == ("/start_profile", "/stop_profile") and "/generate" in paths[1:-1]
    monkeypatch.setattr(server, "request", lambda method, path, body=None: (503 if path == refused else 200, {}))
    monkeypatch.setattr(script, "generate", lambda *_, **__: {})
    assert f"{refused} is answered with 503" in failure(lambda: script.check_kernels_in_use(server, {}))


def test_of_prompts_of_every_size_it_reads_what_each_token_was_worth(
    script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[Any] = []
    monkeypatch.setattr(script, "sweep", lambda read, reference, measured: swept.append(read([1, 2, 3])))
    script.check_sizes(serve(), {})
    assert swept == [[-1.0, -1.0]]
