"""Names in a registry: a repository is a host and a path; a tag is a name inside it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scripts.errors import ConfigError

_HOST = r"(?P<host>(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::(?P<port>[0-9]{1,5}))?)"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_HOST}/(?P<path>{_PART}(?:/{_PART})*)")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")

# A registry on this machine has no certificate, and nobody in between to listen.
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
# Docker Hub is named by one host, answers on another, and its credentials are kept under a third.
DOCKER_HUB = "docker.io"


@dataclass(frozen=True)
class Repository:
    """Where one image's manifests, blobs and tags live: `host[:port]/path`."""

    host: str
    path: str

    @classmethod
    def parse(cls, text: str) -> Repository:
        """Read `host[:port]/path`. Raises ConfigError for a scheme, a tag, a digest, capitals, or no host at all."""
        match = _REPOSITORY.fullmatch(text)
        # Without a dot, a port or "localhost" the first part is no host: Docker would push it to the public Hub.
        known = match and re.search(r"[.:]|^localhost$", match["host"]) and 0 < int(match["port"] or 1) < 1 << 16
        if not match or not known:
            raise ConfigError(
                "not a repository: a host, a slash and a lower-case path; no scheme, tag or digest",
                repr(text),
                "write it as registry.example.com/team/image or 127.0.0.1:5000/image",
            )
        return cls(match["host"], match["path"])

    def __str__(self) -> str:
        return f"{self.host}/{self.path}"

    @property
    def is_loopback(self) -> bool:
        return re.sub(r":[0-9]+$", "", self.host) in LOOPBACK

    @property
    def root(self) -> str:
        """The URL of the registry's API, with a final slash: http on this machine, https anywhere else."""
        host = "registry-1.docker.io" if self.host == DOCKER_HUB else self.host
        return f"{'http' if self.is_loopback else 'https'}://{host}/v2/"

    @property
    def url(self) -> str:
        """The URL of this repository in the API, without a final slash."""
        return self.root + self.path


@dataclass(frozen=True)
class ImageName:
    """An image in a repository, by tag or by digest; where both are given, the digest counts."""

    repository: Repository
    tag: str = ""
    digest: str = ""

    @property
    def reference(self) -> str:
        return self.digest or self.tag

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")


def parse_image(text: str) -> ImageName:
    """Read an image's name as people give it to `docker pull`: `ubuntu`, `owner/image:tag`, `host:5000/a@sha256:…`.

    Without a host it is Docker Hub's, there without an owner `library`'s, and without tag and digest `latest`. Raises
    ConfigError for anything else.
    """
    rest, at, digest = text.partition("@")
    name, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:  # the colon of a port
        name, tag = rest, ""
    first, slash, path = name.partition("/")
    # Docker's rule: a host has a dot or a port, or is localhost, or is spelled with capitals, as no owner is.
    if not slash or not (re.search(r"[.:]", first) or first == "localhost" or first != first.lower()):
        first, path = DOCKER_HUB, name
    first = DOCKER_HUB if first == f"index.{DOCKER_HUB}" else first
    if first == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    valid = _REPOSITORY.fullmatch(f"{first}/{path}") and (not at or _DIGEST.fullmatch(digest))
    if not valid or (rest != name and not _TAG.fullmatch(tag)):
        raise ConfigError(
            "not an image's name", repr(text), "write it as for `docker pull`: vllm/vllm-openai:latest, host/a@sha256:…"
        )
    return ImageName(Repository(first, path), tag or ("" if digest else "latest"), digest)


def check_tag(tag: str) -> str:
    """The tag itself. Raises ConfigError for one that no registry would take."""
    if not _TAG.fullmatch(tag):
        raise ConfigError("not a tag", repr(tag), "use letters, digits, `_`, `.` and `-`, at most 128 of them")
    return tag


def check_digest(digest: str) -> str:
    """The digest itself. Raises ConfigError for anything else, a tag above all: what a tag names can change."""
    if not _DIGEST.fullmatch(digest):
        raise ConfigError("not a digest", repr(digest), "give `sha256:` and 64 hexadecimal digits")
    return digest
