"""What a build is doing: BuildKit's own account of its steps, for the progress bar, for the log and for errors."""

from __future__ import annotations

import base64
import binascii
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from scripts.buildkit.stream import ObjectStream
from scripts.files import format_size

Describe = Callable[[str], str | None]
KEPT = 25  # lines of a step's output that an error quotes
_INTERNAL = "[internal]"  # as the names of steps begin that no Dockerfile has
_CANCELED = re.compile(r"\bcancell?ed\b")


@dataclass
class _Step:
    """A vertex of the build's graph. `doing` is the part of it that was last heard of, `partial` an unfinished line."""

    number: int
    name: str = ""
    heard: int = 0  # the latest of the messages about it
    announced: bool = False
    running: bool = False
    done: bool = False
    error: str = ""
    doing: str = ""
    said: str = ""  # by whoever reads its output
    partial: bytes = b""
    output: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT))


class Progress:
    """Follows one build from the lines of `--progress=rawjson`.

    `describe` may say how far a step is that prints of its own accord how far it is, from a line of its output.
    """

    def __init__(self, describe: Describe | None = None) -> None:
        self._describe_line = describe
        self._stream = ObjectStream()
        self._steps: dict[str, _Step] = {}
        self._words: deque[str] = deque(maxlen=KEPT)
        self._messages = 0
        self._text: str | None = ""

    def feed(self, line: str) -> list[str]:
        """What a line of BuildKit's adds to a log that people read: `#3 [2/4] RUN make`, `#3 cc -o x`, `#3 DONE 1.2s`.

        A line that is not BuildKit's, such as an error of buildx's own, comes back as it is.
        """
        return list(self._tell(self._stream.feed(line)))

    def end(self) -> list[str]:
        """The rest of the log, once nothing more comes."""
        lines = list(self._tell(self._stream.end()))
        return lines + [line for step in self._steps.values() for line in _flush(step)]

    @property
    def text(self) -> str:
        """What the build is doing now, and how far it is: `3 of 7 steps: [2/4] RUN make: cc -o x`."""
        if self._text is None:  # most lines are a part of a message, and change nothing
            self._text = self._describe()
        return self._text

    def _describe(self) -> str:
        steps = [step for step in self._steps.values() if step.name and not step.name.startswith(_INTERNAL)]
        running = [step for step in self._steps.values() if step.running]
        count = f"{sum(step.done for step in steps)} of {len(steps)} steps" if steps else ""
        if not running:
            return count
        step = max(running, key=lambda step: (not step.name.startswith(_INTERNAL), step.heard))
        if step.said:  # tells all there is to know, and a line has little room
            return step.said
        return ": ".join(part for part in (count, step.name.partition("\n")[0], step.doing) if part)

    @property
    def failure(self) -> list[str]:
        """What explains a failed build: the failed step, the end of its output and its error; else buildx's own words.

        Steps that ended because another had failed explain nothing.
        """
        failed = [step for step in self._steps.values() if step.error]
        if not failed:
            return list(self._words)
        step = next((step for step in failed if not _CANCELED.search(step.error)), failed[0])
        return [f"#{step.number} {step.name}", *step.output, f"ERROR: {step.error}"]

    def _tell(self, items: Iterable[dict[str, Any] | str]) -> Iterator[str]:
        for item in items:
            if isinstance(item, str):
                self._words.append(item)
                yield item
                continue
            self._messages, self._text = self._messages + 1, None
            # Of a step that a message tells of twice, the last counts: looked up in the cache first, and then run.
            for vertex in {str(each.get("digest")): each for each in _objects(item, "vertexes")}.values():
                yield from self._tell_vertex(vertex)
            for status in _objects(item, "statuses"):
                yield from self._tell_status(status)
            for log in _objects(item, "logs"):
                yield from self._tell_output(log)
            for warning in _objects(item, "warnings"):
                text = _decode(warning.get("short")).decode("utf-8", "replace").strip()
                yield f"#{self._step(warning, 'vertex').number} WARNING: {text}"

    def _tell_vertex(self, vertex: Mapping[str, Any]) -> Iterator[str]:
        step = self._step(vertex, "digest")
        step.name = str(vertex.get("name") or step.name)
        completed, cached = bool(vertex.get("completed")), bool(vertex.get("cached"))
        # What ends at once was mostly only looked up in the cache, and is run after that.
        ended, step.done = completed and (step.running or (cached and not step.done)), completed
        step.running = bool(vertex.get("started")) and not completed
        if (step.running or completed) and not step.announced:
            step.announced = True
            yield f"#{step.number} {step.name}"
        if not completed:
            return
        yield from _flush(step)
        error = str(vertex.get("error") or "")
        if error and error != step.error:
            step.error = error
            yield f"#{step.number} ERROR: {error}"
        elif ended and not error:
            yield f"#{step.number} {'CACHED' if cached else 'DONE' + _seconds(vertex)}"

    def _tell_status(self, status: Mapping[str, Any]) -> Iterator[str]:
        step = self._step(status, "vertex")
        what = str(status.get("id") or "").rstrip(":")
        current, total = _number(status.get("current")), _number(status.get("total"))
        amount = format_size(current) if current else ""
        step.doing = " ".join(part for part in (what, amount, f"of {format_size(total)}" if total else "") if part)
        if status.get("completed") and what:
            yield f"#{step.number} {what}{' ' + amount if amount else ''}{_seconds(status)} done"

    def _tell_output(self, log: Mapping[str, Any]) -> Iterator[str]:
        step = self._step(log, "vertex")
        *lines, step.partial = (step.partial + _decode(log.get("data"))).split(b"\n")
        for line in lines:
            text = _add_output(step, line)
            yield f"#{step.number} {text}"
            if self._describe_line and (said := self._describe_line(text)):
                step.doing = step.said = said

    def _step(self, item: Mapping[str, Any], key: str) -> _Step:
        step = self._steps.setdefault(str(item.get(key)), _Step(len(self._steps) + 1))
        step.heard = self._messages
        return step


def _flush(step: _Step) -> Iterator[str]:
    if step.partial:
        line, step.partial = step.partial, b""
        yield f"#{step.number} {_add_output(step, line)}"


def _add_output(step: _Step, line: bytes) -> str:
    # Of a line that a program wrote over, as progress bars do, the last counts.
    text = line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace")
    step.output.append(text)
    step.doing = step.said or text.strip() or step.doing
    return text


def _objects(item: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    values = item.get(key)
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _decode(data: object) -> bytes:
    try:
        return base64.b64decode(str(data or ""))
    except (binascii.Error, ValueError):
        return b""


def _number(value: object) -> int:
    return value if isinstance(value, int) and abs(value) < 1 << 63 else 0


def _seconds(item: Mapping[str, Any]) -> str:
    try:
        started, completed = (datetime.fromisoformat(str(item.get(key))) for key in ("started", "completed"))
        return f" {(completed - started).total_seconds():.1f}s"
    except (ValueError, TypeError):  # no times, or one of them without its zone
        return ""
