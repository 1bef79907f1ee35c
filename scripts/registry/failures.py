"""What goes wrong with a registry, in words that say what to do and never carry a secret.

Two kinds are kept apart: `RegistryRefused` (it said no; asking again will not help) and `RegistryUnavailable` (it could
not be reached, or failed; asking again may help). `DigestMismatch` is the third: it answered with other bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import requests

from scripts.answers import TooLarge, find_unbounded
from scripts.errors import Problem, Undecided
from scripts.text import one_line

ASK_OWNER = "ask who runs the registry"
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
    cause = f"HTTP {status}{_said(response)}"
    response.close()
    if status == 429 or status >= 500:
        error = RegistryUnavailable(
            f"the registry failed: {cause}", place, "see that its disk is not full, then run the same command again"
        )
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


def _said(response: requests.Response) -> str:
    """The registry's own first error, shortened and made printable; empty where its reply has none."""
    try:
        error = response.json()["errors"][0]
        text = f" {error['code']}: {error.get('message', '')}"[:200]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, requests.RequestException):
        return ""
    return one_line(text)
