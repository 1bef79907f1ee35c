"""Requests to a registry: time limits, retries, proxies, and saying who we are when it asks."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import requests

from scripts.answers import Bounds, WatchedAdapter, bounded
from scripts.oci.descriptor import LARGEST_JSON
from scripts.reference import Repository
from scripts.registry.auth import Credentials, find_credentials, parse_challenges
from scripts.registry.failures import (
    ASK_OWNER,
    CHECK_NETWORK,
    RegistryRefused,
    RegistryUnavailable,
    judge,
    naming_failures,
    public,
)

ATTEMPTS = 4
FIRST_WAIT = 1.0  # seconds, doubled after each attempt
LONGEST_WAIT = 60.0  # seconds; a registry that asks for more is asked again after this
REDIRECTS = 5
TIMEOUT = (30.0, 300.0)  # seconds to connect, and to wait for a reply: a registry may re-hash a large layer first

ANSWER = Bounds(LARGEST_JSON)

T = TypeVar("T")


class Transport:
    """Sends requests for repositories on any host, as whoever the credentials say we are there."""

    def __init__(
        self,
        session: requests.Session | None = None,
        credentials: Callable[[str], Credentials | None] = find_credentials,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._session = session or _make_session()
        self._credentials = credentials
        self._sleep = sleep
        self._authorizations: dict[tuple[Repository, bool], str] = {}

    def retrying(self, call: Callable[[], T]) -> T:
        """Make an idempotent call, up to ATTEMPTS times while the registry is unavailable; the last error is raised."""
        for attempt in range(ATTEMPTS - 1):
            try:
                return call()
            except RegistryUnavailable as error:
                self._sleep(min(max(error.wait, FIRST_WAIT * 2**attempt), LONGEST_WAIT))
        return call()

    def send(
        self,
        repository: Repository,
        method: str,
        url: str,
        expected: tuple[int, ...],
        bounds: Bounds | None = None,
        **options: Any,
    ) -> requests.Response:
        """Send once (twice where the registry first asks who we are) and return a reply with an expected status.

        `bounds` are those of the answer, ANSWER where none are given; a token has those.
        """
        # Reading and writing have a token each, so that a layer is never sent with one that only allows reading.
        key = repository, method not in ("GET", "HEAD")
        at_home = _origin(url) == _origin(repository.root)  # an upload may go elsewhere: no secret goes with it
        place = f"{method} {public(url)}"
        with naming_failures(place):
            known = self._authorizations.get(key, "") if at_home else ""
            with bounded(bounds or ANSWER):
                response = self._once(repository, method, url, known, **options)
            # Where a redirect led elsewhere, it is not the registry that asks.
            if response.status_code == 401 and at_home and _origin(response.url) == _origin(repository.root):
                answer = self._authorize(repository, response.headers.get("WWW-Authenticate", ""))
                if answer:
                    self._authorizations[key] = answer
                    response.close()
                    with bounded(bounds or ANSWER):
                        response = self._once(repository, method, url, answer, **options)
            return judge(response, expected, place, repository.host)

    def _once(
        self,
        repository: Repository,
        method: str,
        url: str,
        authorization: str,
        body: bytes | Path | dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> requests.Response:
        with ExitStack() as stack:
            data: Any = body
            if isinstance(body, Path):  # an empty file is sent as b"": a stream of no length would go out chunked
                data = stack.enter_context(body.open("rb")) if body.stat().st_size else b""
            if method not in ("GET", "HEAD"):
                return self._request(repository, method, url, authorization, headers, data=data, **options)
            options["allow_redirects"] = False
            response = self._request(repository, method, url, authorization, headers, data=data, **options)
            # Redirects to where blobs are kept. `requests` would follow them, too, but for a host that it finds in
            # ~/.netrc it would send a password of its own.
            options.pop("params", None)
            for _ in range(REDIRECTS):
                target = self._session.get_redirect_target(response)
                if not target:
                    break
                target = urljoin(response.url, target)
                response.close()
                known = authorization if _origin(target) == _origin(url) else ""
                response = self._request(repository, method, target, known, headers, data=data, **options)
            return response

    def _request(
        self,
        repository: Repository,
        method: str,
        url: str,
        authorization: str,
        headers: dict[str, str] | None,
        **options: Any,
    ) -> requests.Response:
        try:
            return self._session.request(
                method,
                url,
                # Identity: a manifest or a blob is its bytes, not what some proxy's compression makes of them.
                headers={"Accept-Encoding": "identity", **(headers or {})},
                auth=_header(authorization),
                timeout=TIMEOUT,
                # No proxy leads to this machine, whatever the environment says for the world outside.
                proxies={"no_proxy": "127.0.0.1,localhost,::1"} if repository.is_loopback else None,
                **options,
            )
        except requests.RequestException:
            raise
        except ValueError:  # `requests` reads the address of a redirect even where it is not to follow it
            cause = "the registry redirects to an address that cannot be read"
            raise RegistryRefused(cause, f"{method} {public(url)}", ASK_OWNER) from None

    def _authorize(self, repository: Repository, challenge: str) -> str:
        """The Authorization header that answers a challenge; empty where we have nothing to answer with."""
        challenges = parse_challenges(challenge)
        if not challenges:
            return ""
        credentials = self._credentials(repository.host)
        if "bearer" in challenges:
            return "Bearer " + self._token(repository, challenges["bearer"], credentials)
        return credentials.basic if credentials else ""

    def _token(self, repository: Repository, challenge: dict[str, str], credentials: Credentials | None) -> str:
        """Ask the token service that a Bearer challenge names; without credentials, for a token for anybody."""
        realm, service, scope = (challenge.get(name, "") for name in ("realm", "service", "scope"))
        place = f"token service {public(realm)}"
        if not realm.startswith(("https://", f"{urlsplit(repository.root).scheme}://")):
            raise RegistryRefused("not an https address; no credentials were sent", place, ASK_OWNER)
        with naming_failures(place):
            if credentials and credentials.is_identity_token:
                form = {"grant_type": "refresh_token", "refresh_token": credentials.secret, "client_id": "hallmark"}
                form |= {"service": service, "scope": scope}
                reply = self._once(repository, "POST", realm, "", body=form, allow_redirects=False)
            else:
                query = {"service": service, "scope": scope.split()}
                reply = self._once(repository, "GET", realm, credentials.basic if credentials else "", params=query)
            judge(reply, (200,), place, repository.host)
            try:
                body = reply.json()
                return str(body.get("token") or body["access_token"])
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                raise RegistryUnavailable("the reply holds no token", place, CHECK_NETWORK) from None


def _make_session() -> requests.Session:
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, WatchedAdapter(ANSWER))
    return session


def _header(authorization: str) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """Sets the header, or nothing: without this `requests` would send a password of its own from ~/.netrc."""

    def apply(request: requests.PreparedRequest) -> requests.PreparedRequest:
        if authorization:
            request.headers["Authorization"] = authorization
        return request

    return apply


def _origin(url: str) -> tuple[str, str | None, int | None] | None:
    """Scheme, host and port, by which two URLs belong to the same server; None for a URL that cannot be read."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None
