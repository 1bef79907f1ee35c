"""Goes into an image, where it makes a right server go wrong: a `Config` of uvicorn's gets a faulty application.

Standard library only. Of an ASGI application it changes what requests by POST come to, and no other.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

LAST = 50  # the request that a server does not live to answer
COMPANY = 16  # how many requests have to be there at once for an answer to be empty
# What was generated, in the answers of vLLM and of SGLang; what they say of the prompt is left as it is.
GENERATED = frozenset({"text", "tokens", "token_ids", "token_logprobs", "output_ids", "output_token_logprobs"})

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Dying:
    """An application whose process is killed at its 50th request."""

    def __init__(self, app: Any) -> None:
        self.app, self.asked = app, 0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        self.asked += scope.get("method") == "POST"
        if self.asked == LAST:
            os.kill(os.getpid(), signal.SIGKILL)
        await self.app(scope, receive, send)


class Empty:
    """An application that answers well, but with nothing generated where many ask at once."""

    def __init__(self, app: Any) -> None:
        self.app, self.at_once = app, 0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        if scope.get("method") != "POST":
            await self.app(scope, receive, send)
            return
        self.at_once += 1
        try:
            await self.app(scope, receive, Emptied(send) if self.at_once >= COMPANY else send)
        finally:
            self.at_once -= 1


class Emptied:
    """Sends an answer on once it is complete, without what was generated."""

    def __init__(self, send: Send) -> None:
        self.send, self.start, self.body = send, dict[str, Any](), b""

    async def __call__(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.start = message
            return
        self.body += message.get("body", b"")
        if message.get("more_body"):
            return
        body = json.dumps(empty(json.loads(self.body))).encode()
        headers = [(name, value) for name, value in self.start["headers"] if name.lower() != b"content-length"]
        await self.send({**self.start, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
        await self.send({"type": "http.response.body", "body": body})


def empty(value: Any) -> Any:
    """An answer in which every text and list of what was generated is empty."""
    if isinstance(value, list):
        return [empty(each) for each in value]
    if not isinstance(value, dict):
        return value
    gone = {name for name, each in value.items() if name in GENERATED and isinstance(each, (str, list))}
    return {name: each[:0] if name in gone else empty(each) for name, each in value.items()}


FAULTS = {"dying": Dying, "empty": Empty}


def plant(config: Any, fault: str) -> None:
    """Let every application that a class like uvicorn's `Config` loads have the fault."""
    load = config.load

    def load_faulty(self: Any) -> None:
        load(self)
        self.loaded_app = FAULTS[fault](self.loaded_app)

    config.load = load_faulty
