"""The one client that every engine is asked by: a completion that is streamed over HTTP, and when its parts came.

It is our own. Upstream's clients each come with one engine: `vllm bench serve` is in vLLM's image alone and
`sglang.bench_serving` in SGLang's, aiperf in neither; each would have to be brought into an image that was not tested
with it, and they count differently. What is measured is little: when the first and the last part of an answer came,
and how many tokens the engine says that it had. Times are taken where a part is read, before it is looked at.

Standard library only: it runs inside the candidate, beside `probe`.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from probe import POLL_S, Failed, Server, require

NAME = "hallmark"
DATA = b"data:"
DONE = b"[DONE]"


@dataclass(frozen=True)
class Answer:
    """A streamed answer: seconds from the request to its first and to its last part, and its tokens.

    `cached` are those of the prompt that the engine had in its cache, as it says itself.
    """

    first_s: float
    last_s: float
    tokens: int
    cached: int

    @property
    def per_token_s(self) -> float:
        """The time of each token after the first."""
        return (self.last_s - self.first_s) / (self.tokens - 1)


def connect(port: int, timeout_s: float) -> http.client.HTTPConnection:
    """A connection to a server in this container; no proxy is asked and no redirect followed."""
    return http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)


def ask(server: Server, prompt: Sequence[int], count: int, within_s: float) -> Answer:
    """Have `count` tokens generated greedily after a prompt of token ids, and read them as they come.

    Raises Failed for an answer that is refused, empty, short, without text, not streamed, or not whole in time, and
    once the server has died.
    """
    server.require_alive()
    body = {
        "model": NAME,
        "prompt": list(prompt),
        "max_tokens": count,
        "temperature": 0,
        "skip_special_tokens": False,  # so that each token is a text
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    try:
        with closing(connect(server.port, within_s)) as connection:
            started = time.monotonic()
            connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
            return read_answer(connection.getresponse(), started, count, within_s)
    except TimeoutError as error:
        server.require_alive()
        raise Failed(f"the answer stalled: it was not whole within {within_s:.0f} s") from error
    except (OSError, http.client.HTTPException) as error:
        time.sleep(POLL_S)  # a crash closes the connection a moment before the process has ended
        server.require_alive()
        raise Failed(f"the answer broke off: {type(error).__name__}: {error}") from error


def read_answer(response: http.client.HTTPResponse, started: float, count: int, within_s: float) -> Answer:
    """What a response to a request at `started` streams. Raises Failed, and what reading it raises."""
    if response.status != 200:
        raise Failed(f"answered with {response.status}: {response.read(500).decode(errors='replace')}")
    times: list[float] = []
    texts: list[str] = []
    usage: dict[str, Any] = {}
    whole = False
    for data in read_events(response):
        now = time.monotonic() - started
        if now > within_s:
            raise TimeoutError
        if whole := data == DONE:
            break
        event = decode(data)
        usage = event.get("usage") or usage
        for choice in event.get("choices") or ():
            times.append(now)
            texts.append(choice.get("text") or "")
    if not whole:  # http.client ends a stream that breaks off as one that is over
        raise ConnectionError(f"the stream ended without {DONE.decode()}, after {len(times)} parts")
    tokens = usage.get("completion_tokens")
    require(tokens == count, f"{tokens or 'no'} of {count} tokens were answered")
    told = sum(bool(text) for text in texts)  # the last part may say that it is over, and nothing else
    require(told > 0, f"{count} tokens were answered, and no text")
    require(told > 1, f"{count} tokens came in one part: the answer was not streamed")
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Answer(times[0], times[-1], count, cached)


def read_events(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The data of each server-sent event, as it comes."""
    while line := response.readline():
        if line.startswith(DATA):
            yield line[len(DATA) :].strip()


def decode(data: bytes) -> dict[str, Any]:
    """An event's object. Raises Failed for what is none, and for an error that an engine reports in place of one."""
    try:
        event = json.loads(data)
    except ValueError:
        event = None
    if not isinstance(event, dict) or "error" in event:
        raise Failed(f"an event of the stream is {data[:500].decode(errors='replace')}")
    return event
