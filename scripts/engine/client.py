"""The engine's API by Docker's SDK, with bounds on what an engine may answer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import docker
import requests
from docker.errors import DockerException, StreamParseError
from docker.transport import UnixHTTPAdapter
from docker.transport.unixconn import UnixHTTPConnectionPool
from requests.adapters import BaseAdapter
from urllib3.exceptions import HTTPError

from scripts.answers import Bounds, WatchedAdapter, bounded, bounds_or, watched

# What the SDK raises where an engine fails: some of it comes from beneath.
FAILURES = (DockerException, StreamParseError, requests.RequestException, HTTPError)
# What the SDK raises for an address that is none, and for answers that are not an engine's.
NONSENSE = (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError)
LARGEST_ANSWER = 1 << 26  # bytes: the log of a container is among them, and what an engine has of images
ANSWER = Bounds(LARGEST_ANSWER)
MOST_LOADING = 14_400  # seconds: an engine says little while it unpacks 30 GB
LOADING = Bounds(LARGEST_ANSWER, MOST_LOADING)
# What has its own bounds: an export (by whoever reads it), and a container's output (by the container's time).
STREAM = Bounds(math.inf, math.inf)
EXPORT = Bounds(math.inf, 600)


class StrangeAnswer(DockerException):
    """The engine answered something that no engine answers."""


@contextmanager
def naming_nonsense() -> Iterator[None]:
    """Turn what the SDK and its callers raise over a strange answer into a StrangeAnswer."""
    try:
        yield
    except NONSENSE as error:
        if isinstance(error, requests.RequestException):  # some are ValueErrors, too
            raise
        raise StrangeAnswer(f"it answers as no engine does ({type(error).__name__})") from error
    except Exception as error:
        if type(error) is not Exception:  # how the SDK says that it can make no container of an answer
            raise
        raise StrangeAnswer("it answers as no engine does") from error


class Client(docker.DockerClient):
    """The SDK's client, each of whose answers has bounds: ANSWER, where no block gives others."""

    def __init__(self, host: str, timeout_s: int) -> None:
        self.api = _Api(base_url=host, timeout=timeout_s)


class _Api(docker.APIClient):
    def mount(self, prefix: str | bytes, adapter: BaseAdapter) -> None:
        if isinstance(adapter, UnixHTTPAdapter):
            adapter = _UnixAdapter(f"http+unix://{adapter.socket_path}", adapter.timeout)
        elif type(adapter) is requests.adapters.HTTPAdapter:
            adapter = WatchedAdapter(ANSWER)
        super().mount(prefix, adapter)


class _UnixAdapter(UnixHTTPAdapter):
    def get_connection(self, url: Any, proxies: Any = None) -> Any:
        with self.pools.lock:
            pool = self.pools.get(url)
            if pool is None:
                pool = self.pools[url] = _Pool(url, self.socket_path, self.timeout, maxsize=self.max_pool_size)
            return pool

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        with bounded(bounds_or(ANSWER)):
            response: requests.Response = super().send(request, *arguments, **options)
            return response


class _Pool(UnixHTTPConnectionPool):
    def _new_conn(self) -> Any:
        return watched(super()._new_conn())
