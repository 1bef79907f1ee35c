"""A run of the lab's owner, as a file that a test may get wrong in any way."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.attest.keys import PublicKey
from scripts.bundle.check import Checked, check_bundle
from scripts.model import Outcome
from tests.unit.fake_docker import FakeContainer
from tests.unit.pipeline.lab import Lab

GPU, PRO = "serve-cu128-5090-wheel", "serve-cu128-pro6000-wheel"
OWNER = "Alice of the 5090"
# A second scenario that decides, and one that does not.
MORE = """
[[scenario]]
name = "more"
checks = ["load"]
timeout_s = 60
memory_gib = 2
[[scenario]]
name = "extra"
checks = ["load"]
timeout_s = 60
memory_gib = 2
required = false
"""

Said = dict[str, Any]


def dump(content: Said) -> bytes:
    """The one form of a bundle's file."""
    return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


@dataclass
class World:
    """A checkout in which a cell was run, and the bundle of it, which held."""

    lab: Lab
    data: bytes
    folder: Path

    @property
    def said(self) -> Said:
        """What the bundle states, to be changed."""
        return dict(json.loads(self.data)["statement"]["predicate"])

    def write(self, data: bytes, name: str = "alice.json") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def change(self, change: Callable[[Said], object]) -> bytes:
        """The file with another predicate, in the right form."""
        content = json.loads(self.data)
        change(content["statement"]["predicate"])
        return dump(content)

    def check(self, data: bytes | None = None, key: PublicKey | None = None, now: float | None = None) -> Checked:
        return check_bundle(self.lab.project, self.write(self.data if data is None else data), key, now)

    def tamper(self, change: Callable[[Said], object], now: float | None = None) -> Checked:
        return self.check(self.change(change), now=now)


def said_of(found: Checked, step: str) -> str:
    """What a step said, which did not hold."""
    assert step in found.failed, [
        f"{each.check}: {each.detail}" for each in found.results if each.check in found.failed
    ]
    [detail] = [each.detail for each in found.results if each.check == step]
    return detail


def outcome_of(found: Checked, step: str) -> Outcome:
    [outcome] = [each.outcome for each in found.results if each.check == step]
    return outcome


def add_scenarios(lab: Lab) -> None:
    """Have the lab's server go through three scenarios."""
    path = lab.root / "images/serve/image.toml"
    with path.open("a") as stream:
        stream.write(MORE)


def answering(container: FakeContainer) -> None:
    """Every check that was asked for passes, and the server says so on stderr."""
    asked = container.docker.created[-1][1]["environment"]["HALLMARK_CHECKS"].split()
    lines = [{"check": name, "outcome": "passed", "detail": "", "measured": {"seconds": 0.0}} for name in asked]
    container.stdout = "\n".join(map(json.dumps, lines)).encode()
    container.stderr = b"INFO serving\n"


def scenario(said: Said, name: str = "default") -> Said:
    """One scenario of what a bundle states."""
    found: list[Said] = [each for each in said["scenarios"] if each["scenario"] == name]
    assert len(found) == 1
    return found[0]


def result(said: Said, check: str, name: str = "default") -> Said:
    """One result of a scenario."""
    found: list[Said] = [each for each in scenario(said, name)["results"] if each["check"] == check]
    assert len(found) == 1
    return found[0]
