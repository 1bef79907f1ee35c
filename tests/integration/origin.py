"""Where sources come from, on this machine: git repositories that lie in one another, and a server of files."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

TIMEOUT_S = 60
NOBODY = "http://127.0.0.1:9"  # where no server is


def git(folder: Path, *arguments: str, data: str = "") -> str:
    """What git prints, run in a folder as somebody with a name and nothing else set up."""
    command = ["git", "-c", "user.name=Somebody", "-c", "user.email=a@b", "-c", "init.defaultBranch=main", *arguments]
    run = subprocess.run(
        command, cwd=folder, input=data, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def make_repository(
    folder: Path, files: Mapping[str, str], submodules: Mapping[str, tuple[str, str]] | None = None
) -> str:
    """A bare repository with one commit, and its id. A file whose name ends in `!` can be run, one in `@` is a link.

    `submodules` are addresses and commits by folder: nobody looks whether those are there.
    """
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--bare")
    modules = submodules or {}
    text = "".join(
        f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n' for path, (url, _) in modules.items() if url
    )
    for name, content in ({**files, ".gitmodules": text} if text else files).items():
        mode = {"!": "100755", "@": "120000"}.get(name[-1], "100644")
        blob = git(folder, "hash-object", "-w", "--stdin", data=content)
        git(folder, "update-index", "--add", "--cacheinfo", f"{mode},{blob},{name.rstrip('!@')}")
    for path, (_, commit) in modules.items():
        git(folder, "update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
    commit = git(folder, "commit-tree", "-m", "All of it", git(folder, "write-tree"))
    git(folder, "update-ref", "refs/heads/main", commit)
    git(folder, "update-server-info")
    return commit


@dataclass
class Server:
    """Files over HTTP, with ranges. `cuts`: after so many bytes of a path the connection ends, once; HEAD has none."""

    folder: Path
    url: str = ""
    cuts: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)  # path, and range


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, server: Server, *arguments: object) -> None:
        self.files = server
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        span = self.headers.get("Range", "")
        self.files.asked.append((path, span))
        file = self.files.folder / path.lstrip("/")
        if not file.is_file():
            self.send_error(404)
            return
        start = int(span.removeprefix("bytes=").removesuffix("-") or 0)
        data = file.read_bytes()[start:]
        self.send_response(206 if span else 200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: self.files.cuts.pop(path, len(data))])

    def do_HEAD(self) -> None:
        if self.files.cuts.pop(self.path, None) is None:
            self.send_response(200)
            self.send_header("Content-Length", str((self.files.folder / self.path.lstrip("/")).stat().st_size))
            self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Serve a folder on a free port of this machine."""
    server = Server(folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, server)) as web:
        server.url = f"http://127.0.0.1:{web.server_port}"
        thread = Thread(target=web.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server
        web.shutdown()
        thread.join(TIMEOUT_S)
