"""What goes wrong with a registry, in words that say what to do and never carry a secret.

Two kinds are kept apart: `RegistryRefused` (it said no; asking again will not help) and `RegistryUnavailable` (it could
not be reached, or failed; asking again may help). `DigestMismatch` is the third: it answered with other bytes.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import requests

from scripts.answers import TooLarge, find_unbounded
from scripts.errors import Problem, Undecided
from scripts.text import one_line

ASK_OWNER = "ask who runs the registry"
_FULL = (errno.ENOSPC, errno.EDQUOT)
CHECK_NETWORK = "check the address, the network and the proxy, then run the same command again"


class RegistryRefused(Undecided):
    """The registry answered, and the answer is no (401, 403, 404, 400 and the like)."""


class RegistryUnavailable(Undecided):
    """The registry could not be reached or failed; `wait` is how many seconds it asked for (0: it did not say)."""

    wait: float = 0.0


class DigestMismatch(Undecided):
    """What the registry holds, or says that it holds, is not what was sent or asked for."""

    def __init__(self, cause: str | list[Problem], place: str = "", next_step: str = "") -> None:
        mend = "see that its disk is not full and remove the bad bytes there: sending them again does not mend them"
        super().__init__(cause, place, next_step or mend)


@contextmanager
def naming_failures(place: str) -> Iterator[None]:
    """Turn what `requests` raises into RegistryUnavailable; its own text is left out, for it quotes whole URLs."""
    try:
        yield
    except requests.RequestException as error:
        if unbounded := find_unbounded(error):
            kind = RegistryRefused if isinstance(unbounded, TooLarge) else RegistryUnavailable
            raise kind(f"not read on: {unbounded.strerror}", place, ASK_OWNER) from None
        cause = f"the registry could not be reached ({_reason(error)})"
        raise RegistryUnavailable(cause, place, CHECK_NETWORK) from None


def judge(response: requests.Response, expected: tuple[int, ...], place: str, host: str) -> requests.Response:
    """The response where its status is expected. Raises RegistryUnavailable for 429 and 5xx, else RegistryRefused."""
    status = response.status_code
    if status in expected:
        return response
    error_said = _first_error(response)
    cause = f"HTTP {status}{_said(error_said)}"
    response.close()
    if status == 429 or status >= 500:
        failed, step = "the registry failed", "see that its disk is not full, then run the same command again"
        if status == 507 or _is_full(error_said.get("detail")):
            failed, step = "the registry's disk is full", "make room there, then run the same command again"
        error = RegistryUnavailable(f"{failed}: {cause}", place, step)
        asked = response.headers.get("Retry-After", "")
        error.wait = float(asked) if re.fullmatch(r"[0-9]{1,6}", asked) else 0.0
        raise error
    next_step = "read what the registry logged about this request"
    if status in (401, 403):
        next_step = f"`docker login {host}` as a user who may do this there"
    elif status == 404:
        next_step = "check the repository's name; some registries want it created before the first push"
    raise RegistryRefused(f"the registry refused: {cause}", place, next_step)


def public(url: str) -> str:
    """A URL without what may be secret in it: user, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that cannot be read"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _reason(error: BaseException | None) -> str:
    """The innermost words of the operating system, such as "Connection refused", or the kind of error."""
    name = type(error).__name__
    while error is not None:
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        error = error.__cause__ or error.__context__
    return name


def _first_error(response: requests.Response) -> dict[str, Any]:
    """The registry's own first error; empty where its reply has none."""
    try:
        return dict(response.json()["errors"][0])
    except (ValueError, LookupError, TypeError, RecursionError, requests.RequestException):
        return {}


def _said(error: dict[str, Any]) -> str:
    """An error in the registry's own words, shortened and made printable."""
    return one_line(f" {error['code']}: {error.get('message', '')}"[:200]) if "code" in error else ""


def _is_full(detail: object) -> bool:
    """Whether an error's detail, as docker-registry gives it, is that there was no room for a file, or none allowed."""
    inner = detail.get("Enclosed") if isinstance(detail, dict) else None
    if isinstance(inner, dict) and isinstance(inner.get("Err"), int):
        return inner["Err"] in _FULL
    return isinstance(detail, str) and any(os.strerror(number).lower() in detail.lower() for number in _FULL)
