"""What buildx prints, made up: BuildKit's messages in the forms that old and new versions give them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Message = dict[str, Any]

STARTED, COMPLETED = "2026-01-02T03:04:05.123456789Z", "2026-01-02T03:04:07.623456789Z"


def indented(*messages: Message) -> list[str]:
    """As buildx 0.13 prints them."""
    return [line for message in messages for line in json.dumps(message, indent=2).split("\n")]


def compact(*messages: Message) -> list[str]:
    """As later versions do."""
    return [json.dumps(message) for message in messages]


FORMS: dict[str, Callable[..., list[str]]] = {"indented": indented, "compact": compact}


def vertex(digest: str, name: str, *, completed: bool = False, started: bool = True, **fields: Any) -> Message:
    """A step that runs, or has ended."""
    times = ({"started": STARTED} if started else {}) | ({"completed": COMPLETED} if completed else {})
    return {"vertexes": [{"digest": digest, "name": name, **times, **fields}]}


def status(digest: str, what: str, *, completed: bool = False, **fields: Any) -> Message:
    times = {"started": STARTED} | ({"completed": COMPLETED} if completed else {})
    return {"statuses": [{"vertex": digest, "id": what, **times, **fields}]}


def output(digest: str, data: bytes) -> Message:
    return {"logs": [{"vertex": digest, "stream": 1, "data": base64.b64encode(data).decode()}]}


@dataclass
class FakeBuilder:
    """Each build prints and ends as the next of `runs` says; the last one stays."""

    runs: Sequence[tuple[int, Sequence[str]]] = ((0, ()),)
    alive: bool = True
    where: str = "a fake"
    disk: Path = Path("/")
    ran: list[list[str]] = field(default_factory=list)
    pruned: int = 0
    stopped: int = 0
    on_run: Callable[[], None] = lambda: None

    def prune(self, *, everything: bool = False) -> None:
        self.pruned += 1

    def run(self, arguments: Sequence[str], on_line: Callable[[str], None]) -> int:
        code, lines = self.runs[min(len(self.ran), len(self.runs) - 1)]
        self.ran.append(list(arguments))
        self.on_run()
        for line in lines:
            on_line(line)
        return code

    def stop(self) -> None:
        self.stopped += 1

    def answers(self) -> bool:
        return self.alive
