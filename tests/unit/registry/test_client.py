"""The client: names, credentials, what is sent to whom, and what is said when it goes wrong."""

from __future__ import annotations

import base64
import json
import subprocess
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from scripts.errors import ConfigError, Undecided
from scripts.oci.descriptor import OCI_INDEX, OCI_MANIFEST, digest_of
from scripts.reference import Repository
from scripts.registry.auth import Credentials, find_credentials, parse_challenges
from scripts.registry.client import Manifest
from scripts.registry.failures import DigestMismatch, RegistryRefused, RegistryUnavailable
from scripts.registry.transport import ATTEMPTS, LONGEST_WAIT
from tests.unit.registry.fake_registry import (
    REPOSITORY,
    FakeRegistry,
    cut_short,
    drop,
    fail,
    lose_reply,
    refuse,
    reply,
    wrong_bytes,
)

USER = Credentials("someone", "the-password")
DATA = b"some bytes"
DIGEST = digest_of(DATA)


# --- references


@pytest.mark.parametrize(
    ("text", "host", "path", "root"),
    [
        ("ghcr.io/owner/vllm", "ghcr.io", "owner/vllm", "https://ghcr.io/v2/"),
        ("registry.example.com:8443/a", "registry.example.com:8443", "a", "https://registry.example.com:8443/v2/"),
        ("127.0.0.1:5000/a/b_c", "127.0.0.1:5000", "a/b_c", "http://127.0.0.1:5000/v2/"),
        ("localhost/a", "localhost", "a", "http://localhost/v2/"),
        ("localhost:5000/a", "localhost:5000", "a", "http://localhost:5000/v2/"),
        ("[::1]:5000/a--b/c.d", "[::1]:5000", "a--b/c.d", "http://[::1]:5000/v2/"),
        ("[::1]/a", "[::1]", "a", "http://[::1]/v2/"),
        ("[2001:db8::1]/a", "[2001:db8::1]", "a", "https://[2001:db8::1]/v2/"),
        ("10.0.0.7/a", "10.0.0.7", "a", "https://10.0.0.7/v2/"),
        ("localhost.example.com/a", "localhost.example.com", "a", "https://localhost.example.com/v2/"),
        ("docker.io/owner/vllm", "docker.io", "owner/vllm", "https://registry-1.docker.io/v2/"),
    ],
)
def test_a_reference_is_read(text: str, host: str, path: str, root: str) -> None:
    repository = Repository.parse(text)
    assert (repository.host, repository.path, repository.root) == (host, path, root)
    assert str(repository) == text
    assert repository.url == root + path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vllm",
        "owner/vllm",
        "ghcr.io",
        "ghcr.io/",
        "ghcr.io/Owner/vllm",
        "ghcr.io/owner/vllm:v1",
        "ghcr.io/owner/vllm@sha256:" + "0" * 64,
        "https://ghcr.io/owner/vllm",
        "user:password@ghcr.io/owner/vllm",
        "ghcr.io//vllm",
        "ghcr.io/owner/../vllm",
        "ghcr.io/owner/vllm?x",
        "ghcr.io/owner/vllm\n",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not a repository"):
        Repository.parse(text)


@given(st.text("aB0.:/[]-_@\n", max_size=40))
def test_any_text_is_a_reference_that_spells_itself_or_is_refused(text: str) -> None:
    with suppress(ConfigError):
        assert str(Repository.parse(text)) == text


# --- credentials


def write_config(folder: Path, settings: Any) -> Path:
    path = folder / "config.json"
    path.write_text(settings if isinstance(settings, str) else json.dumps(settings))
    return path


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("ghcr.io", "ghcr.io"),
        ("ghcr.io", "https://ghcr.io"),
        ("ghcr.io", "https://ghcr.io/v2/"),
        ("127.0.0.1:5000", "127.0.0.1:5000"),
        ("docker.io", "https://index.docker.io/v1/"),
    ],
)
def test_credentials_come_from_auths(host: str, key: str, tmp_path: Path) -> None:
    config = write_config(tmp_path, {"auths": {"else.example": {}, key: {"auth": encode("someone:the:password")}}})
    assert find_credentials(host, config) == Credentials("someone", "the:password")
    assert find_credentials("other.example", config) is None


def test_the_folder_of_the_configuration_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert find_credentials("ghcr.io") is None
    write_config(tmp_path, {"auths": {"ghcr.io": {"auth": encode("a:b")}}})
    assert find_credentials("ghcr.io") == Credentials("a", "b")


def test_an_identity_token_is_told_from_a_password(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"auths": {"ghcr.io": {"auth": encode("a:"), "identitytoken": "token"}}})
    found = find_credentials("ghcr.io", config)
    assert found and found.is_identity_token and found.secret == "token"


@pytest.mark.parametrize(
    "settings",
    [
        '{"auths": {"x": "hunter2',
        "[]",
        '{"auths": {"ghcr.io": {"auth": "hunter2"}}}',
        '{"auths": {"ghcr.io": {"identitytoken": "hunter2\\ud800"}}}',
        '{"auths": {"ghcr.io": {"identitytoken": ["hunter2"]}}}',
    ],
)
def test_a_broken_configuration_is_named_and_not_quoted(settings: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.json") as caught:
        find_credentials("ghcr.io", write_config(tmp_path, settings))
    assert "hunter2" not in str(caught.value)


def helper_answering(
    monkeypatch: pytest.MonkeyPatch, code: int, output: str, calls: list[tuple[list[str], str]] | None = None
) -> None:
    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        assert options["timeout"]
        if calls is not None:
            calls.append((command, options["input"]))
        return subprocess.CompletedProcess(command, code, output, "")

    monkeypatch.setattr(subprocess, "run", run)


@pytest.mark.parametrize("settings", [{"credsStore": "safe"}, {"credHelpers": {"ghcr.io": "safe"}, "credsStore": "x"}])
def test_a_helper_is_asked_for_the_host(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[list[str], str]] = []
    helper_answering(monkeypatch, 0, json.dumps({"Username": "someone", "Secret": "the-password"}), calls)
    assert find_credentials("ghcr.io", write_config(tmp_path, settings)) == USER
    assert calls == [(["docker-credential-safe", "get"], "ghcr.io")]


def test_a_helper_that_knows_nobody_leaves_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper_answering(monkeypatch, 1, "credentials not found in native keychain\n")
    config = write_config(tmp_path, {"credsStore": "safe", "auths": {"ghcr.io": {"auth": encode("a:b")}}})
    assert find_credentials("ghcr.io", config) == Credentials("a", "b")
    assert find_credentials("other.example", config) is None


@pytest.mark.parametrize(
    ("code", "output"),
    [
        (1, "locked hunter2"),
        (0, "hunter2"),
        (0, '{"Secret": "hunter2"}'),
        (0, '{"Username": "me", "Secret": "hunter2\\ud800"}'),
        (0, '{"Username": null, "Secret": "hunter2"}'),
    ],
)
def test_a_helper_that_fails_is_named_and_not_quoted(
    code: int, output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper_answering(monkeypatch, code, output)
    with pytest.raises(Undecided, match="docker-credential-safe") as caught:
        find_credentials("ghcr.io", write_config(tmp_path, {"credsStore": "safe"}))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("error", [FileNotFoundError(2, "none"), subprocess.TimeoutExpired("x", 60, "hunter2")])
def test_a_helper_that_does_not_run_is_named(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(Undecided, match="docker-credential-safe") as caught:
        find_credentials("ghcr.io", write_config(tmp_path, {"credsStore": "safe"}))
    assert "hunter2" not in str(caught.value)


def test_a_secret_is_not_shown_where_credentials_are() -> None:
    assert "the-password" not in repr(USER)


# --- challenges and tokens


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", {}),
        ("Negotiate", {}),
        ('Basic realm="the Bearer realm"', {"basic": {"realm": "the Bearer realm"}}),
        (
            'Bearer realm="https://auth.example/token",service="registry",scope="repository:a/b:pull,push"',
            {
                "bearer": {
                    "realm": "https://auth.example/token",
                    "service": "registry",
                    "scope": "repository:a/b:pull,push",
                }
            },
        ),
        (
            'basic realm=x, bearer Realm = "y" , service=z',
            {"basic": {"realm": "x"}, "bearer": {"realm": "y", "service": "z"}},
        ),
        ("Basic", {"basic": {}}),
    ],
)
def test_a_challenge_is_read(header: str, expected: dict[str, dict[str, str]]) -> None:
    assert parse_challenges(header) == expected


class Guarded(FakeRegistry):
    """A registry that wants a token from a service on another host; its tokens allow only what was asked for."""

    def __init__(self, realm: str = "https://auth.example.com/token") -> None:
        super().__init__()
        self.realm = realm
        self.tokens: list[requests.PreparedRequest] = []
        self.token_status = 200
        self.gate = self.guard

    def guard(self, request: requests.PreparedRequest) -> requests.Response | None:
        if str(request.url).startswith(self.realm):
            self.tokens.append(request)
            if self.token_status != 200:
                return refuse(request, self.token_status, "DENIED")
            what = "push" if "push" in f"{request.url} {request.body!r}" else "pull"
            return reply(request, 200, json.dumps({"token": f"{what}-{len(self.tokens)}"}).encode())
        what = "pull" if request.method in ("GET", "HEAD") else "push"
        if what in request.headers.get("Authorization", ""):
            return None
        return self.challenge(request)

    def challenge(self, request: requests.PreparedRequest) -> requests.Response:
        actions = "pull" if request.method in ("GET", "HEAD") else "pull,push"
        header = f'Bearer realm="{self.realm}",service="registry.example.com",scope="repository:team/image:{actions}"'
        return refuse(request, 401, "UNAUTHORIZED", {"WWW-Authenticate": header})


def test_a_token_is_fetched_for_reading_and_one_for_writing() -> None:
    fake = Guarded()
    client = fake.client(USER)
    client.upload_blob(REPOSITORY, DIGEST, DATA)
    assert client.hash_blob(REPOSITORY, DIGEST, len(DATA)) == DIGEST
    assert [request.headers["Authorization"] for request in fake.tokens] == [USER.basic] * 2
    scopes = [parse_qs(urlsplit(str(request.url)).query)["scope"] for request in fake.tokens]
    assert scopes == [["repository:team/image:pull"], ["repository:team/image:pull,push"]]
    bodies = [request.body for request in fake.requests if "/upload/" in str(request.url)]
    assert bodies == [DATA], "the blob is sent once, with a token that allows it"


def test_a_token_that_ran_out_is_fetched_again() -> None:
    fake = Guarded()
    client = fake.client(USER)
    client.ping(REPOSITORY)
    fake.faults = {len(fake.requests) + 1: lambda _, request: fake.challenge(request)}
    client.ping(REPOSITORY)
    assert len(fake.tokens) == 2


def test_without_credentials_a_token_for_anybody_is_fetched() -> None:
    fake = Guarded()
    fake.client().ping(REPOSITORY)
    assert "Authorization" not in fake.tokens[0].headers


def test_an_identity_token_is_exchanged_in_the_body() -> None:
    fake = Guarded()
    fake.client(Credentials("<token>", "identity")).ping(REPOSITORY)
    [request] = fake.tokens
    assert (request.method, "refresh_token=identity" in str(request.body)) == ("POST", True)
    assert "identity" not in str(request.url)


def test_a_refused_password_says_who_refused_and_not_the_password() -> None:
    fake = Guarded()
    fake.token_status = 401
    with pytest.raises(RegistryRefused, match=r"auth\.example\.com.*\n.*docker login registry\.example\.com") as caught:
        fake.client(USER).ping(REPOSITORY)
    assert "the-password" not in str(caught.value) and USER.basic not in str(caught.value)


def test_credentials_do_not_go_to_a_token_service_in_plain_http() -> None:
    fake = Guarded("http://auth.example.com/token")
    with pytest.raises(RegistryRefused, match="no credentials were sent"):
        fake.client(USER).ping(REPOSITORY)
    assert fake.tokens == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"null"])
def test_a_token_service_that_gives_no_token_is_named(body: bytes) -> None:
    fake = Guarded()
    guard = fake.gate
    fake.gate = lambda request: reply(request, 200, body) if "auth." in str(request.url) else guard(request)
    with pytest.raises(RegistryUnavailable, match=r"holds no token"):
        fake.client(USER).ping(REPOSITORY)


def test_basic_credentials_are_sent_when_asked_for_and_only_then() -> None:
    fake = FakeRegistry()
    fake.gate = lambda request: (
        None
        if request.headers.get("Authorization") == USER.basic
        else refuse(request, 401, "UNAUTHORIZED", {"WWW-Authenticate": 'Basic realm="x"'})
    )
    client = fake.client(USER)
    client.ping(REPOSITORY)
    client.ping(REPOSITORY)
    assert ["Authorization" in request.headers for request in fake.requests] == [False, True, True]
    with pytest.raises(RegistryRefused, match=r"docker login registry\.example\.com"):
        fake.client().ping(REPOSITORY)


def test_credentials_do_not_follow_an_upload_to_another_host() -> None:
    fake = Guarded()
    guard = fake.gate

    def gate(request: requests.PreparedRequest) -> requests.Response | None:
        if str(request.url).startswith("https://storage.example.net/"):
            assert "Authorization" not in request.headers
            return reply(request, 201)
        answer = guard(request)
        if answer is None and request.method == "POST":
            return reply(request, 202, headers={"Location": "https://storage.example.net/upload?signature=x"})
        return answer

    fake.gate = gate
    fake.client(USER).upload_blob(REPOSITORY, DIGEST, DATA)
    assert str(fake.requests[-1].url).startswith("https://storage.example.net/upload?signature=x&digest=sha256")


def test_another_host_that_asks_for_the_password_does_not_get_it() -> None:
    def gate(request: requests.PreparedRequest) -> requests.Response | None:
        if "storage.example.net" in str(request.url):
            return refuse(request, 401, "UNAUTHORIZED", {"WWW-Authenticate": 'Basic realm="x"'})
        if request.method == "POST":
            return reply(request, 202, headers={"Location": "https://storage.example.net/upload"})
        return None

    fake = FakeRegistry()
    fake.gate = gate
    with pytest.raises(RegistryRefused, match=r"PUT https://storage\.example\.net/upload"):
        fake.client(USER).upload_blob(REPOSITORY, DIGEST, DATA)
    assert not any("Authorization" in request.headers for request in fake.requests)


def test_a_password_from_netrc_is_never_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine registry.example.com login someone password hunter2\n")
    monkeypatch.setenv("NETRC", str(netrc))
    fake = FakeRegistry()
    fake.client().ping(REPOSITORY)
    assert "Authorization" not in fake.requests[0].headers


def test_no_proxy_is_used_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    seen: dict[str, bool] = {}

    class Recorder(FakeRegistry):
        def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
            seen[str(request.url)] = any("proxy.example" in proxy for proxy in options["proxies"].values())
            return super().send(request, *args, **options)

    for host in ("127.0.0.1:5000", "localhost:5000", "[::1]:5000", "registry.example.com"):
        recorder = Recorder()
        recorder.by_proxy = True
        recorder.client().ping(Repository(host, "a"))
    assert list(seen.values()) == [False, False, False, True]


# --- retries and refusals


@pytest.mark.parametrize("fault", [drop, lose_reply, fail])
def test_a_registry_that_stays_away_is_asked_a_few_times(fault: Any) -> None:
    fake = FakeRegistry()
    fake.faults, fake.from_then_on = {1: fault}, True
    with pytest.raises(RegistryUnavailable, match=r"GET https://registry\.example\.com/v2/"):
        fake.client().ping(REPOSITORY)
    assert len(fake.requests) == ATTEMPTS
    assert fake.slept == [1, 2, 4]


def test_a_registry_that_is_busy_says_how_long_and_is_believed_within_limits() -> None:
    fake = FakeRegistry()
    busy = [refuse_busy("7"), refuse_busy("86400"), refuse_busy("Wed, 21 Oct 2015 07:28:00 GMT")]
    fake.faults = dict(enumerate(busy, start=1))
    fake.client().ping(REPOSITORY)
    assert fake.slept == [7, LONGEST_WAIT, 4]


def refuse_busy(after: str) -> Any:
    return lambda _, request: refuse(request, 429, "TOOMANYREQUESTS", {"Retry-After": after})


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_no_is_final(status: int) -> None:
    fake = FakeRegistry()
    fake.gate = lambda request: refuse(request, status, "DENIED")
    with pytest.raises(RegistryRefused, match=f"HTTP {status} DENIED: no") as caught:
        fake.client(USER).put_manifest(REPOSITORY, "v1", Manifest(b"{}", OCI_MANIFEST))
    assert len(fake.requests) == 1
    assert caught.value.problems[0].next_step


@pytest.mark.parametrize("status", [200, 202, 301])
def test_a_yes_of_another_kind_is_no_yes(status: int) -> None:
    fake = FakeRegistry()
    fake.gate = lambda request: reply(request, status)
    with pytest.raises(RegistryRefused, match=f"HTTP {status}"):
        fake.client().put_manifest(REPOSITORY, "v1", Manifest(b"{}", OCI_MANIFEST))


def test_messages_leave_out_queries_and_control_characters() -> None:
    fake = FakeRegistry()
    body = json.dumps({"errors": [{"code": "X\x1b[31m", "message": "m" * 1000}]}).encode()
    fake.gate = lambda request: reply(request, 400, body) if "/upload/" in str(request.url) else None
    with pytest.raises(RegistryRefused) as caught:
        fake.client().upload_blob(REPOSITORY, DIGEST, DATA)
    message = str(caught.value)
    assert "secret-state" not in message and "\x1b" not in message and len(message) < 500


def test_what_requests_says_is_left_out_and_the_reason_kept() -> None:
    def refuse_connection(*_: Any) -> requests.Response:
        try:
            raise ConnectionRefusedError(111, "Connection refused")
        except OSError:
            raise requests.ConnectionError("url: /v2/?_state=secret-state") from None

    fake = FakeRegistry()
    fake.faults, fake.from_then_on = {1: refuse_connection}, True
    with pytest.raises(RegistryUnavailable, match=r"\(Connection refused\)") as caught:
        fake.client().ping(REPOSITORY)
    assert "secret-state" not in str(caught.value)


# --- blobs and manifests


@pytest.mark.parametrize("data", [DATA, b""], ids=["full", "empty"])
def test_a_blob_is_sent_from_a_file_and_not_twice(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(data)
    fake = FakeRegistry()
    client = fake.client()
    client.upload_blob(REPOSITORY, digest_of(data), path)
    assert fake.blobs == {digest_of(data): data}
    assert fake.requests[-1].headers["Content-Length"] == str(len(data))
    assert "Transfer-Encoding" not in fake.requests[-1].headers
    writes = len(fake.writes)
    client.upload_blob(REPOSITORY, digest_of(data), path)
    assert len(fake.writes) == writes


@pytest.mark.parametrize("fault", [drop, lose_reply, fail])
def test_an_upload_that_breaks_off_starts_again_from_the_first_byte(fault: Any, tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    fake = FakeRegistry()
    fake.faults = {3: fault}
    fake.client().upload_blob(REPOSITORY, DIGEST, path)
    assert fake.blobs == {DIGEST: DATA}
    # Where only the reply was lost, the blob is found and not sent again.
    assert len([request for request in fake.requests if "/upload/" in str(request.url)]) == 1 + (fault != lose_reply)


def test_a_registry_that_says_another_digest_is_not_believed() -> None:
    fake = FakeRegistry()
    other = {"Docker-Content-Digest": digest_of(b"other")}
    fake.gate = lambda request: reply(request, 201, headers=other) if request.method == "PUT" else None
    with pytest.raises(DigestMismatch, match=digest_of(b"other")):
        fake.client().upload_blob(REPOSITORY, DIGEST, DATA)
    with pytest.raises(DigestMismatch, match=digest_of(b"other")):
        fake.client().put_manifest(REPOSITORY, "v1", Manifest(b"{}", OCI_MANIFEST))


@pytest.mark.parametrize("headers", [{}, {"Location": "https://[broken"}, {"Location": "https://host:port/x"}])
def test_an_upload_without_a_usable_address_is_an_error(headers: dict[str, str]) -> None:
    fake = FakeRegistry()
    fake.gate = lambda request: reply(request, 202, headers=headers) if request.method == "POST" else None
    with pytest.raises(Undecided):
        fake.client().upload_blob(REPOSITORY, DIGEST, DATA)


@pytest.mark.parametrize("fault", [wrong_bytes, cut_short])
def test_what_a_blob_really_holds_is_hashed(fault: Any) -> None:
    fake = FakeRegistry()
    fake.blobs[DIGEST] = DATA
    client = fake.client()
    assert client.hash_blob(REPOSITORY, DIGEST, len(DATA)) == DIGEST
    fake.faults = {2: fault}
    assert client.hash_blob(REPOSITORY, DIGEST, len(DATA)) != DIGEST


def test_a_download_that_breaks_off_is_asked_for_again() -> None:
    class Broken(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise requests.exceptions.ChunkedEncodingError("broken")

    def break_off(fake: FakeRegistry, request: requests.PreparedRequest) -> requests.Response:
        response = fake.answer(request)
        response.raw = Broken()
        return response

    fake = FakeRegistry()
    fake.blobs[DIGEST] = DATA
    fake.faults = {1: break_off}
    assert fake.client().hash_blob(REPOSITORY, DIGEST, len(DATA)) == DIGEST


def test_a_manifest_is_its_exact_bytes_and_its_media_type() -> None:
    data = b'{ "b": 1,\n\t"a": 2 }\n'
    fake = FakeRegistry()
    digest = fake.store(data, "v1", media_type=f"{OCI_MANIFEST}; charset=utf-8")
    for reference in ("v1", digest):
        assert fake.client().get_manifest(REPOSITORY, reference) == Manifest(data, OCI_MANIFEST)
    assert fake.client().get_manifest(REPOSITORY, "v2") is None
    assert OCI_MANIFEST in fake.requests[0].headers["Accept"]


@pytest.mark.parametrize("fault", [wrong_bytes, cut_short])
def test_a_manifest_of_other_bytes_than_its_digest_says_is_an_error(fault: Any) -> None:
    fake = FakeRegistry()
    digest = fake.store(b'{"a": 1}')
    fake.faults = {1: fault}
    with pytest.raises(DigestMismatch, match=digest):
        fake.client().get_manifest(REPOSITORY, digest)


def test_deleting_a_tag_says_whether_it_could() -> None:
    fake = FakeRegistry()
    digest = fake.store(b"{}", "v1")
    assert fake.client().delete_tag(REPOSITORY, "v1")
    assert not fake.client().delete_tag(REPOSITORY, "v1")
    assert list(fake.manifests) == [digest]


def test_a_manifest_without_an_end_is_not_read_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.registry.client.LARGEST_JSON", 100)
    fake = FakeRegistry()
    fake.store(b"x" * 100, "small")
    fake.store(b"x" * 101, "large")
    assert fake.client().get_manifest(REPOSITORY, "small")
    with pytest.raises(RegistryRefused, match="more than 100 bytes, where a manifest belongs"):
        fake.client().get_manifest(REPOSITORY, "large")


@pytest.mark.parametrize("length", ["many", "-5", "1e3", "٣", "", "9" * 5000])
def test_a_size_that_is_none_is_not_known(length: str) -> None:
    fake = FakeRegistry()
    fake.gate = lambda request: reply(request, 200, headers={"Content-Length": length})
    assert fake.client().blob_size(REPOSITORY, "sha256:" + "a" * 64) == -1


@pytest.mark.parametrize("said", [{}, {"Content-Length": "0"}], ids=["nothing", "the size of the answer"])
@pytest.mark.parametrize("held", [DATA, DATA.swapcase(), b""], ids=["right", "wrong", "empty"])
def test_where_no_size_is_said_the_bytes_tell_whether_a_blob_is_there(held: bytes, said: dict[str, str]) -> None:
    fake = FakeRegistry()
    fake.blobs[digest_of(DATA)] = held
    fake.gate = lambda request: reply(request, 200, headers=said) if request.method == "HEAD" else None
    assert fake.client().has_blob(REPOSITORY, digest_of(DATA), len(DATA)) == (held == DATA)
    fake.client().upload_blob(REPOSITORY, digest_of(DATA), DATA)
    assert fake.blobs == {digest_of(DATA): DATA} and bool(fake.writes) == (held != DATA)


def test_a_blob_of_another_size_is_not_there_and_is_not_read() -> None:
    fake = FakeRegistry()
    fake.blobs[digest_of(DATA)] = DATA[1:]
    assert not fake.client().has_blob(REPOSITORY, digest_of(DATA), len(DATA))
    assert not fake.client().has_blob(REPOSITORY, digest_of(b"another"), 7)
    assert {request.method for request in fake.requests} == {"HEAD"}


def test_a_next_page_whose_address_cannot_be_read_is_refused() -> None:
    fake = FakeRegistry()
    headers = {"Content-Type": OCI_INDEX, "Link": '<https://[>; rel="next"'}
    fake.gate = lambda request: reply(request, 200, b"{}", headers)
    with pytest.raises(RegistryRefused, match="an address for the next page that cannot be read"):
        fake.client().list_referrers(REPOSITORY, "sha256:" + "a" * 64)


def test_tags_are_listed_to_the_last_page() -> None:
    fake = FakeRegistry()
    assert fake.client().list_tags(REPOSITORY) == []
    for name in ("b", "a", "c"):
        fake.store(name.encode(), name)
    assert fake.client().list_tags(REPOSITORY) == ["a", "b", "c"]
    fake.page = 1
    assert fake.client().list_tags(REPOSITORY) == ["a", "b", "c"]
    fake.faults = {len(fake.requests) + 1: lambda _, request: refuse(request, 404, "NAME_UNKNOWN")}
    assert fake.client().list_tags(REPOSITORY) == []


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"tags": {}}', b'{"tags": [1]}'])
def test_a_list_of_tags_that_is_none_is_refused(body: bytes) -> None:
    fake = FakeRegistry()
    fake.gate = lambda request: reply(request, 200, body)
    with pytest.raises(RegistryRefused, match="list of tags is none"):
        fake.client().list_tags(REPOSITORY)


def test_a_manifest_is_deleted_by_its_digest_and_is_gone_the_second_time() -> None:
    fake = FakeRegistry()
    digest = fake.store(DATA, "v1")
    assert fake.client().delete_manifest(REPOSITORY, digest) and fake.manifests == {}
    assert fake.client().delete_manifest(REPOSITORY, digest)
    fake.deletes_tags = False
    assert not fake.client().delete_manifest(REPOSITORY, digest)


@pytest.mark.parametrize("date", ["", "soon", "Sun, 29 Nov 2026 12:00:00 GMT"])
def test_a_registrys_clock_is_read_where_it_has_one(date: str) -> None:
    fake = FakeRegistry()
    fake.date = date
    assert fake.client().read_clock(REPOSITORY) == (1795953600.0 if date.endswith("GMT") else None)


@pytest.mark.parametrize(
    ("status", "detail", "full"),
    [
        (500, "write /store/data: no space left on device", True),
        (500, "write /store/data: disk quota exceeded", True),
        (500, {"DriverName": "filesystem", "Enclosed": {"Op": "write", "Path": "/store", "Err": 28}}, True),
        (507, None, True),
        (500, {"DriverName": "filesystem", "Enclosed": {"Op": "write", "Path": "/store", "Err": 5}}, False),
        (500, {"DriverName": "filesystem", "Enclosed": {"Err": "28"}}, False),
        (500, {}, False),
        (500, ["no space left on device"], False),
        (500, None, False),
    ],
)
def test_a_disk_that_is_full_is_told_from_what_else_a_registry_fails_for(
    status: int, detail: object, full: bool
) -> None:
    fake = FakeRegistry()
    body = json.dumps({"errors": [{"code": "UNKNOWN", "message": "unknown error", "detail": detail}]}).encode()
    fake.gate = lambda request: reply(request, status, body)
    with pytest.raises(RegistryUnavailable) as caught:
        fake.client().ping(REPOSITORY)
    [problem] = caught.value.problems
    assert problem.cause.endswith(f"HTTP {status} UNKNOWN: unknown error")
    assert problem.cause.startswith("the registry's disk is full" if full else "the registry failed"), problem.cause
    assert ("make room there" in problem.next_step) is full
