"""Two processes, as on two machines, at one real registry: the same tags at the same time, round after round."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from scripts.errors import ConfigError, Undecided
from scripts.matrix import Tags
from scripts.model import Outcome, Result
from scripts.oci.layout import Layout
from scripts.publish.move import Overtaken
from scripts.publish.promote import withdraw_tag
from scripts.publish.proof import Proof
from scripts.publish.service import retire_tags, return_tag
from scripts.publish.stamp import Dossier, stamp_registry
from scripts.reference import Repository
from scripts.registry.client import Manifest, Registry
from scripts.registry.withdrawn import read_withdrawal
from scripts.smoke.smoke import Evidence
from tests.unit.attest import BUILD, no_licences
from tests.unit.builders import CPU, make_cell
from tests.unit.registry.fake_registry import make_layout

MOVING = ("1.0-cpu", "cpu")
ROUNDS = 8
AHEAD_S = 0.05  # for a process to have its task before the moment at which both begin


@dataclass(frozen=True)
class Machine:
    """What one of the two has: its own locks, an image that it has accepted, and nothing of the other's."""

    registry: str
    folder: Path
    name: str

    @property
    def repository(self) -> Repository:
        return Repository.parse(f"{self.registry}/hallmark/image")

    @property
    def locks(self) -> Path:
        return self.folder / self.name / "locks"

    @property
    def layout(self) -> Layout:
        return Layout.open(self.folder / self.name / "layout")

    def publish(self) -> None:
        digest = self.layout.digest
        evidence = Evidence("serve", "5" * 64, digest, (Result("load", Outcome.PASSED),), 2.5, self.name, {})
        proof = Proof(make_cell(CPU, "wheel"), ("serve/load",), (), (evidence,))
        tags = Tags("image", "cpu", "1.0-cpu", f"1.0-cpu-{digest[7:19]}")
        stamp_registry(Registry(), self.repository, self.layout, Dossier(tags, proof, BUILD, no_licences), self.locks)

    def withdraw(self) -> None:
        """Take the tags off the image that the other one has."""
        other = Machine(self.registry, self.folder, "old").layout.digest
        for tag in MOVING:
            withdraw_tag(Registry(), self.repository, tag, other, "rejected", self.locks)

    def retire(self) -> None:
        retire_tags(Registry(), self.repository, MOVING, "old", self.locks)

    def bring_back(self) -> None:
        for tag in MOVING:
            return_tag(Registry(), self.repository, tag, self.locks)

    def held(self) -> list[Manifest | None]:
        return [Registry().get_manifest(self.repository, tag) for tag in MOVING]


def act(machine: Machine, name: str, at: float) -> str:
    """In a process of its own: do something at a moment; how it ended."""
    time.sleep(max(0.0, at - time.time()))
    step: Callable[[], None] = getattr(machine, name)
    try:
        step()
    except Overtaken:
        return "overtaken"
    except (ConfigError, Undecided) as error:
        return f"{type(error).__name__}: {error}"
    return "done"


class Two:
    """The two machines, and the image that was there before them."""

    def __init__(self, registry: str, folder: Path, pool: ProcessPoolExecutor) -> None:
        self.pool = pool
        self.one, self.two, self.old = (Machine(registry, folder, name) for name in ("one", "two", "old"))
        for machine in (self.one, self.two, self.old):
            make_layout(folder / machine.name / "layout", machine.name)

    def meet(self, first: str, second: str, delay_s: float) -> tuple[str, str]:
        at = time.time() + AHEAD_S
        tasks = [
            self.pool.submit(act, machine, name, at + late)
            for machine, name, late in ((self.one, first, 0.0), (self.two, second, delay_s))
        ]
        one, two = (task.result(60) for task in tasks)
        return one, two

    def begin(self) -> None:
        """The old image is under both tags."""
        self.old.bring_back()
        self.old.publish()

    def digests(self) -> list[str]:
        """What each tag names; `withdrawn` or `retired` where it names no image."""
        found = []
        for held in self.one.held():
            said = read_withdrawal(held) if held else None
            found.append(("retired" if said.retired else "withdrawn") if said else held.digest if held else "nothing")
        return found


def test_two_machines_that_move_the_same_tags_leave_them_on_what_was_accepted(registry: str, tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        two = Two(registry, tmp_path, pool)
        one, other, old = (machine.layout.digest for machine in (two.one, two.two, two.old))
        two.begin()
        delays = [number * 0.2 / ROUNDS for number in range(ROUNDS)]
        for delay in delays:
            ended = two.meet("publish", "publish", delay)
            held = two.digests()
            assert set(held) <= {one, other, old} and set(ended) <= {"done", "overtaken"}, (ended, held)
            if ended == ("done", "done"):
                assert held in ([one, one], [other, other]), "a split is never passed over in silence"
            for machine, digest in ((two.one, one), (two.two, other)):
                machine.publish()
                assert two.digests() == [digest, digest], "another run ends well"
        for delay in delays:
            two.begin()
            ended = two.meet("publish", "withdraw", delay / 2)
            held = two.digests()
            assert ended[1] == "done" and ended[0] in ("done", "overtaken") and set(held) <= {one, "withdrawn"}, held
            two.one.publish()
            assert two.digests() == [one, one]
        for delay in delays:
            two.begin()
            ended = two.meet("publish", "retire", delay)
            held = two.digests()
            assert ended[1] == "done" and one not in held and "retired" in held, (ended, held)
            two.two.retire()
            assert two.digests() == ["retired", "retired"], "another run ends well"
