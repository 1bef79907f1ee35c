"""Running git: with nobody's settings, and with nothing allowed but to read repositories."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

from scripts.console import Update
from scripts.errors import Undecided
from scripts.files import CHUNK

TIMEOUT_S = 3600
_SETTINGS = (
    "protocol.allow=never",  # `ext::` would run a command
    *(f"protocol.{name}.allow=always" for name in ("https", "http", "git", "file")),
    "transfer.fsckObjects=true",
    "core.hooksPath=/dev/null",
    "gc.auto=0",
    "http.lowSpeedLimit=1000",  # bytes a second, for so many seconds: then it is given up
    "http.lowSpeedTime=60",
)
# Where the environment of other programs names the certificates that this site trusts.
_AUTHORITIES = ("GIT_SSL_CAINFO", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
_PROGRESS = re.compile(r"(Receiving objects|Resolving deltas): +\d+%.*")


class Missing(Exception):
    """git has not got what it was asked for; the text is what it said."""


@dataclass(frozen=True)
class Repository:
    """A bare repository, which holds the objects of every tree that was ever fetched, and no branches."""

    folder: Path

    @classmethod
    def open(cls, folder: Path) -> Repository:
        """The repository of a folder, which is made where it is missing. Raises Undecided where there is no git."""
        repository = cls(folder)
        if not (folder / "HEAD").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            repository.run("init", "--quiet", "--bare", "--template=")
        return repository

    def run(self, *arguments: str) -> bytes:
        """What git prints. Raises Missing with what it said where it fails."""
        try:
            run = subprocess.run(
                self._command(arguments), capture_output=True, check=False, timeout=TIMEOUT_S, env=environment()
            )
        except FileNotFoundError:
            raise Undecided("there is no `git` here", "git", "install git") from None
        except subprocess.TimeoutExpired:
            raise Missing(f"no end after {TIMEOUT_S} s") from None
        _check(run.returncode, run.stderr.decode(errors="replace"))
        return run.stdout

    def fetch(self, place: str, refspecs: Sequence[str], update: Update, *options: str) -> None:
        """Bring objects from a place, and tell how far that is. Raises Missing where it fails."""
        if place.startswith("-"):  # out of a .gitmodules: it would be read as an option
            raise Missing("is no address")
        command = ["fetch", "--progress", "--no-tags", "--no-write-fetch-head", *options]
        if place.startswith(("/", "file:")):
            # Whoever owns the folder: to serve it runs nothing that it contains, and what it gives is hashed.
            command.append("--upload-pack=git -c safe.directory='*' upload-pack")
        process = subprocess.Popen(
            self._command([*command, place, *refspecs]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        end = Timer(TIMEOUT_S, process.kill)
        end.start()
        said: list[str] = []
        try:
            for line in _read_lines(process):
                update(line) if _PROGRESS.match(line) else said.append(line)
        finally:
            end.cancel()
            process.kill()
            code = process.wait()
        _check(code, "\n".join(said))

    def has_tree(self, commit: str) -> bool:
        """Whether a commit is here with every file of its tree: an interrupted fetch can leave a part of it."""
        try:
            self.run("rev-list", "--objects", "--quiet", "--no-walk", commit)
        except Missing:
            return False
        return True

    def read_blobs(self, object_ids: Sequence[str]) -> Iterator[bytes]:
        """The contents of files, in turn. Raises Missing for one that is not here."""
        with tempfile.TemporaryFile() as wanted:
            wanted.write("".join(f"{each}\n" for each in object_ids).encode())
            wanted.seek(0)
            command = self._command(["cat-file", "--batch"])
            process = subprocess.Popen(command, stdin=wanted, stdout=subprocess.PIPE, env=environment())
        try:
            stream = process.stdout
            assert stream
            for each in object_ids:
                answer = stream.readline().split()  # its id, type and size; or its id and "missing"
                if len(answer) != 3 or answer[1] != b"blob":
                    raise Missing(f"there is no file {each}")
                yield stream.read(int(answer[2]))
                stream.read(1)
        finally:
            process.kill()
            process.communicate()

    def _command(self, arguments: Sequence[str]) -> list[str]:
        settings = [word for setting in _SETTINGS for word in ("-c", setting)]
        return ["git", *settings, "--git-dir", str(self.folder), *arguments]


def environment(known: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment for git: no settings of whoever runs this; proxies and certificates stay as they are."""
    own = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C"}
    own |= {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": ""}  # a password is asked of nobody
    for name in _AUTHORITIES:
        if Path(known.get(name, "")).is_file():
            own.setdefault("GIT_SSL_CAINFO", known[name])
    return {key: value for key, value in known.items() if not key.startswith("GIT_")} | own


def _read_lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """What it prints on stderr, where a line that is written over another ends in a carriage return."""
    assert process.stderr
    rest = b""
    while piece := os.read(process.stderr.fileno(), CHUNK):
        *lines, rest = re.split(rb"[\r\n]", rest + piece)
        yield from (line.decode(errors="replace").strip() for line in lines)
    yield rest.decode(errors="replace").strip()


def _check(code: int, said: str) -> None:
    if code != 0:
        lines = [line for line in said.splitlines() if line.startswith(("fatal:", "error:", "remote:"))]
        # The first is the cause: what comes after it is what could not go on.
        cause = lines[0].partition(":")[2].strip() if lines else said.strip().rpartition("\n")[2]
        raise Missing(cause or f"git ended with {code}")
