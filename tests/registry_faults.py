"""What a registry's faults do to a stamp: each at every request of publishing and of withdrawing, and then another run.

`nox -s registry-faults` prints the table of docs/verifying.md. Ends with 1 where a tag was left on anything but what it
named before or an accepted image, or where another run did not end well.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import requests

from scripts.console import note
from scripts.errors import Undecided
from scripts.matrix import Tags
from scripts.model import Outcome, Result
from scripts.oci.layout import Layout
from scripts.publish.proof import Proof
from scripts.publish.stamp import Dossier, stamp_registry, withdraw_registry
from scripts.registry.auth import Credentials
from scripts.registry.client import Manifest, Registry
from scripts.registry.withdrawn import read_withdrawal
from scripts.smoke.smoke import Evidence
from tests.unit.attest import BUILD, make_signer, no_licences
from tests.unit.builders import CPU, make_cell
from tests.unit.registry.fake_registry import (
    FAULTS,
    REPOSITORY,
    FakeRegistry,
    Fault,
    make_layout,
    refuse,
    reply,
)

TAGS = Tags("image", "cpu", "1.0-cpu", "1.0-cpu-abcdef012345")
OLD = b'{"schemaVersion": 2, "layers": [], "old": true}'


class Killed(BaseException):
    """Stands in for SIGKILL: nothing catches it, and nothing is tidied up."""


def kill(registry: FakeRegistry, request: requests.PreparedRequest) -> requests.Response:
    registry.answer(request)
    raise Killed


def throttle(registry: FakeRegistry, request: requests.PreparedRequest) -> requests.Response:
    return refuse(request, 429, "TOOMANYREQUESTS", {"Retry-After": "3"})


def show_a_page(registry: FakeRegistry, request: requests.PreparedRequest) -> requests.Response:
    """A portal's answer to everything: 200, and a page for people."""
    return reply(request, 200, b"<html>please log in</html>", {"Content-Type": "text/html"})


def lead_away(registry: FakeRegistry, request: requests.PreparedRequest) -> requests.Response:
    return reply(request, 307, headers={"Location": "https://elsewhere.example.net/v2/"})


def answer_slowly(registry: FakeRegistry, request: requests.PreparedRequest) -> requests.Response:
    raise requests.ReadTimeout(f"timed out: {request.url}")


NAMED: dict[str, Fault] = {
    "connection refused or reset": FAULTS["drop"],
    "its answer is lost": FAULTS["lose_reply"],
    "no answer in time": answer_slowly,
    "500": FAULTS["fail"],
    "429": throttle,
    "401, and no way to a token": FAULTS["unauthorized"],
    "other bytes, stored or served": FAULTS["wrong_bytes"],
    "bytes cut short": FAULTS["cut_short"],
    "200, and a page for people": show_a_page,
    "a redirect to another host": lead_away,
    "kill -9": kill,
}


Stage = Callable[[FakeRegistry, Layout, Path], None]


@dataclass
class Row:
    """What came of one fault at every request: how often it was planted, and in what state each run left things."""

    fault: str
    planted: int = 0
    went_on: int = 0
    said_so: int = 0
    wrong: list[str] = field(default_factory=list)
    unmended: list[str] = field(default_factory=list)


class Watched(FakeRegistry):
    """A registry that notices whose hosts the password is sent to."""

    def __init__(self) -> None:
        super().__init__(deletes_tags=False)
        self.told: set[str] = set()
        self.path = f"{REPOSITORY.path}"

    def answer(self, request: requests.PreparedRequest, *rest: Callable[[bytes], bytes]) -> requests.Response:
        if "elsewhere" in str(request.url):
            if "Authorization" in request.headers:
                self.told.add("elsewhere.example.net")
            return refuse(request, 404, "NOT_FOUND")
        return super().answer(request, *rest)


def try_all(layout: Layout, locks: Path, names: Sequence[str]) -> Iterator[Row]:
    """Each of these faults, once at every request of a promotion over an old tag, and of the withdrawal of that."""
    image = layout.blob_path(layout.digest).read_bytes()
    for name in names:
        fault = NAMED[name]
        row = Row(name)
        for stage in (publish, withdraw):
            for at in range(1, 200):
                fake = Watched()
                fake.store(OLD, *TAGS.moving)
                if stage is withdraw:
                    publish(fake, layout, locks)
                fake.requests, fake.faults = [], {at: fault}
                ended = attempt(stage, fake, layout, locks)
                if len(fake.requests) < at:
                    break
                row.planted += 1
                row.went_on += ended == "went on"
                row.said_so += ended == "said so"
                row.wrong += [f"{stage.__name__}, request {at}: {why}" for why in find_wrong(fake, stage, image)]
                fake.faults = {}
                again = attempt(stage, fake, layout, locks)
                if again != "went on" or not is_done(fake, stage, image):
                    row.unmended.append(f"{stage.__name__}, request {at}: another run {again}")
        yield row


def publish(fake: FakeRegistry, layout: Layout, locks: Path) -> None:
    stamp_registry(connect(fake), REPOSITORY, layout, make_dossier(layout, Outcome.PASSED), locks)


def withdraw(fake: FakeRegistry, layout: Layout, locks: Path) -> None:
    dossier = make_dossier(layout, Outcome.FAILED)
    withdraw_registry(connect(fake), REPOSITORY, layout.digest, dossier, "rejected: load", locks)


def connect(fake: FakeRegistry) -> Registry:
    return fake.client(Credentials("user", "password"))


def make_dossier(layout: Layout, outcome: Outcome) -> Dossier:
    results = (Result("load", outcome), Result("container", Outcome.PASSED))
    finished = f"2026-01-0{1 + (outcome is Outcome.FAILED)}T03:04:05Z"
    evidence = Evidence("serve", "5" * 64, layout.digest, results, 2.5, finished, {"cpu": "8 × some"})
    proof = Proof(make_cell(CPU, "wheel"), ("serve/load", "serve/container"), (), (evidence,))
    return Dossier(TAGS, proof, BUILD, no_licences, make_signer())


def attempt(
    stage: Callable[[FakeRegistry, Layout, Path], None], fake: FakeRegistry, layout: Layout, locks: Path
) -> str:
    try:
        stage(fake, layout, locks)
    except Undecided:
        return "said so"
    except Killed:
        return "killed"
    return "went on"


def find_wrong(fake: Watched, stage: Stage, image: bytes) -> list[str]:
    """What must never be: a tag on other bytes, a tag ahead of the one before it, a password elsewhere."""
    fixed, *moving = map(fake.tag, TAGS.all)
    right = (image, OLD) if stage is publish else (image,)
    wrong = [
        f"the tag {tag} holds something else"
        for tag, held in zip(TAGS.moving, moving, strict=True)
        if held not in right and not (stage is withdraw and is_withdrawn(held))
    ]
    wrong += [] if fixed in (image, None) or is_withdrawn(fixed) else ["the fixed tag holds something else"]
    there = [held == image for held in (fixed, *moving)]
    ahead = stage is publish and there != sorted(there, reverse=True)
    wrong += ["a moving tag is ahead"] if ahead else []
    return wrong + [f"the password went to {host}" for host in fake.told]


def is_withdrawn(held: bytes | None) -> bool:
    return held is not None and read_withdrawal(Manifest(held, "")) is not None


def is_done(fake: Watched, stage: Stage, image: bytes) -> bool:
    fixed, *moving = map(fake.tag, TAGS.all)
    return fixed == image and all(held == image if stage is publish else is_withdrawn(held) for held in moving)


def render(rows: list[Row]) -> list[str]:
    """The table of the page."""
    lines = [
        "| Fault | Planted | It went on | It said so | A wrong tag | Right after another run |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        counts = (row.planted, row.went_on, row.said_so, len(row.wrong), row.planted - len(row.unmended))
        lines.append(f"| {row.fault} | {' | '.join(map(str, counts))} |")
    return lines


def main() -> int:
    """Print the table, and what is wrong."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="hallmark-faults-") as folder:
        layout = make_layout(Path(folder) / "layout", "candidate")
        for row in try_all(layout, Path(folder) / "locks", sys.argv[1:] or list(NAMED)):
            note(f"{row.fault}: {row.planted} times")
            rows.append(row)
    print("\n".join(render(rows)))
    wrong = [f"{row.fault}: {why}" for row in rows for why in (*row.wrong, *row.unmended)]
    for line in wrong:
        note(line)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
