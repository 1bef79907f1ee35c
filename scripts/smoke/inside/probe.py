"""What every image's smoke script shares: reporting, comparing, and running a server. Standard library only.

It runs inside the candidate, under whatever Python the image has (3.10 or later), beside the script that imports it.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

SMOKE_DIR = Path(os.environ.get("HALLMARK_SMOKE_DIR", "/hallmark"))
MODEL = SMOKE_DIR / "model"

POLL_S = 0.2
REQUEST_S = 120.0
LOG_LINES = 500
ERROR_LINE = re.compile(r"(^|[\])] )[\w.]+(Error|Exception)\b")


class Failed(Exception):
    """A check came out wrong: why, and the numbers that show it."""

    def __init__(self, detail: str, **measured: Any) -> None:
        super().__init__(detail)
        self.measured = measured


def require(condition: bool, detail: str) -> None:
    """Raise Failed with `detail` unless the condition holds."""
    if not condition:
        raise Failed(detail)


class Report:
    """The results as the host reads them: one JSON object a line."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    @classmethod
    def on_stdout(cls) -> Report:
        """Take standard output for results alone: what libraries and children print there goes to standard error."""
        sys.stdout.flush()
        stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        return cls(stream)

    @contextmanager
    def check(self, name: str) -> Iterator[dict[str, Any]]:
        """Report the block as passed if it ends and failed if it raises; it may fill in the numbers it is handed."""
        measured: dict[str, Any] = {}
        outcome, detail = "passed", ""
        started = time.monotonic()
        try:
            yield measured
        except Failed as failure:
            outcome, detail = "failed", str(failure)
            measured |= failure.measured
        except (Exception, SystemExit) as error:  # a library that exits must not end the script as if all were well
            outcome, detail = "failed", f"{type(error).__name__}: {error}"
            traceback.print_exc(file=sys.stderr)
        measured["seconds"] = round(time.monotonic() - started, 3)
        measured = json.loads(json.dumps(measured, default=str), parse_constant=str)  # JSON has no NaN: it goes as text
        line = {"check": name, "outcome": outcome, "detail": detail, "measured": measured}
        print(json.dumps(line), file=self.stream, flush=True)


def run_checks(checks: Mapping[str, Callable[[dict[str, Any]], None]]) -> None:
    """Run what the scenario asks for, in its order, whatever becomes of those before.

    Each is handed a dictionary for its numbers.
    """
    report = Report.on_stdout()
    for name in requested_checks():
        with report.check(name) as measured:
            require(name in checks, f"there is no such check; there are: {', '.join(checks)}")
            checks[name](measured)


def requested_checks() -> list[str]:
    """The names of the checks that the scenario asks for, in its order: HALLMARK_CHECKS."""
    return os.environ["HALLMARK_CHECKS"].split()


def serve_arguments() -> list[str]:
    """What the scenario adds to a server's arguments: HALLMARK_SERVE_ARGS, as one shell-quoted string."""
    return shlex.split(os.environ.get("HALLMARK_SERVE_ARGS", ""))


def load_reference() -> dict[str, Any]:
    """The numbers that a correct implementation gives for the model, computed in float64."""
    return dict(json.loads((SMOKE_DIR / "reference.json").read_bytes()))


def tolerance() -> float:
    """The largest log-probability difference accepted, in nats: HALLMARK_TOLERANCE, or 1e-3."""
    return _read_bound("HALLMARK_TOLERANCE", 1e-3)


def mean_tolerance() -> float:
    """The largest mean of such differences accepted, in nats: HALLMARK_MEAN_TOLERANCE, or 2e-4."""
    return _read_bound("HALLMARK_MEAN_TOLERANCE", 2e-4)


def _read_bound(name: str, default: float) -> float:
    value = float(os.environ.get(name) or default)
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} is {value}: it must be a finite number of nats, 0 or more")
    return value


def agree(texts: Sequence[tuple[Sequence[float | None], Sequence[float]]], measured: dict[str, Any]) -> None:
    """The log-probabilities of texts are the reference's, within what is accepted of the farthest and on average.

    A fault that moves all of them a little shows in the mean, where the farthest is still near.
    """
    measured |= {"tolerance_nats": tolerance(), "mean_tolerance_nats": mean_tolerance()}
    measured["max_difference_nats"] = max(compare(values, expected, tolerance()) for values, expected in texts)
    pairs = [(value or 0.0, wanted) for values, expected in texts for value, wanted in zip(values, expected)]  # noqa: B905
    mean = sum(abs(value - wanted) for value, wanted in pairs) / len(pairs)
    measured |= {"mean_difference_nats": mean, "values": len(pairs)}
    require(mean <= mean_tolerance(), f"values differ by {mean:.3g} on average, and {mean_tolerance():.3g} is accepted")


def compare(values: Sequence[float | None], expected: Sequence[float], limit: float) -> float:
    """The largest absolute difference. Raises Failed above the limit, and where a value is missing, NaN or infinite."""
    require(0 < len(values) == len(expected), f"{len(values)} values where {len(expected)} were expected")
    largest = 0.0
    for position, (value, wanted) in enumerate(zip(values, expected)):  # noqa: B905 (the lengths are equal)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value - wanted):
            raise Failed(f"value {position} is {value}, expected {wanted:.6f}")
        largest = max(largest, abs(value - wanted))
    if not largest <= limit:  # a limit that is NaN fails too
        raise Failed(f"values differ by up to {largest:.3g}, and {limit:.3g} is accepted", max_difference=largest)
    return largest


def find_likeliest(
    listed: Sequence[Mapping[int, float]], top: Mapping[str, Any], limit: float
) -> tuple[list[float], list[float]]:
    """Of each position's likeliest tokens by the reference (`top`), an engine's log-probabilities and the reference's.

    `listed` is what the engine says of as many tokens or more, by token. One that it does not list has to be as
    unlikely, within the limit, as the last that it does. Raises Failed.
    """
    require(len(listed) == len(top["token_ids"]), f"{len(listed)} positions, expected {len(top['token_ids'])}")
    values, expected = [], []
    for place, found in enumerate(listed):
        tokens, logprobs = top["token_ids"][place], top["logprobs"][place]
        require(len(found) >= len(tokens), f"{len(found)} tokens are listed at position {place}")
        least = sorted(found.values())[-len(tokens)]
        for token, wanted in zip(tokens, logprobs):  # noqa: B905 (the lengths are equal)
            if token in found:
                values.append(found[token])
                expected.append(wanted)
            else:
                cause = f"token {token} is not among the likeliest at position {place}, and should be at {wanted:.3f}"
                require(wanted <= least + limit, f"{cause}; the last is at {least:.3f}")
    return values, expected


def compare_tokens(tokens: Sequence[int] | None, expected: Sequence[int]) -> None:
    """Raise Failed, showing both, unless the token sequences are equal and not empty."""
    require(bool(expected) and list(tokens or []) == list(expected), f"tokens {tokens}, expected {expected}")


class Server:
    """A server under test on 127.0.0.1, its output in a log file; as a context manager it leaves no process behind."""

    def __init__(self, command: Sequence[str], port: int) -> None:
        self.command = list(command)
        self.port = port
        self.log = Path(tempfile.gettempdir()) / f"hallmark-server-{port}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.death = ""

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        if self.log.exists():
            print(*self.log_lines()[-LOG_LINES:], sep="\n", file=sys.stderr)

    def start(self, within_s: float) -> None:
        """Start the process and wait until GET /health answers 200; its death is noticed at once."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            self.require_alive()
            with suppress(OSError, http.client.HTTPException):
                if self._exchange("GET", "/health", None, timeout_s=5)[0] == 200:
                    return
            time.sleep(POLL_S)
        self.kill()
        raise Failed(f"not healthy within {within_s:.0f} s; {self.excerpt()}")

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """The status and the body (decoded if JSON, else text) of a request. Raises Failed once the server has died."""
        self.require_alive()
        try:
            return self._exchange(method, path, body, REQUEST_S)
        except (OSError, http.client.HTTPException) as error:
            time.sleep(POLL_S)  # a crash closes the connection a moment before the process has ended
            self.require_alive()
            raise Failed(f"{method} {path}: {type(error).__name__}: {error}") from error

    def _exchange(self, method: str, path: str, body: dict[str, Any] | None, timeout_s: float) -> tuple[int, Any]:
        # http.client knows no proxies and follows no redirects, and any status is an answer.
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)) as connection:
            connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
            is_json = response.headers.get_content_type() == "application/json"
            return response.status, json.loads(text) if is_json and text else text

    def stop(self, within_s: float) -> int:
        """Send SIGTERM and wait; the exit code (negative: a signal's). Raises Failed where it had to be killed."""
        process = self.require_alive()
        process.terminate()
        try:
            return process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed(f"still running {within_s:.0f} s after SIGTERM; {self.excerpt()}") from None

    def kill(self) -> None:
        """End whatever still runs of the server's process group."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def require_alive(self) -> subprocess.Popen[bytes]:
        """The running process. Who first finds it ended quotes the log, later ones only say so."""
        if self.process is None:
            raise Failed(f"the server did not start: {self.command[0]}")
        if (status := self.process.poll()) is None:
            return self.process
        known, self.death = self.death, f"the server has ended with exit code {status}"
        raise Failed(known or f"{self.death}; {self.excerpt()}")

    def excerpt(self) -> str:
        """The log's lines that name an error, and its last ones: a server's cause of death stands far above its end."""
        lines = self.log_lines()
        errors = dict.fromkeys(line[:500] for line in lines if ERROR_LINE.search(line))
        return "\n".join(["its log has:", *list(errors)[:10], "and ends:", *lines[-10:]])

    def log_lines(self) -> list[str]:
        """What the server has printed so far."""
        return self.log.read_text(errors="replace").splitlines()
