"""Pulp's container registry: a Django application on PostgreSQL, with a token service, and a second server for blobs.

Its wheels go into an environment of its own; PostgreSQL is Debian's package `postgresql`.
Settings: https://pulpproject.org/pulpcore/docs/admin/reference/settings/
"""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uv import find_uv_bin

from tests.docker_registry import await_port, end_with_parent, find_port
from tests.integration.sandbox.test_registry import make_key

USER, PASSWORD = "admin", "a password of the tests"
TOKEN_S = 5  # seconds for which a token is good: shorter than a promotion, so that each asks for more than one
_START_S = 120
_END_S = 30
_DATABASE = "postgres"  # the user that may run PostgreSQL, which root may not; and a database that it always has


@dataclass(frozen=True)
class Pulp:
    """Where it answers: the registry itself, and the server that it redirects to for blobs; ports of 127.0.0.1."""

    port: int
    blobs: int

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextmanager
def serve_pulp(folder: Path) -> Iterator[Pulp]:
    """Install it, start it with an empty database, and end it; its logs and files are in the folder."""
    programs = _install(folder / "environment")
    pulp = Pulp(find_port(), find_port())
    with _serve_database(folder) as database:
        settings = _write_settings(folder, pulp, database)
        environment = os.environ | {"PULP_SETTINGS": str(settings), "HOME": str(folder)}  # its servers write there, too
        manager = programs / "pulpcore-manager"
        for arguments in (["migrate", "--verbosity", "0"], ["reset-admin-password", "--password", PASSWORD]):
            _call([manager, *arguments], env=environment)
        with ExitStack() as stack:
            for name, port in (("api", pulp.port), ("content", pulp.blobs)):
                command = [str(programs / f"pulpcore-{name}"), "--bind", f"127.0.0.1:{port}", "--workers", "1"]
                stack.enter_context(_running(command, folder / f"{name}.log", env=environment))
            worker = [programs / "pulpcore-worker"]
            stack.enter_context(_running(worker, folder / "worker.log", env=environment))
            for port in (pulp.port, pulp.blobs):
                await_port(port, _START_S)
            yield pulp


def _install(folder: Path) -> Path:
    """An environment with its wheels; the folder of its programs."""
    uv = find_uv_bin()
    _call([uv, "venv", "--quiet", "--python", sys.executable, folder])
    python = folder / "bin/python"
    _call([uv, "pip", "install", "--quiet", "--python", python, "-r", Path(__file__).with_name("requirements.txt")])
    return python.parent


@contextmanager
def _serve_database(folder: Path) -> Iterator[Path]:
    """An empty PostgreSQL, which root may not run; yields the folder of its socket."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    assert found, "PostgreSQL is not here: apt-get install postgresql"
    programs = found[-1]
    home = Path(tempfile.mkdtemp(prefix="hallmark-postgres-"))  # a short path, on which every folder lets its user in
    try:
        shutil.chown(home, _DATABASE, _DATABASE)
        account = {"cwd": home, "user": _DATABASE, "group": _DATABASE, "extra_groups": []}
        as_found = ["--auth=trust", "--username=pulp", "--no-sync", "--encoding=UTF8", "--no-locale"]
        _call([programs / "initdb", "--pgdata", home / "data", *as_found], **account)
        paths = [f"{programs}/postgres", "-D", f"{home}/data", "-k", f"{home}"]
        command = [*paths, "-c", "listen_addresses=", "-c", "fsync=off"]
        with _running(command, folder / "database.log", **account):
            deadline = time.monotonic() + _START_S
            while subprocess.run([programs / "pg_isready", "--quiet", "--host", home], check=False).returncode:
                assert time.monotonic() < deadline, (folder / "database.log").read_text()
                time.sleep(0.1)
            yield home
    finally:
        shutil.rmtree(home)


def _write_settings(folder: Path, pulp: Pulp, database: Path) -> Path:
    """Its settings, and the keys that they name."""
    private, public = make_key(folder, "tokens")
    secret = folder / "database.key"
    secret.write_bytes(base64.urlsafe_b64encode(os.urandom(32)))
    files = folder / "files"
    for name in ("media", "tmp", "assets"):
        (files / name).mkdir(parents=True)
    server = {"ENGINE": "django.db.backends.postgresql", "NAME": _DATABASE, "USER": "pulp", "HOST": str(database)}
    settings: dict[str, object] = {
        "SECRET_KEY": os.urandom(32).hex(),
        "DATABASES": {"default": server},
        "DB_ENCRYPTION_KEY": str(secret),
        "DEPLOY_ROOT": str(files),
        "MEDIA_ROOT": str(files / "media"),
        "STATIC_ROOT": str(files / "assets"),
        "WORKING_DIRECTORY": str(files / "tmp"),
        "FILE_UPLOAD_TEMP_DIR": str(files / "tmp"),
        "CONTENT_ORIGIN": f"http://127.0.0.1:{pulp.blobs}",
        "TOKEN_SERVER": f"http://{pulp.place}/token/",
        "TOKEN_SIGNATURE_ALGORITHM": "ES256",
        "TOKEN_EXPIRATION_TIME": TOKEN_S,
        "PRIVATE_KEY_PATH": str(private),
        "PUBLIC_KEY_PATH": str(public),
        "ANALYTICS": False,
    }
    path = folder / "settings.py"
    path.write_text("".join(f"{name} = {value!r}\n" for name, value in settings.items()))
    return path


def _call(command: Sequence[str | Path], **options: Any) -> None:
    """Run a program to its end, which must be a good one."""
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options)
    assert run.returncode == 0, f"{command}\n{run.stdout}{run.stderr}"


@contextmanager
def _running(command: Sequence[str | Path], log: Path, **options: Any) -> Iterator[None]:
    """Run a program while the block does; what it says goes into a file."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, preexec_fn=end_with_parent, **options
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_END_S)
