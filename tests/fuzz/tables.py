"""What people and `lock` write: matrix.toml, image.toml, components, locks; Docker's configuration."""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from random import Random

from scripts.lock.lockfile import read_lock
from scripts.matrix import load_matrix
from scripts.plan import make_plan
from scripts.registry.auth import find_credentials, parse_challenges
from scripts.report.plan import show_plan
from tests.fuzz.mutate import mutate_bytes, mutate_json, mutate_text, mutate_value, write_toml
from tests.fuzz.scratch import make_folder
from tests.fuzz.subject import Subject
from tests.unit.builders import write_component, write_locked_project, write_project

FILES = ("matrix.toml", "images/serve/image.toml", "images/base/image.toml", "images/serve/components/kernels/1.0.toml")


def _mark(file: str, text: str) -> bytes:
    """A file of the project as an input: its name stands in its first line, as a comment."""
    return f"# {file}\n{text}".encode()


@cache
def _project() -> Path:
    return write_component(write_project(make_folder()))


@cache
def make_tables() -> list[bytes]:
    root = _project()
    return [_mark(file, (root / file).read_text("utf-8")) for file in FILES]


def mutate_toml(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A table changed as a value, and written again; or its text changed."""
    first, _, text = data.partition(b"\n")
    how = random.random()
    if how < 0.75:
        with suppress(ValueError, RecursionError):
            value = mutate_value(random, tomllib.loads(text.decode()))
            if isinstance(value, dict):
                return first + b"\n" + write_toml(value).encode("utf-8", "surrogatepass")
    if how < 0.85:
        changed = mutate_text(random, text.decode("utf-8", "replace")).encode("utf-8", "surrogatepass")
        return first + b"\n" + changed
    return first + b"\n" + mutate_bytes(random, text, [other.partition(b"\n")[2] for other in others])


def plan(data: bytes, folder: Path) -> None:
    """The plan of a project in which one file is the input."""
    root = _project()
    name, _, text = data.partition(b"\n")
    file = name.decode("utf-8", "replace").removeprefix("# ")
    path = root / (file if file in FILES else FILES[0])
    before = path.read_bytes()
    try:
        path.write_bytes(text)
        show_plan(make_plan(load_matrix(root)))
    finally:
        path.write_bytes(before)


@cache
def make_locks() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_locked_project(root)
        return [path.read_bytes() for path in [root / "matrix.lock", *sorted(root.glob("images/*/lock/*"))]] + [_TREES]


_TREES = f"""# lock
version = 1
config = "{"a" * 64}"
epoch = 1700000000
file = [
    {{kind = "sdist", name = "x", version = "1.0", file = "x-1.0.tar.gz", sha256 = "{"b" * 64}", size = 3}},
    {{kind = "deb", name = "w", version = "1", file = "w.deb", sha256 = "{"d" * 64}", size = 3, path = "pool/w.deb"}},
    {{kind = "archive", name = "y", file = "y.zip", sha256 = "{"c" * 64}", size = 3, url = "https://a.example/y.zip"}},
]
tree = [{{name = "z", repository = "https://a.example/z", commit = "{"1" * 40}", tag = "v1", submodules = ["a/b"]}}]
""".encode()


def lock(data: bytes, folder: Path) -> None:
    """A lock that is taken leads out of no folder."""
    path = folder / "matrix.lock"
    path.write_bytes(data)
    for file in read_lock(path, "matrix.lock").files:
        for name in (file.file, file.path):
            if name.startswith("/") or ".." in name.split("/") or "\0" in name:
                raise AssertionError(f"{name!r} leads out of its folder")


def make_settings() -> list[bytes]:
    return [
        b'{"auths": {"registry.example.com": {"auth": "dXNlcjpzZWNyZXQ="}}, "credHelpers": {}}',
        b'{"auths": {"https://registry.example.com/v1/": {"identitytoken": "abc"}, "b": {}}}',
        b'{"challenge": "Bearer realm=\\"https://a.example/t\\",service=\\"a\\",scope=\\"repository:x:pull\\", Basic"}',
    ]


def log_in(data: bytes, folder: Path) -> None:
    parse_challenges(data.decode("latin-1"))
    if b"credsStore" in data or (b"credHelpers" in data and b'credHelpers": {}' not in data):
        return  # a program would be asked
    (folder / "config.json").write_bytes(data)
    if found := find_credentials("registry.example.com", folder / "config.json"):
        _ = found.basic


SUBJECTS = (
    Subject("matrix", 6_000, make_tables, mutate_toml, plan),
    Subject("lock", 40_000, make_locks, mutate_toml, lock),
    Subject("credentials", 60_000, make_settings, mutate_json, log_in),
)
