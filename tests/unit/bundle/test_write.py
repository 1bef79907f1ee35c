"""A bundle as an owner's run writes it: whole, the same each time, and without what names the owner."""

from __future__ import annotations

import json
import platform
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from scripts.bundle import write as module
from scripts.bundle.check import check_bundle
from scripts.bundle.form import LARGEST, NOBODY, render_bundle
from scripts.bundle.write import check_request, make_bundle, write_bundle
from scripts.errors import ConfigError, Undecided
from scripts.model import Verdict
from scripts.pipeline import Stage
from scripts.redact import Private
from tests.unit.attest import make_signer, write_private
from tests.unit.bundle import GPU, OWNER, PRO, World
from tests.unit.fake_docker import FarDocker, raise_
from tests.unit.pipeline.lab import Lab


def test_the_same_evidence_at_the_same_time_gives_the_same_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.gmtime()
    monkeypatch.setattr(time, "gmtime", lambda: now)
    [job] = world.lab.jobs(GPU)
    paths = [world.folder / "1.json", world.folder / "2.json"]
    for path in paths:
        write_bundle(world.lab.bench, job, path, OWNER)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_candidate_that_was_built_elsewhere_can_be_told_of(owner: Lab, tmp_path: Path) -> None:
    digest = owner.write(GPU, path=tmp_path / "candidate.tar")[GPU].digest
    owner.forget()
    options: dict[str, Any] = {"digest": digest, "source": str(tmp_path / "candidate.tar")}
    owner.run(GPU, **options)
    [job] = owner.jobs(GPU, **options)
    bundle = write_bundle(owner.bench, job, tmp_path / "b.json", OWNER)
    assert (bundle.digest, bundle.verdict) == (digest, Verdict.ACCEPTED)
    assert check_bundle(owner.project, tmp_path / "b.json").verdict is Verdict.ACCEPTED


def test_the_log_of_each_scenario_is_in_it(world: World) -> None:
    assert [each["log"] for each in world.said["scenarios"]] == ["INFO serving\n"] * 3


def test_it_is_signed_where_the_site_has_a_key(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    key = write_private(world.folder / "key.pem", make_signer())
    monkeypatch.setattr(world.lab, "site", replace(world.lab.site, signing_key=key))
    [job] = world.lab.jobs(GPU)
    path = world.folder / "signed.json"
    write_bundle(world.lab.bench, job, path)
    assert check_bundle(world.lab.project, path, make_signer().public).verdict is Verdict.ACCEPTED
    assert check_bundle(world.lab.project, path, make_signer(2).public).failed == {"signature"}
    assert check_bundle(world.lab.project, path).bundle.owner == NOBODY  # type: ignore[union-attr]


def test_of_what_was_not_run_there_is_no_bundle(owner: Lab, tmp_path: Path) -> None:
    [job] = owner.jobs(GPU)
    for _ in range(2):
        with pytest.raises(Undecided, match="no scenario was run"):
            write_bundle(owner.bench, job, tmp_path / "b.json")
        owner.run(GPU, last=Stage.BUILD)
    owner.run(GPU)
    (owner.folder(GPU) / "audit.json").unlink()
    with pytest.raises(Undecided, match="not been audited"):
        write_bundle(owner.bench, job, tmp_path / "b.json")
    assert not (tmp_path / "b.json").exists()


def test_evidence_that_nobody_would_read_is_not_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST", 1000)
    [job] = world.lab.jobs(GPU)
    with pytest.raises(Undecided, match="at most 1000"):
        write_bundle(world.lab.bench, job, world.folder / "b.json")
    assert len(world.data) < LARGEST


@pytest.mark.parametrize(
    ("cells", "name", "by", "words"),
    [
        ([GPU, PRO], "b.json", "", "is of one cell"),
        (["serve-cpu"], "b.json", "", "is for none"),
        ([GPU], "", "", "no file can be written there"),
        ([GPU], "none/b.json", "", "no file can be written there"),
        ([GPU], "b.json", "a\nb", "no name that could be shown"),
        ([GPU], "b.json", " alice", "no name that could be shown"),
        ([GPU], "b.json", "x" * 61, "no name that could be shown"),
    ],
)
def test_what_cannot_be_bundled_is_refused_before_the_run(
    cells: list[str], name: str, by: str, words: str, world: World
) -> None:
    with pytest.raises(ConfigError, match=words):
        check_request(world.lab.jobs(*cells), world.folder / name, by)


def test_a_name_of_any_language_will_do(world: World) -> None:
    for by in ("", OWNER, "Ørjan, 名前"):
        check_request(world.lab.jobs(GPU), world.folder / "b.json", by)


# --- nothing private


@dataclass(frozen=True)
class Secrets:
    host: str
    user: str
    ipv4: IPv4Address
    id: uuid.UUID

    @property
    def text(self) -> str:
        """A sentence with all of them, as engines, drivers and tracebacks have them."""
        return (
            f"\x1b[32m{self.user}\x1b[0m@{self.host}: open '/home/{self.user}/my.file', {self.ipv4}:80, "
            f"'x\\n{self.host}', tcp://{self.host}.corp:2375, GPU-{self.id}, {self.id}, /srv/{self.host}-data/y"
        )

    def find_in(self, text: str) -> list[str]:
        words = [self.host, self.user, str(self.ipv4), str(self.id), "my.file", "/srv", "/home", "lab-of-mine"]
        return [word for word in words if word in text.lower()]


# Long enough to stand nowhere by chance.
NAME = st.from_regex(r"[b-y][a-z]{4,7}(-[a-z]{2,5})?[0-9]{2}", fullmatch=True)
SECRETS = st.builds(Secrets, NAME, NAME, st.ip_addresses(v=4, network="100.100.0.0/14"), st.uuids())


def plant(lab: Lab, secrets: Secrets) -> Callable[[], None]:
    """Write what is private into all that a run left, and give what puts it back."""
    folder, text = lab.folder(GPU), secrets.text
    files = [*folder.glob(f"{GPU}/smoke/*"), folder / "audit.json"]
    before = {path: path.read_bytes() for path in files}
    for path in files:
        if path.suffix == ".log":
            path.write_text(f"{text}\n" * 3)
            continue
        content = json.loads(path.read_bytes())
        for each in content.get("results", []):
            each["detail"] = text
            each["measured"] |= {text: [text, {text: text}]}
        if "host" in content:
            content["host"] |= {"cpu": text, "kernel": text, "engine": text}
        for each in content.get("libraries", []):
            each |= {"path": text, "reason": text}
        path.write_text(json.dumps(content))

    def restore() -> None:
        for path, data in before.items():
            path.write_bytes(data)

    return restore


# What fails is not made smaller: each of these writes and checks a whole bundle.
@settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(secrets=SECRETS)
def test_nothing_private_is_in_a_bundle(secrets: Secrets, world: World) -> None:
    lab = world.lab
    restore = plant(lab, secrets)
    try:
        [job] = lab.jobs(GPU)
        private = Private(frozenset({secrets.host, secrets.user}), frozenset({f"/home/{secrets.user}"}))
        data = render_bundle(make_bundle(lab.bench, job, "", private), None)
    finally:
        restore()
    assert set(secrets.find_in(json.dumps(secrets.text))) >= {secrets.host, secrets.user, str(secrets.ipv4)}
    assert secrets.find_in(data.decode()) == []
    assert world.check(data).verdict is Verdict.ACCEPTED, "and what is left holds"


def test_a_run_knows_what_is_private_there(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "tower.corp.example")
    info = world.lab.docker.info()
    monkeypatch.setattr(world.lab.docker, "info", lambda: info | {"Name": "engine-room"})
    monkeypatch.setattr(world.lab, "site", replace(world.lab.site, registry="registry.example.com/team"))
    log = next(world.lab.folder(GPU).glob(f"{GPU}/smoke/default.log"))
    before = log.read_text()
    log.write_text("on tower, by engine-room, from registry.example.com/team")
    try:
        [job] = world.lab.jobs(GPU)
        bundle = write_bundle(world.lab.bench, job, world.folder / "b.json")
    finally:
        log.write_text(before)
    assert bundle.runs[0].log == "on <name>, by <name>, from <address>"


def test_a_run_on_another_machine_names_that_no_more_than_this(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    far = FarDocker()
    monkeypatch.setattr(world.lab, "remote", far.far_engine())
    monkeypatch.setattr(world.lab, "site", replace(world.lab.site, gpu_host=far.host))
    log = next(world.lab.folder(GPU).glob(f"{GPU}/smoke/default.log"))
    before = log.read_text()
    log.write_text("on gpubox-7, which is gpubox, by ssh://me@gpubox")
    try:
        [job] = world.lab.jobs(GPU)
        bundle = write_bundle(world.lab.bench, job, world.folder / "b.json")
    finally:
        log.write_text(before)
    assert bundle.runs[0].log == "on <name>, which is <name>, by <address>"


def test_where_nobody_knows_what_is_private_nothing_is_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_private", lambda: raise_(RuntimeError("no home")))
    [job] = world.lab.jobs(GPU)
    with pytest.raises(Undecided, match="nothing is written"):
        write_bundle(world.lab.bench, job, world.folder / "b.json")
    assert not (world.folder / "b.json").exists()
