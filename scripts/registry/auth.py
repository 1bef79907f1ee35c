"""Who we are to a registry: the credentials that `docker login` keeps, and what a registry asks for.

Formats: https://distribution.github.io/distribution/spec/auth/token/ and
https://github.com/docker/docker-credential-helpers
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.errors import ConfigError, Undecided
from scripts.files import in_home, parse_json
from scripts.reference import DOCKER_HUB

_HELPER_SECONDS = 60
_PARAMETER = r'[A-Za-z_]+\s*=\s*(?:"[^"]*"|[^\s,"]+)'
_CHALLENGE = re.compile(rf"(?i)\b(basic|bearer)\b\s*({_PARAMETER}(?:\s*,\s*{_PARAMETER})*)?")
_LOG_IN = "run `docker login` for this registry again"


@dataclass(frozen=True)
class Credentials:
    """A user and a secret; the user `<token>` says that the secret is an identity token, to be exchanged for others.

    Raises TypeError or ValueError for what is no text.
    """

    username: str
    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        for part in (self.username, self.secret):
            str.encode(part)  # what is no text raises here, where it is read and can be named

    @property
    def is_identity_token(self) -> bool:
        return self.username == "<token>"

    @property
    def basic(self) -> str:
        """The Authorization header of the Basic scheme."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.secret}".encode()).decode()


def find_credentials(host: str, config: Path | None = None) -> Credentials | None:
    """What Docker's configuration holds for a host, or None. Raises ConfigError where the file cannot be read."""
    path = config or Path(os.environ.get("DOCKER_CONFIG") or in_home("~/.docker")) / "config.json"
    server = "https://index.docker.io/v1/" if host == DOCKER_HUB else host
    # Nothing of the file goes into a message: it holds secrets.
    try:
        settings = parse_json(path.read_bytes())
        helper = settings.get("credHelpers", {}).get(server) or settings.get("credsStore")
        kept = _kept(settings.get("auths", {}), server)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        cause = f"not a Docker configuration that can be read ({type(error).__name__})"
        raise ConfigError(cause, str(path), "mend the file, or move it away and run `docker login`") from None
    return (_ask_helper(helper, server) if helper else None) or kept


def _kept(entries: dict[str, dict[str, str]], server: str) -> Credentials | None:
    """The entry written for a server, with or without a scheme and a path in its key."""
    for key, entry in entries.items():
        if _bare_host(key) != _bare_host(server):
            continue
        if token := entry.get("identitytoken"):
            return Credentials("<token>", token)
        username, _, secret = base64.b64decode(entry.get("auth", "")).decode().partition(":")
        if username:
            return Credentials(username, secret)
    return None


def _bare_host(server: str) -> str:
    return re.sub(r"^https?://", "", server).partition("/")[0]


def _ask_helper(helper: str, server: str) -> Credentials | None:
    """Run `docker-credential-HELPER get`. Raises Undecided where it does not run or answers something else."""
    program = f"docker-credential-{helper}"
    try:
        reply = subprocess.run(
            [program, "get"], input=server, capture_output=True, text=True, timeout=_HELPER_SECONDS, check=False
        )
        if reply.returncode == 0:
            found: dict[str, Any] = parse_json(reply.stdout)
            return Credentials(found["Username"], found["Secret"])
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError, RecursionError) as error:
        cause = f"the credential helper did not answer ({type(error).__name__})"
        raise Undecided(cause, program, f"install the helper, or {_LOG_IN}") from None
    if "not found" in reply.stdout.lower():  # how the protocol says "nobody logged in", with exit code 1
        return None
    raise Undecided(f"the credential helper failed (exit code {reply.returncode})", program, _LOG_IN)


def parse_challenges(header: str) -> dict[str, dict[str, str]]:
    """The schemes of a WWW-Authenticate header, in lower case, each with its parameters (realm, service, scope)."""
    return {
        scheme.lower(): {
            name.strip().lower(): value.strip().strip('"')
            for name, _, value in (found.partition("=") for found in re.findall(_PARAMETER, parameters))
        }
        for scheme, parameters in _CHALLENGE.findall(header)
    }
