"""Wheels that lie, or that want the same path: refused with the place and the next step, and no image comes of them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.errors import ExitCode
from scripts.files import sha256_file
from scripts.lock.lockfile import Lock, read_lock, write_lock
from scripts.lock.slots import recipe_slot
from scripts.matrix import load_matrix
from scripts.model import LockedFile
from scripts.project import Project
from tests.integration.conftest import run_verb
from tests.unit.assemble import record_of, write_wheel

FILE = "thing-1.0-py3-none-any.whl"


def make_wheel(
    folder: Path, members: Mapping[str, bytes], name: str = "thing", record: Mapping[str, bytes] | None = None
) -> LockedFile:
    """A wheel of these members, locked; `record` are the members that its RECORD was made for, if others."""
    info = f"{name}-1.0.dist-info"
    own = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = record_of({**(members if record is None else record), **own}, info)
    path = write_wheel(folder, {**members, **own}, f"{name}-1.0-py3-none-any.whl", record=rows, info=info)
    return LockedFile("wheel", name, "1.0", path.name, sha256_file(path), path.stat().st_size)


@dataclass(frozen=True)
class Site:
    """A checkout whose `good` image is locked to wheels of our own, which lie in a folder of the site."""

    root: Path
    wheels: Path

    def lock(self, *files: LockedFile) -> None:
        matrix = load_matrix(self.root)
        slot = recipe_slot(matrix, matrix.images["good"], ("wheel", "cpu"))
        epoch = read_lock(self.root / slot.place, slot.place).epoch
        write_lock(self.root / slot.place, Lock(slot.config_id, epoch, files))

    def build(self) -> tuple[int, str]:
        own = {"HALLMARK_WHEELS": str(self.wheels), "XDG_CACHE_HOME": str(self.wheels.with_name("cache"))}
        run = run_verb(self.root, "build", "good-cpu", **own)
        return run.returncode, run.stdout + run.stderr


@pytest.fixture
def site(sandbox: Project, tmp_path: Path) -> Site:
    """It has the sandbox's base image, and a cache of its own: what a hostile wheel leaves there is nobody else's."""
    root = tmp_path / "checkout"
    left_out = shutil.ignore_patterns("engine", "work", "locks")
    shutil.copytree(sandbox.matrix.root, root, ignore=left_out, copy_function=_link)
    shutil.rmtree(root / "images/good")  # this one is written to
    shutil.copytree(sandbox.matrix.root / "images/good", root / "images/good")
    (tmp_path / "wheels").mkdir()
    return Site(root, tmp_path / "wheels")


def _link(source: str, destination: str) -> str:
    Path(destination).hardlink_to(source)
    return destination


def test_a_sound_wheel_of_ours_is_built(site: Site) -> None:
    """The tests below fail for what is wrong with the wheels, and not for how these are made."""
    site.lock(make_wheel(site.wheels, {"thing.py": b"x = 1\n"}))
    code, said = site.build()
    assert code == ExitCode.ACCEPTED, said


@pytest.mark.parametrize(
    ("members", "record", "words"),
    [
        ({"thing.py": b"x = 2\n"}, {"thing.py": b"x = 1\n"}, "`thing.py` has another hash than RECORD says"),
        ({"../../../../../etc/passwd": b"root::0:0::/:/bin/sh\n"}, None, "etc/passwd"),
        ({"thing-1.0.data/scripts/python": b"#!/bin/sh\n"}, None, "belongs to the environment itself"),
    ],
)
def test_a_wheel_that_lies_is_refused(
    site: Site, members: Mapping[str, bytes], record: Mapping[str, bytes] | None, words: str
) -> None:
    site.lock(make_wheel(site.wheels, members, record=record))
    code, said = site.build()
    require_refused(site, code, said, ExitCode.INCONCLUSIVE)
    assert FILE in said and words in said.replace("\n", " "), said


def test_two_wheels_that_want_one_path_are_refused(site: Site) -> None:
    site.lock(
        make_wheel(site.wheels, {"same.py": b"x = 1\n"}),
        make_wheel(site.wheels, {"same.py": b"x = 2\n"}, "other"),
    )
    code, said = site.build()
    require_refused(site, code, said, ExitCode.USAGE)
    assert "images/good/image.toml" in said and "same.py" in said and "[[overlap]]" in said


def require_refused(site: Site, code: int, said: str, expected: ExitCode) -> None:
    assert code == expected, said
    assert "next:" in said and "Traceback" not in said
    assert list((site.root / ".hallmark" / "work").glob("*")) == []
    own = [path for path in site.root.glob(".hallmark/runs/*/build.json") if path.stat().st_nlink == 1]
    assert own == [], "a record of an image that the sandbox did not have before"
