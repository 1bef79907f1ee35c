"""The embedded engine: unpacked from locked Debian packages, with a socket, data and network namespace of its own.

Nothing is installed, and an engine that the host runs is never touched: with a bridge switched off in the host's own
network namespace, dockerd would delete the other engine's docker0, hence the namespace.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from debian.debfile import DebFile
from docker.errors import DockerException

from scripts.console import step
from scripts.engine.client import NONSENSE, Client
from scripts.engine.engine import Engine
from scripts.errors import Undecided
from scripts.files import content_id, naming_disk_full, write_json
from scripts.model import LockedFile

START_S = 60
STOP_S = 30
_KEPT = ("./usr/bin/", "./usr/sbin/", "./usr/libexec/docker/")


@dataclass(frozen=True)
class Embedded:
    """Where one checkout's engine lives. Sockets have paths of at most 107 bytes, so they lie under /run."""

    folder: Path

    @property
    def run(self) -> Path:
        return Path("/run/hallmark") / hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:12]

    @property
    def socket(self) -> Path:
        return self.run / "docker.sock"

    @property
    def log(self) -> Path:
        return self.folder / "dockerd.log"

    def up(self, packages: Sequence[LockedFile], fetch: Callable[[], Sequence[Path]]) -> Engine:
        """Start the engine unless it runs already; `fetch` is called where its packages are not unpacked yet.

        Raises Undecided where it cannot start, with the end of its log.
        """
        programs = self.programs(packages)
        if not programs.is_dir():
            self._unpack(fetch(), programs)
        if not (version := self._ask_version()):
            if self._pid() is None:  # one that is there and does not answer yet is waited for
                self._start(programs)
            version = self._await_version()
        plugin = self._config / "cli-plugins" / "docker-buildx"
        if not plugin.is_symlink() or plugin.resolve() != (programs / "usr/libexec/docker/cli-plugins/docker-buildx"):
            plugin.parent.mkdir(parents=True, exist_ok=True)
            plugin.unlink(missing_ok=True)
            plugin.symlink_to(programs / "usr/libexec/docker/cli-plugins/docker-buildx")
        return self._describe(programs, version)

    def find(self, packages: Sequence[LockedFile]) -> Engine | None:
        """The engine where it runs and answers, else None. Nothing is started, fetched or written."""
        version = self._ask_version() if self.is_running else ""
        return self._describe(self.programs(packages), version) if version else None

    def down(self) -> bool:
        """Stop the engine; images and cache stay. Returns whether it ran. Raises Undecided where it does not stop."""
        pid = self._pid()
        if pid is None:
            return False
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while self._pid() is not None:
            if time.monotonic() > deadline:
                raise Undecided(f"dockerd (process {pid}) does not stop", str(self.log), f"kill -9 {pid}")
            time.sleep(0.1)
        shutil.rmtree(self.run, ignore_errors=True)
        return True

    @property
    def is_running(self) -> bool:
        return self._pid() is not None

    def status(self) -> str:
        """One line for people: whether it runs, as which process, and where its log is."""
        pid = self._pid()
        if pid is None:
            return "embedded engine: not running"
        version = self._ask_version() or "not answering"
        return f"embedded engine: {version} at unix://{self.socket} (process {pid}), log {self.log}"

    @property
    def _config(self) -> Path:
        return self.folder / "config"

    def _describe(self, programs: Path, version: str) -> Engine:
        environment = {"PATH": _search_path(programs), "DOCKER_CONFIG": str(self._config)}
        return Engine(f"unix://{self.socket}", embedded=True, version=version, environment=environment)

    def programs(self, packages: Sequence[LockedFile]) -> Path:
        """The folder that holds (or will hold) these packages' usr/."""
        return (self.folder / content_id([package.sha256 for package in packages])[:12]).resolve()

    def _unpack(self, packages: Sequence[Path], programs: Path) -> None:
        fresh = programs.with_name(f"{programs.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        with step("engine", "unpack"), naming_disk_full(fresh), ThreadPoolExecutor() as pool:
            list(pool.map(lambda package: _extract(package, fresh), packages))
        fresh.rename(programs)

    def _start(self, programs: Path) -> None:
        if os.geteuid() != 0:
            raise Undecided(
                "the embedded engine needs root",
                "engine",
                "run as root, or install Docker Engine 26 or newer with the containerd image store",
            )
        self.run.mkdir(parents=True, exist_ok=True)
        (self.run / "docker.pid").unlink(missing_ok=True)
        # Debian's 26.1 knows the containerd image store by this file alone.
        settings = {
            "features": {"containerd-snapshotter": True, "cdi": True},
            # By itself it would drop cache mounts that were not used for two days. We prune after each run.
            "builder": {"gc": {"enabled": False}},
        }
        write_json(self.folder / "daemon.json", settings)
        command = ["unshare", "--net", "dockerd", "--config-file", str(self.folder / "daemon.json")]
        command += ["--host", f"unix://{self.socket}", "--data-root", str(self.folder / "data")]
        command += ["--exec-root", str(self.run / "exec"), "--pidfile", str(self.run / "docker.pid")]
        command += ["--bridge", "none", "--iptables=false", "--ip6tables=false"]
        with self.log.open("wb") as log:
            subprocess.Popen(
                command,
                env=os.environ | {"PATH": _search_path(programs)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the build, not for the engine
            )

    def _await_version(self) -> str:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if version := self._ask_version():
                return version
            time.sleep(0.2)
        tail = self.log.read_text(errors="replace").splitlines()[-5:]
        cause = f"the embedded engine did not start within {START_S} s"
        raise Undecided(cause, str(self.log), "read the log; `nox -s doctor` says what is missing here", tail)

    def _ask_version(self) -> str:
        if not self.socket.exists():
            return ""
        try:
            return str(Client(f"unix://{self.socket}", 10).version()["Version"])
        except (DockerException, OSError, *NONSENSE):
            return ""

    def _pid(self) -> int | None:
        """The engine's process, if the one that the pid file names is this checkout's dockerd."""
        try:
            pid = int((self.run / "docker.pid").read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except (OSError, ValueError):
            return None
        return pid if str(self.folder / "data") in command.split("\0") else None


def _search_path(programs: Path) -> str:
    return os.pathsep.join([str(programs / "usr/bin"), str(programs / "usr/sbin"), os.environ.get("PATH", os.defpath)])


def _extract(package: Path, destination: Path) -> None:
    """Lay a package's programs down. Only plain files and links under a few folders: nothing else is needed to run."""
    with package.open("rb") as stream, DebFile(fileobj=stream).data.tgz() as archive:
        for member in archive:
            if not member.name.startswith(_KEPT) or ".." in Path(member.name).parts:
                continue
            path = destination / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            if member.issym():
                path.symlink_to(member.linkname)
            elif member.isfile() and (source := archive.extractfile(member)):
                with path.open("wb") as target:
                    shutil.copyfileobj(source, target)
                path.chmod(0o755)
