"""Two machines at one registry: all that another does, between any two requests of one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from scripts.errors import ConfigError, Undecided
from scripts.matrix import Tags
from scripts.model import Outcome, Result
from scripts.oci.layout import Layout
from scripts.publish.move import INSIST, Overtaken
from scripts.publish.promote import promote, push_candidate, withdraw_tag
from scripts.publish.proof import Proof
from scripts.publish.service import retire_tag, retire_tags
from scripts.publish.stamp import Dossier, stamp_registry
from scripts.registry.client import Manifest
from scripts.registry.withdrawn import Withdrawal, make_withdrawal, read_withdrawal
from scripts.smoke.smoke import Evidence
from tests.unit.attest import BUILD, no_licences
from tests.unit.builders import CPU, make_cell
from tests.unit.registry.fake_registry import REPOSITORY, FakeRegistry, make_layout, wrong_bytes

OLD = b'{"schemaVersion": 2, "layers": [], "old": true}'
MOVING = ("1.0-cpu", "cpu")
Act = Callable[[], object]


class Site:
    """A registry with an old tag, and two machines that have nothing in common but that."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.one, self.two = (make_layout(folder / name, name) for name in ("one", "two"))
        self.begin()

    def begin(self) -> None:
        self.fake = FakeRegistry(referrers=False, deletes_tags=False)
        self.old = self.fake.store(OLD, *MOVING, "0.9-cpu-000000000000")

    def publish(self, layout: Layout, cell: str = "cpu") -> None:
        fixed = f"1.0-{cell}-{layout.digest[7:19]}"
        evidence = Evidence("serve", "5" * 64, layout.digest, (Result("load", Outcome.PASSED),), 2.5, cell, {})
        dossier = Dossier(
            Tags("image", cell, f"1.0-{cell}", fixed),
            Proof(make_cell(CPU, "wheel"), ("serve/load",), (), (evidence,)),
            BUILD,
            no_licences,
        )
        stamp_registry(self.fake.client(), REPOSITORY, layout, dossier, self.locks(layout.digest[7:] + cell))

    def withdraw(self) -> None:
        for tag in MOVING:
            withdraw_tag(self.fake.client(), REPOSITORY, tag, self.old, "rejected", self.locks("w"))

    def retire(self) -> None:
        retire_tags(self.fake.client(), REPOSITORY, MOVING, "old", self.locks("r"))

    def locks(self, machine: str) -> Path:
        return self.folder / f"locks-{machine[:4]}{machine[-3:]}"

    def meet(self, act: Act, other: Act) -> Iterator[str]:
        """What came of an act, for each of its requests before which all of another was done."""
        for at in range(1, 200):
            self.begin()
            before = len(self.fake.requests)
            met: list[int] = []

            def gate(_: requests.PreparedRequest, at: int = at, before: int = before, met: list[int] = met) -> None:
                if not met and len(self.fake.requests) - before == at:
                    met.append(at)
                    self.others = attempt(other)

            self.fake.gate = gate
            ended = attempt(act)
            if not met:
                return
            yield ended
        pytest.fail("there is always one more request")

    @property
    def held(self) -> list[bytes | Withdrawal | None]:
        return [read(self.fake.tag(tag)) for tag in MOVING]

    def image(self, layout: Layout) -> bytes:
        return layout.blob_path(layout.digest).read_bytes()


def attempt(act: Act) -> str:
    try:
        act()
    except ConfigError:
        return "refused"
    except Overtaken:
        return "overtaken"
    except Undecided as error:
        return str(error)
    return "done"


def read(held: bytes | None) -> bytes | Withdrawal | None:
    return read_withdrawal(Manifest(held or b"", "")) or held


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_two_promotions_leave_one_image_under_both_tags_or_one_of_them_says_so(site: Site) -> None:
    one, two = site.image(site.one), site.image(site.two)
    seen = set()
    for number, ended in enumerate(site.meet(lambda: site.publish(site.one), lambda: site.publish(site.two))):
        seen.add(ended)
        assert site.others == "done"
        assert set(site.held) <= {one, two}
        assert ended == "overtaken" or len(set(site.held)) == 1
        for layout, image in ((site.one, one), (site.two, two)) if number % 7 == 0 or ended != "done" else ():
            site.publish(layout)
            assert site.held == [image, image], "another run ends well"
            assert site.fake.tag(f"1.0-cpu-{layout.digest[7:19]}") == image
    assert seen == {"done", "overtaken"}


def test_what_was_rejected_is_put_under_no_tag_again_by_whoever_promotes(site: Site) -> None:
    one = site.image(site.one)
    for ended in site.meet(lambda: site.publish(site.one), site.withdraw):
        assert site.others == "done" and OLD not in site.held
        assert ended == "overtaken" or site.held == [one, one]
        site.publish(site.one)
        assert site.held == [one, one]


def test_a_withdrawal_leaves_no_rejected_image_whatever_is_promoted_meanwhile(site: Site) -> None:
    one = site.image(site.one)
    for ended in site.meet(site.withdraw, lambda: site.publish(site.one)):
        assert (ended, site.others) == ("done", "done")
        assert all(held == one or isinstance(held, Withdrawal) for held in site.held)
        site.publish(site.one)
        assert site.held == [one, one]


def test_whoever_promotes_as_a_cell_is_retired_is_refused_and_leaves_no_image(site: Site) -> None:
    seen = set()
    for ended in site.meet(lambda: site.publish(site.one), site.retire):
        seen.add(ended)
        assert site.others == "done"
        assert all(isinstance(held, Withdrawal) for held in site.held)
        assert any(isinstance(held, Withdrawal) and held.retired for held in site.held)
        assert attempt(lambda: site.publish(site.two)) == "refused", "and so is whoever comes later"
    assert "refused" in seen


def test_a_cell_is_retired_whatever_is_promoted_meanwhile(site: Site) -> None:
    for ended in site.meet(site.retire, lambda: site.publish(site.one)):
        assert ended == "done"
        assert [isinstance(held, Withdrawal) and held.retired for held in site.held] == [True, True]


def test_two_cells_of_one_image_lose_nothing_that_is_said_of_it(site: Site) -> None:
    lost = 0
    for ended in site.meet(lambda: site.publish(site.one), lambda: site.publish(site.one, "gpu")):
        assert (ended, site.others) == ("done", "done")
        if unlisted(site):
            lost += 1
            site.publish(site.one, "gpu")
            assert not unlisted(site), "another run ends well"
    assert lost <= 2, "all of one between two requests of the other is not seen"


def unlisted(site: Site) -> set[str]:
    """What is attached to the first image, and not listed."""
    listed = json.loads(site.fake.tag(site.one.digest.replace(":", "-")) or b"")["manifests"]
    there = {name for name, (data, _) in site.fake.manifests.items() if b'"subject"' in data and ":" in name}
    return there - {entry["digest"] for entry in listed}


# --- two that go on side by side


class Turns:
    """Machines that each wait before one of their requests until the others have come to theirs, or have ended."""

    def __init__(self, site: Site) -> None:
        self.threads: list[threading.Thread] = []
        self.waits: dict[str, tuple[str, str]] = {}
        self.reached: dict[str, threading.Event] = {}
        self.go: dict[str, threading.Event] = {}
        site.fake.gate = self._gate

    def _gate(self, request: requests.PreparedRequest) -> None:
        name = threading.current_thread().name
        if name in self.waits and (request.method, str(request.url).rpartition("/")[2]) == self.waits[name]:
            del self.waits[name]
            self.reached[name].set()
            assert self.go[name].wait(20)

    def start(self, name: str, act: Act, method: str, reference: str) -> None:
        """Let a machine act up to a request."""
        self.waits[name] = method, reference
        self.reached[name], self.go[name] = threading.Event(), threading.Event()
        self.threads.append(threading.Thread(target=act, name=name))
        self.threads[-1].start()
        assert self.reached[name].wait(20)

    def end(self) -> None:
        """Let all go on, one after another, in the order in which they were started."""
        for thread in self.threads:
            self.go[thread.name].set()
            thread.join(20)


def test_who_retires_sees_a_promotion_that_had_looked_before(site: Site) -> None:
    turns = Turns(site)
    turns.start("promotes", lambda: site.publish(site.one), "PUT", MOVING[0])
    turns.start("retires", site.retire, "GET", MOVING[1])
    turns.end()
    assert [isinstance(held, Withdrawal) and held.retired for held in site.held] == [True, True]


def test_what_another_took_off_the_list_is_listed_again(site: Site) -> None:
    turns = Turns(site)
    turns.start("one", lambda: site.publish(site.one), "PUT", site.one.digest.replace(":", "-"))
    turns.start("two", lambda: site.publish(site.one, "gpu"), "GET", f"1.0-gpu-{site.one.digest[7:19]}")
    turns.end()
    assert not unlisted(site)


# --- one tag


def overwrite(site: Site, tag: str, *held: bytes) -> None:
    """Another machine writes to a tag once each time that this one has written to it."""
    left, seen = list(held), [0]
    site.fake.requests.clear()

    def gate(request: requests.PreparedRequest) -> None:
        if request.method == "GET" and left and len(site.fake.writes) > seen[0]:
            seen[0] = len(site.fake.writes)
            site.fake.store(left.pop(0), tag)

    site.fake.gate = gate


def test_a_write_of_another_machine_stays_and_is_told(site: Site) -> None:
    push_candidate(site.fake.client(), REPOSITORY, site.one)
    there = site.fake.store(site.image(site.two), "1.0-cpu-222222222222")
    overwrite(site, "cpu", site.image(site.two))
    with pytest.raises(Overtaken, match=f"another machine moved the tag at the same time: it names {there}"):
        promote(site.fake.client(), REPOSITORY, site.one.digest, "cpu", site.folder)
    assert site.fake.tag("cpu") == site.image(site.two)


def test_bytes_that_were_never_accepted_are_no_write_of_another_machine(site: Site) -> None:
    push_candidate(site.fake.client(), REPOSITORY, site.one)
    overwrite(site, "cpu", site.image(site.two))  # no build's tag names it
    with pytest.raises(Undecided, match=f"the tag was put back to {site.old}"):
        promote(site.fake.client(), REPOSITORY, site.one.digest, "cpu", site.folder)
    assert site.fake.tag("cpu") == OLD


def test_what_is_withdrawn_stays_so_though_another_machine_puts_it_back(site: Site) -> None:
    overwrite(site, "cpu", *[OLD] * (INSIST - 1))
    assert withdraw_tag(site.fake.client(), REPOSITORY, "cpu", site.old, "rejected", site.folder)
    assert isinstance(site.held[1], Withdrawal)


def test_a_tag_that_is_put_back_for_ever_is_told(site: Site) -> None:
    overwrite(site, "cpu", *[OLD] * INSIST)
    with pytest.raises(Overtaken):
        withdraw_tag(site.fake.client(), REPOSITORY, "cpu", site.old, "rejected", site.folder)


def test_of_two_that_retire_the_first_reason_may_be_lost_and_the_cell_stays_retired(site: Site) -> None:
    overwrite(site, "cpu", make_withdrawal(site.old, "retired: another", retired=True).data)
    assert retire_tag(site.fake.client(), REPOSITORY, "cpu", "ours", site.folder) == site.old
    held = site.held[1]
    assert isinstance(held, Withdrawal) and (held.reason, held.retired) == ("retired: ours", True)


def test_the_tag_of_a_build_is_nobody_elses_to_move(site: Site) -> None:
    client = site.fake.client()
    for layout in (site.one, site.two):
        push_candidate(client, REPOSITORY, layout)
    promote(client, REPOSITORY, site.one.digest, "1.0-cpu-111111111111", site.folder, fixed=True)
    with pytest.raises(Undecided, match="another image of the same build, and never moves"):
        promote(client, REPOSITORY, site.two.digest, "1.0-cpu-111111111111", site.folder, fixed=True)
    assert site.fake.tag("1.0-cpu-111111111111") == site.image(site.one)


def test_the_tag_of_a_build_that_was_withdrawn_for_a_fault_is_set(site: Site) -> None:
    client = site.fake.client()
    push_candidate(client, REPOSITORY, site.one)
    site.fake.store(make_withdrawal(site.one.digest, "a fault").data, "1.0-cpu-111111111111")
    assert promote(client, REPOSITORY, site.one.digest, "1.0-cpu-111111111111", site.folder, fixed=True).changed


def test_a_list_that_was_spoilt_is_no_write_of_another_machine(site: Site) -> None:
    tag = site.one.digest.replace(":", "-")

    def gate(request: requests.PreparedRequest) -> requests.Response | None:
        if request.method == "PUT" and str(request.url).endswith(tag):
            return wrong_bytes(site.fake, request)
        return None

    site.fake.gate = gate
    assert "was written and" in attempt(lambda: site.publish(site.one))
    assert site.held == [OLD, OLD]
