"""The few expressions of GitHub Actions that the workflows use; whatever else one holds is an error.

Syntax: https://docs.github.com/actions/reference/workflows-and-actions/expressions
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<name>[A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*)*)|(?P<sign>==|!=|&&|\|\||[!()]))"
)
_PLACE = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
STATUS = ("success", "failure", "always", "cancelled")


class Unknown(Exception):
    """An expression that nobody here can evaluate, or that names what there is not: a typing error, most likely."""


class Scope:
    """What names stand for, and what the status functions say."""

    def __init__(self, contexts: Mapping[str, Any], *, failed: bool = False) -> None:
        self.contexts = contexts
        self.status = {"success": not failed, "failure": failed, "always": True, "cancelled": False}

    def find(self, name: str) -> Any:
        """The value of `context.key.key`. Raises Unknown for a name that is not there."""
        value: Any = self.contexts
        for number, key in enumerate(parts := name.split(".")):
            if not isinstance(value, Mapping) or key not in value:
                raise Unknown(f"`{name}`: there is no {'.'.join(parts[: number + 1])}")
            value = value[key]
        return value


def interpolate(value: Any, scope: Scope) -> Any:
    """A value of a workflow with every `${{ … }}` in it evaluated; one that is nothing else keeps its type."""
    if isinstance(value, Mapping):
        return {key: interpolate(item, scope) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item, scope) for item in value]
    if not isinstance(value, str):
        return value
    if (whole := _PLACE.fullmatch(value.strip())) and value.count("${{") == 1:
        return evaluate(whole[1], scope)
    return _PLACE.sub(lambda match: as_text(evaluate(match[1], scope)), value)


def holds(condition: str, scope: Scope) -> bool:
    """Whether an `if:` lets a job or a step run: without a status function, only where nothing failed before."""
    text = condition.strip()
    whole = _PLACE.fullmatch(text)
    expression = whole[1] if whole else text
    if not re.search(rf"\b(?:{'|'.join(STATUS)})\(", expression) and not scope.status["success"]:
        return False
    return bool(evaluate(expression, scope))


def as_text(value: Any) -> str:
    """A value as it is put into a text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else json.dumps(value)


def evaluate(text: str, scope: Scope) -> Any:
    """The value of an expression. Raises Unknown for what it does not know."""
    parser = _Parser(text, scope)
    value = parser.any_of()
    if parser.rest:
        raise Unknown(f"`{text.strip()}`: what is {parser.rest[0][1]!r}?")
    return value


class _Parser:
    def __init__(self, text: str, scope: Scope) -> None:
        self.text, self.scope = text.strip(), scope
        self.rest = self._read()

    def _read(self) -> list[tuple[str, str]]:
        found, at = [], 0
        while at < len(self.text):
            match = _TOKEN.match(self.text, at)
            if match is None or match.lastgroup is None:
                raise Unknown(f"`{self.text}`: what is {self.text[at:].strip()!r}?")
            found.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()
        return found

    def _take(self, *signs: str) -> str:
        if self.rest and self.rest[0][0] == "sign" and self.rest[0][1] in signs:
            return self.rest.pop(0)[1]
        return ""

    def any_of(self) -> Any:
        value = self.all_of()
        while self._take("||"):
            other = self.all_of()
            value = value or other
        return value

    def all_of(self) -> Any:
        value = self.compared()
        while self._take("&&"):
            other = self.compared()
            value = other if value else value
        return value

    def compared(self) -> Any:
        value = self.single()
        while sign := self._take("==", "!="):
            other = self.single()
            value = (_fold(value) == _fold(other)) is (sign == "==")
        return value

    def single(self) -> Any:
        if self._take("!"):
            return not self.single()
        if self._take("("):
            value = self.any_of()
            if not self._take(")"):
                raise Unknown(f"`{self.text}`: a bracket is not closed")
            return value
        if not self.rest:
            raise Unknown(f"`{self.text}` ends too early")
        kind, word = self.rest.pop(0)
        if kind == "text":
            return word[1:-1].replace("''", "'")
        if kind == "name":
            return self._call(word) if self._take("(") else self.scope.find(word)
        raise Unknown(f"`{self.text}`: what is {word!r}?")

    def _call(self, name: str) -> Any:
        given = [] if self._take(")") else [self.any_of()]
        if given and not self._take(")"):
            raise Unknown(f"`{self.text}`: {name} with several arguments")
        functions: dict[tuple[str, int], Callable[..., Any]] = {("fromJSON", 1): json.loads}
        functions |= {(word, 0): (lambda value=value: value) for word, value in self.scope.status.items()}
        if (name, len(given)) not in functions:
            raise Unknown(f"`{self.text}`: there is no {name} of {len(given)}")
        return functions[name, len(given)](*given)


def _fold(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else "" if value is None else value
