"""Blobs as streams: dropped connections, wrong bytes, and redirects that carry no secret away."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import requests

from scripts.errors import Undecided
from scripts.files import CHUNK
from scripts.oci.descriptor import digest_of
from scripts.registry.auth import Credentials
from scripts.registry.failures import DigestMismatch, RegistryRefused, RegistryUnavailable
from scripts.registry.transport import ATTEMPTS
from tests.unit.registry.fake_registry import (
    REPOSITORY,
    FakeRegistry,
    cut_short,
    drop,
    fail,
    refuse,
    reply,
    wrong_bytes,
)

DATA = bytes(range(256)) * 10_000  # three chunks
DIGEST = digest_of(DATA)
USER = Credentials("someone", "the-password")
CDN = "https://cdn.example.net/bytes?signature=secret"


class Breaking(io.RawIOBase):
    """A body that breaks off with an error, as a connection does."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    def read(self, size: int | None = -1, /) -> bytes:
        if data := self._stream.read(-1 if size is None else size):
            return data
        raise requests.exceptions.ChunkedEncodingError("IncompleteRead: https://x/?signature=secret")


def break_at(*places: int) -> Callable[[FakeRegistry, requests.PreparedRequest], requests.Response]:
    """Break each connection after so many bytes of what it was to send; the ones that follow hold."""
    left = list(places)

    def fault(registry: FakeRegistry, request: requests.PreparedRequest) -> requests.Response:
        answer = registry.answer(request)
        if left:
            answer.raw = Breaking(answer.raw.read(left.pop(0)))
        return answer

    return fault


def fake_with(data: bytes = DATA) -> FakeRegistry:
    fake = FakeRegistry()
    fake.blobs[digest_of(data)] = data
    return fake


def read(
    fake: FakeRegistry, credentials: Credentials | None = None, *, digest: str = DIGEST, size: int = len(DATA)
) -> bytes:
    with fake.client(credentials).open_blob(REPOSITORY, digest, size) as stream:
        return stream.read()


def ranges_of(fake: FakeRegistry) -> list[str]:
    return [request.headers.get("Range", "") for request in fake.requests]


@pytest.mark.parametrize("data", [DATA, b"", b"x", DATA[:CHUNK], DATA[: CHUNK + 1]], ids=len)
def test_a_blob_is_read_in_one_request(data: bytes) -> None:
    fake = fake_with(data)
    assert read(fake, digest=digest_of(data), size=len(data)) == data
    assert ranges_of(fake) == ([""] if data else [])


def test_small_reads_give_all_that_was_asked_for() -> None:
    fake = fake_with()
    with fake.client().open_blob(REPOSITORY, DIGEST, len(DATA)) as stream:
        parts = [stream.read(999_999) for _ in range(4)]
    assert [len(part) for part in parts] == [999_999, 999_999, 560_002, 0]
    assert b"".join(parts) == DATA


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
@pytest.mark.parametrize("places", [(0,), (1,), (CHUNK + 7,), (CHUNK, CHUNK + 9), (CHUNK, 5, CHUNK)])
def test_a_broken_connection_is_taken_up_where_it_broke(places: tuple[int, ...], ranges: bool) -> None:
    fake = fake_with()
    fake.ranges = ranges
    fake.faults, fake.from_then_on = {1: break_at(*places)}, True
    assert read(fake) == DATA
    assert len(fake.requests) == len(places) + 1


def test_what_is_missing_is_asked_for_and_nothing_else() -> None:
    fake = fake_with()
    fake.faults, fake.from_then_on = {1: break_at(CHUNK, CHUNK)}, True
    assert read(fake) == DATA
    assert ranges_of(fake) == ["", f"bytes={CHUNK}-", f"bytes={2 * CHUNK}-"]


@pytest.mark.parametrize("fault", [drop, fail])
def test_a_registry_that_fails_to_answer_is_asked_again(fault: Any) -> None:
    fake = fake_with()
    fake.faults = {1: fault, 2: break_at(CHUNK), 3: fault, 4: fault}
    assert read(fake) == DATA
    assert fake.slept == [1, 1, 2, 4], "an answer in between is a new beginning"


def test_a_connection_that_never_gives_a_byte_ends() -> None:
    fake = fake_with()
    fake.faults, fake.from_then_on = {1: break_at(*[0] * 99)}, True
    with pytest.raises(RegistryUnavailable, match=f"GET {REPOSITORY.url}/blobs/{DIGEST}") as caught:
        read(fake)
    assert len(fake.requests) == ATTEMPTS
    assert "secret" not in str(caught.value)


def test_a_body_that_just_ends_early_is_a_broken_connection() -> None:
    fake = fake_with()
    fake.faults = {1: cut_short}
    assert read(fake) == DATA
    assert len(fake.requests) == 2


def test_another_part_than_the_one_asked_for_is_refused() -> None:
    fake = fake_with()
    fake.faults = {1: break_at(CHUNK)}
    fake.gate = lambda request: reply(request, 206, DATA, {"Content-Range": "bytes 0-9/10"})
    with pytest.raises(RegistryUnavailable, match=f"another part than the one from byte {CHUNK}"):
        read(fake)


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) - CHUNK, 1])
def test_more_bytes_than_declared_are_a_mismatch(size: int) -> None:
    with pytest.raises(DigestMismatch, match="other bytes under this digest"):
        read(fake_with(), size=size)


def test_other_bytes_are_a_mismatch_before_the_last_of_them_is_handed_out() -> None:
    fake = fake_with()
    fake.blobs[DIGEST] = DATA[:-1] + b"!"
    received = 0
    stream = fake.client().open_blob(REPOSITORY, DIGEST, len(DATA))
    with stream, pytest.raises(DigestMismatch, match=DIGEST):
        while data := stream.read(100_000):
            received += len(data)
    assert 0 < received < len(DATA)


def test_an_empty_blob_has_the_digest_of_nothing() -> None:
    with pytest.raises(DigestMismatch):
        read(fake_with(), size=0)


def test_wrong_bytes_after_a_broken_connection_are_found() -> None:
    fake = fake_with()
    fake.faults = {1: break_at(CHUNK), 2: wrong_bytes}
    with pytest.raises(DigestMismatch):
        read(fake)


def test_a_blob_that_is_not_there_is_refused() -> None:
    with pytest.raises(RegistryRefused, match="HTTP 404"):
        read(FakeRegistry())


# --- redirects


class Redirecting(FakeRegistry):
    """Wants a password, and then sends everybody who asks for a blob to another host."""

    def __init__(self, target: str = CDN) -> None:
        super().__init__()
        self.blobs[DIGEST] = DATA
        self.target = target
        self.elsewhere: list[requests.PreparedRequest] = []
        self.gate = self.guard

    def guard(self, request: requests.PreparedRequest) -> requests.Response | None:
        if str(request.url).startswith("https://cdn."):
            self.elsewhere.append(request)
            return self.serve(request)
        if request.headers.get("Authorization") != USER.basic:
            return refuse(request, 401, "UNAUTHORIZED", {"WWW-Authenticate": 'Basic realm="x"'})
        if "/blobs/" in str(request.url):
            return reply(request, 307, headers={"Location": self.target})
        return None

    def serve(self, request: requests.PreparedRequest) -> requests.Response:
        asked = request.headers.get("Range", "bytes=0-")
        start = int(asked[6:-1])
        if start:
            return reply(request, 206, DATA[start:], {"Content-Range": f"bytes {start}-9/9"})
        answer = reply(request, 200, DATA)
        if request.method == "GET":
            answer.raw = Breaking(DATA[:CHUNK])
        return answer


def test_a_redirect_is_followed_without_the_password_and_with_the_range() -> None:
    fake = Redirecting()
    assert read(fake, USER) == DATA
    assert [str(request.url) for request in fake.elsewhere] == [CDN] * 2
    assert [request.headers.get("Range") for request in fake.elsewhere] == [None, f"bytes={CHUNK}-"]
    assert not any("Authorization" in request.headers for request in fake.elsewhere)
    # An address with a signature runs out: each attempt asks the registry for a fresh one.
    assert sum(request not in fake.elsewhere for request in fake.requests) == 3


def test_a_password_from_netrc_does_not_go_to_the_other_host(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password hunter2\nmachine cdn.example.net login someone password hunter2\n")
    monkeypatch.setenv("NETRC", str(netrc))
    fake = Redirecting()
    assert read(fake, USER) == DATA
    assert not any("Authorization" in request.headers for request in fake.elsewhere)


def test_a_size_is_asked_for_through_a_redirect() -> None:
    fake = Redirecting()
    fake.serve = lambda request: reply(request, 200, headers={"Content-Length": "7"})  # type: ignore[method-assign]
    assert fake.client(USER).blob_size(REPOSITORY, DIGEST) == 7
    assert [request.method for request in fake.requests] == ["HEAD"] * 3


@pytest.mark.parametrize("challenge", ['Basic realm="x"', 'Bearer realm="https://cdn.example.net/token",service="x"'])
def test_the_other_host_does_not_get_the_password_by_asking_for_it(challenge: str) -> None:
    fake = Redirecting()
    fake.serve = lambda request: refuse(request, 401, "NO", {"WWW-Authenticate": challenge})  # type: ignore[method-assign]
    with pytest.raises(RegistryRefused):
        read(fake, USER)
    assert len(fake.elsewhere) == 1
    assert not any("Authorization" in request.headers for request in fake.elsewhere)


def test_a_redirect_on_the_same_host_keeps_the_password() -> None:
    fake = FakeRegistry()
    fake.blobs[DIGEST] = DATA

    def gate(request: requests.PreparedRequest) -> requests.Response | None:
        if request.headers.get("Authorization") != USER.basic:
            return refuse(request, 401, "UNAUTHORIZED", {"WWW-Authenticate": 'Basic realm="x"'})
        if "moved" not in str(request.url):
            return reply(request, 302, headers={"Location": f"/v2/team/image/blobs/{DIGEST}?moved"})
        return None

    fake.gate = gate
    assert read(fake, USER) == DATA


def test_redirects_in_a_circle_end() -> None:
    fake = FakeRegistry()
    fake.gate = lambda request: reply(request, 302, headers={"Location": str(request.url)})
    with pytest.raises(RegistryRefused, match="HTTP 302"):
        read(fake)
    assert len(fake.requests) < 10


@pytest.mark.parametrize(
    "target", ["http://[::/x?signature=secret", "file:///etc/passwd", "https://cdn:port/x", "\xff"]
)
def test_a_redirect_to_nowhere_is_named_and_not_quoted(target: str) -> None:
    with pytest.raises(Undecided, match=f"GET {REPOSITORY.url}/blobs/{DIGEST}") as caught:
        read(Redirecting(target), USER)
    assert "secret" not in str(caught.value)
