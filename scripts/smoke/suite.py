"""Upstream's own tests, as they were locked, laid out for a container that runs some of them."""

from __future__ import annotations

import json
import shutil
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from scripts.errors import ConfigError
from scripts.lock.slots import name_suite_lock
from scripts.matrix import Image, Scenario, UpstreamTest
from scripts.model import Cell

UPSTREAM, SITE = "upstream", "site"  # the folders that a container sees: the tests, and what they need beside the image
PLUGIN = Path(__file__).parent / "inside" / SITE / "marking.py"  # of pytest's, and ours
SHARE = 0.9  # of a scenario's time, for its tests: what is left is for the report of those that take too long


@dataclass(frozen=True)
class SuiteFiles:
    """A suite on the disk: the source distribution, the package of tests in it, and the wheels that they need."""

    sdist: Path
    folder: str
    wheels: tuple[Path, ...]


def find_suite_lock(image: Image, cell: Cell) -> Path:
    """The lock that names the bytes of a cell's suite."""
    return image.folder / "lock" / name_suite_lock(cell.recipe, cell.cuda.slug if cell.cuda else cell.line)


def tell_tests(scenario: Scenario) -> dict[str, str]:
    """The variables by which the script in the container, pytest and our plugin know a scenario's tests."""
    limit = max(1, int(SHARE * scenario.timeout_s))
    return {
        "HALLMARK_UPSTREAM": json.dumps([asdict(test) for test in scenario.tests], sort_keys=True),
        "PYTEST_ADDOPTS": f"-p {PLUGIN.stem} --session-timeout={limit}",
    }


def lay_out_suite(suite: SuiteFiles, tests: Sequence[UpstreamTest], folder: Path) -> None:
    """Unpack a suite. Raises ConfigError where its version has no such test: nothing of it would be run."""
    with tarfile.open(suite.sdist) as archive:
        for member in archive:
            _, *parts = PurePosixPath(member.name).parts
            if member.isfile() and parts[:1] == [suite.folder]:
                archive.extract(member.replace(name="/".join(parts)), folder / UPSTREAM, filter="data")
    for wheel in suite.wheels:
        with zipfile.ZipFile(wheel) as members:
            members.extractall(folder / SITE)  # noqa: S202  locked bytes, and zipfile leads nothing out of the folder
    (folder / SITE).mkdir(exist_ok=True)
    shutil.copyfile(PLUGIN, folder / SITE / PLUGIN.name)
    if missing := [test.file for test in tests if not (folder / UPSTREAM / suite.folder / test.file).is_file()]:
        raise ConfigError(f"it has no {', '.join(missing)}", suite.sdist.name, "correct [[scenario.tests]]")
