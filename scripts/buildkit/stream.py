"""What `docker buildx build --progress=rawjson` prints, line by line: JSON objects, and what is none.

Older versions of buildx print an object over many indented lines, newer ones one object a line. Between and after them
come buildx's own words, such as `ERROR: …`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

Item = dict[str, Any] | str  # an object, or a line of text

_DECODER = json.JSONDecoder()
_INSIDE = (" ", "\t", "}", "]")  # how a line begins that goes on with an indented object


class ObjectStream:
    """Puts objects together again. An object that is cut short comes out as the text that it is, in its place."""

    def __init__(self) -> None:
        self._held: list[str] = []

    def feed(self, line: str) -> Iterator[Item]:
        """What a line, without its end, completes."""
        if self._held and not line.startswith(_INSIDE):
            yield from self.end()
        if not self._held and not line.startswith("{"):
            yield line
            return
        self._held.append(line)
        # Only these lines can complete an object: to try each line would take a time that grows with the square.
        if len(self._held) == 1 or line.startswith("}"):
            yield from self._decode()

    def end(self) -> Iterator[Item]:
        """What is left when nothing more comes, as lines of text."""
        held, self._held = self._held, []
        yield from held

    def _decode(self) -> Iterator[Item]:
        text = "\n".join(self._held)
        while text.startswith("{"):
            try:
                value, end = _DECODER.raw_decode(text)
            except (ValueError, RecursionError):  # besides bad JSON: numbers too long, objects too deep
                break
            yield value
            text = text[end:].lstrip()
        self._held = text.split("\n") if text else []
