"""A Docker Engine that images are built and smoke-tested in: the SDK for containers, the CLI for builds."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import Any

import docker

from scripts.answers import find_unbounded
from scripts.engine.client import FAILURES, NONSENSE, Client, naming_nonsense
from scripts.errors import Undecided

API_TIMEOUT_S = 600  # unpacking a 10 GB image happens within one request
LONGEST_LINE = 1 << 24  # letters of what the CLI prints: one that is longer is handed on in pieces
END_S = 20  # for a command that was asked to end: it tells the builder first

# BuildKit's kinds of records but `exec.cachemount`; a filter can name one, and cannot leave one out.
RECORDS = ("regular", "source.local", "source.git.checkout", "frontend", "internal")


@dataclass(frozen=True)
class Engine:
    """`host` is the engine's address, `embedded` whether it is ours alone; `environment` is what its CLI needs."""

    host: str
    embedded: bool
    version: str
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    _children: set[subprocess.Popen[str]] = field(default_factory=set, repr=False, compare=False)
    _containers: set[Any] = field(default_factory=set, repr=False, compare=False)
    _ended: Event = field(default_factory=Event, repr=False, compare=False)

    @cached_property
    def client(self) -> docker.DockerClient:
        """The SDK's client. Raises Undecided where the engine no longer answers."""
        try:
            return Client(self.host, API_TIMEOUT_S)
        except (*FAILURES, *NONSENSE) as error:
            raise Undecided(f"the engine does not answer: {_say(error)}", self.host, "nox -s engine -- up") from error

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Turn what the SDK raises into an Undecided: the engine failed, whatever it was asked.

        What the engine answers is to be read within, for it may be anything.
        """
        try:
            with naming_nonsense():
                yield
        except FAILURES as error:
            raise Undecided(f"the engine failed: {_say(error)}", self.host, self.mend) from error

    @property
    def away(self) -> bool:
        """Whether it is on another machine, and shares no files with this one."""
        return False

    @property
    def mend(self) -> str:
        """What to do where it fails."""
        return "nox -s engine -- status"

    @contextmanager
    def sharing(self, folder: Path) -> Iterator[None]:
        """Let containers share what they write to a folder of this machine, while the block runs."""
        yield

    @cached_property
    def data_root(self) -> Path:
        """Where the engine keeps images, if that is on this machine; else this machine's root."""
        with self.explaining():
            folder = Path(str(self.client.info().get("DockerRootDir", "/")))
            return folder if folder.is_dir() else Path("/")

    def spawn(self, arguments: list[str], on_line: Callable[[str], None]) -> int:
        """Run the docker CLI and hand on what it prints, line by line; returns the exit code (below 0: a signal's).

        The child ends with us: an interrupted build must not go on in the background. Raises Undecided where there is
        no `docker` to run.
        """
        try:
            process = subprocess.Popen(
                ["docker", *arguments],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise Undecided(str(error), f"docker {arguments[0]}", "nox -s engine -- status") from error
        assert process.stdout is not None
        self._children.add(process)
        try:
            while line := process.stdout.readline(LONGEST_LINE):
                on_line(line.rstrip("\r\n"))
            return process.wait()
        finally:
            self._children.discard(process)
            if process.poll() is None:
                _end(process)

    def end_children(self) -> None:
        """End what other threads have running with `spawn`, so that they can end themselves."""
        for process in tuple(self._children):
            process.terminate()

    @contextmanager
    def tending(self, container: Any) -> Iterator[None]:
        """Let `end_containers` end a container while the block runs. Raises Undecided once it has been called."""
        self._containers.add(container)
        try:
            self._require_going()
            yield
        finally:
            self._containers.discard(container)
            self._require_going()

    def end_containers(self) -> None:
        """Remove what other threads have running in sandboxes, for good: nothing of this engine's begins any more."""
        self._ended.set()
        for container in tuple(self._containers):
            with suppress(*FAILURES), naming_nonsense():
                container.remove(force=True, v=True)

    def _require_going(self) -> None:
        if self._ended.is_set():
            raise Undecided("the run was interrupted", self.host, "run the same command again")

    def query(self, arguments: list[str]) -> str:
        """Run the docker CLI and return what it printed. Raises Undecided where it fails."""
        command = ["docker", *arguments]
        try:
            run = subprocess.run(
                command, env=self._environment(), capture_output=True, text=True, check=False, timeout=API_TIMEOUT_S
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Undecided(str(error), f"docker {arguments[0]}", "nox -s engine -- status") from error
        if run.returncode != 0:
            cause = f"ended with exit code {run.returncode}"
            raise Undecided(cause, f"docker {arguments[0]}", "nox -s engine -- status", run.stderr.splitlines())
        return run.stdout

    def prune_build_cache(self, *, everything: bool = False) -> None:
        """Empty BuildKit's cache, if the engine is ours alone: a host's cache is its owner's.

        What compilers keep there (ccache) stays, unless `everything` goes: it is the work of hours, and never stale.
        """
        if self.embedded:
            for kind in ("",) if everything else RECORDS:
                self.query(["builder", "prune", "--all", "--force", *(["--filter", f"type={kind}"] if kind else [])])

    def _environment(self) -> dict[str, str]:
        return os.environ | dict(self.environment) | {"DOCKER_HOST": self.host}


def _say(error: BaseException) -> str:
    unbounded = find_unbounded(error)
    return f"{unbounded.strerror}, which is not read on" if unbounded else str(error)


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:  # the engine that it talks to hangs
        process.kill()
        process.wait()
