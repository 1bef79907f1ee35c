"""A bundle is taken as it was written, and refused, in its own words, where anything about it is not as it must be."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.attest.envelope import list_signatures
from scripts.bundle import check as module
from scripts.bundle.check import STEPS, check_bundle
from scripts.bundle.form import LARGEST, LONGEST_NAME
from scripts.errors import ConfigError, Undecided
from scripts.files import canonical_json
from scripts.model import Outcome, Verdict
from scripts.oci.descriptor import digest_of
from scripts.pipeline.candidate import Candidate
from tests.unit.attest import make_signer
from tests.unit.bundle import GPU, OWNER, PRO, Said, World, dump, outcome_of, said_of, scenario
from tests.unit.fake_docker import raise_

OTHER = "sha256:" + "e" * 64


def test_a_bundle_of_the_lab_holds(world: World) -> None:
    found = world.check()
    assert (found.verdict, found.failed) == (Verdict.ACCEPTED, frozenset())
    assert [each.check for each in found.results] == list(STEPS)
    assert outcome_of(found, "signature") is Outcome.SKIPPED
    assert found.bundle and (found.bundle.owner, found.bundle.verdict) == (OWNER, Verdict.ACCEPTED)
    assert [each.scenario for each in found.bundle.evidence] == ["default", "more", "extra"]


# --- form


def twice(data: bytes) -> bytes:
    return data.replace(b'"verdict": "accepted"', b'"verdict": "rejected",\n   "verdict": "accepted"')


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: b"", "not JSON"),
        (lambda data: b"\x7fELF", "not JSON"),
        (lambda data: data[: len(data) // 2], "cut short"),
        (lambda data: b"[" * 100_000, "not JSON"),
        (lambda data: b"[]", "not JSON: no bundle"),
        (lambda data: b'{"a": 1}', "JSON, and no bundle"),
        (lambda data: dump(json.loads(data) | {"version": 2}), "another version"),
        (lambda data: dump(json.loads(data) | {"more": 1}), "exactly: form, signatures, statement, version"),
        (lambda data: canonical_json(json.loads(data)), "it was edited"),
        (twice, "has a key twice"),
        (lambda data: dump(json.loads(data) | {"statement": {}}), "no in-toto statement"),
        (lambda data: dump(json.loads(data) | {"statement": []}), "not a JSON object"),
        (lambda data: dump(json.loads(data) | {"signatures": {}}), "without a list of signatures"),
        (lambda data: data + b" " * LARGEST, f"at most {LARGEST}"),
    ],
)
def test_what_is_no_bundle_is_refused(change: Callable[[bytes], bytes], words: str, world: World) -> None:
    found = world.check(change(world.data))
    assert words in said_of(found, "form")
    assert found.verdict is Verdict.REJECTED and len(found.results) == 1, "and nothing else is asked of it"


def test_a_file_of_a_gigabyte_is_not_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path = world.write(b"")
    with path.open("r+b") as stream:
        stream.truncate(10**9)
    project = world.lab.project
    monkeypatch.setattr(Path, "open", lambda *_: raise_(AssertionError("it was opened")))
    assert "1000000000 bytes" in said_of(check_bundle(project, path), "form")


def test_a_file_that_grows_while_it_is_read_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class Small:
        st_mode, st_size = 0o100644, 10

    path = world.write(b" " * (LARGEST + 1))
    project = world.lab.project
    monkeypatch.setattr(Path, "stat", lambda self, **_: Small())
    assert f"more than {LARGEST} bytes" in said_of(check_bundle(project, path), "form")


def test_what_is_no_file_is_a_mistake_of_usage(world: World, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        check_bundle(world.lab.project, tmp_path / "none.json")
    os.mkfifo(tmp_path / "pipe.json")
    for path in (tmp_path, tmp_path / "pipe.json"):
        with pytest.raises(ConfigError, match="is no file"):
            check_bundle(world.lab.project, path)


def test_a_file_that_cannot_be_read_is_not_decided(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path = world.write(world.data)
    project = world.lab.project
    monkeypatch.setattr(Path, "open", lambda *_: raise_(PermissionError(13, "Permission denied")))
    found = check_bundle(project, path)
    assert found.verdict is Verdict.INCONCLUSIVE and "Permission denied" in said_of(found, "form")


def without(key: str) -> Callable[[Said], object]:
    return lambda said: said.pop(key)


KEYS = ["by", "made", "tool", "cell", "build", "image", "audit", "required", "scenarios", "verdict", "reasons"]


@pytest.mark.parametrize("key", KEYS)
def test_nothing_may_be_left_out(key: str, world: World) -> None:
    assert f"it lacks '{key}'" in said_of(world.tamper(without(key)), "form")
    assert set(world.said) == set(KEYS)


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said.update(by=7),
        lambda said: said.update(by="x" * (LONGEST_NAME + 1)),
        lambda said: said.update(by="\x1b[31mred"),
        lambda said: said.update(by="two\nlines"),
        lambda said: said.update(by="\u202etxt"),
        lambda said: said.update(made=7),
        lambda said: said.update(cell=["a"]),
        lambda said: said.update(build=[]),
        lambda said: said["build"].update(size="7"),
        lambda said: said["build"].update(parameters=7),
        lambda said: said.update(image="x"),
        lambda said: said["image"].update(manifest={}),
        lambda said: said.update(audit={}),
        lambda said: said["audit"].update(libraries=7),
        lambda said: said["audit"].update(libraries=[7]),
        lambda said: said.update(required="default", scenarios=7),
        lambda said: said.update(scenarios={"default": 1}),
        lambda said: said.update(verdict="fine"),
        lambda said: said.update(reasons=[1]),
        lambda said: scenario(said).update(seconds="3"),
        lambda said: scenario(said).update(seconds=True),
        lambda said: scenario(said).update(digest="sha256:0; reboot"),
        lambda said: scenario(said).update(results=[7]),
        lambda said: scenario(said).update(host={"gpu": 7}),
        lambda said: scenario(said).update(log=7),
        lambda said: scenario(said).pop("log"),
    ],
)
def test_parts_of_another_form_are_refused(change: Callable[[Said], object], world: World) -> None:
    assert "form" in world.tamper(change).failed


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_what_is_no_number_is_refused(number: str, world: World) -> None:
    data = world.change(lambda said: scenario(said).update(seconds=123456.5)).replace(b"123456.5", number.encode())
    assert "form" in world.check(data).failed


def test_a_statement_of_something_else_is_refused(world: World) -> None:
    content = json.loads(world.data)
    other = content["statement"] | {"predicateType": "https://in-toto.io/attestation/test-result/v0.1"}
    assert "something else than an owner's run" in said_of(world.check(dump(content | {"statement": other})), "form")
    for subjects in (
        [],
        content["statement"]["subject"] + [{"digest": {"sha256": "f" * 64}}],
        [{"digest": {"sha256": ""}}],
    ):
        other = content["statement"] | {"subject": subjects}
        assert "not about one image" in said_of(world.check(dump(content | {"statement": other})), "form")


# --- signature


def sign(world: World, number: int = 1) -> bytes:
    content = json.loads(world.data)
    content["signatures"] = list_signatures(canonical_json(content["statement"]), make_signer(number))
    return dump(content)


def test_who_signed_it_is_asked_where_a_key_is_given(world: World) -> None:
    key = make_signer().public
    assert outcome_of(world.check(sign(world), key), "signature") is Outcome.PASSED
    assert "nobody has signed it" in said_of(world.check(key=key), "signature")
    assert "not signed by this key" in said_of(world.check(sign(world, 2), key), "signature")
    found = world.check(sign(world))
    assert found.verdict is Verdict.ACCEPTED
    assert f"names {key.id[:16]}" in next(each.detail for each in found.results if each.check == "signature")


def test_a_signature_is_of_every_part(world: World) -> None:
    content = json.loads(sign(world))
    content["statement"]["predicate"]["by"] = "Mallory"
    assert "not signed by this key" in said_of(world.check(dump(content), make_signer().public), "signature")


# --- cell, build, digest


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("serve-cu999-5090", "no cell serve-cu999-5090"),
        ("serve-cu128-5090", "has no [recipe.source"),
        ("serve-cpu", "is for no GPU"),
        ("\x1b[31m", "no cell \\x1b[31m"),
    ],
)
def test_a_cell_must_be_one_of_todays(cell: str, words: str, world: World) -> None:
    found = world.tamper(lambda said: said.update(cell=cell))
    assert words in said_of(found, "cell")
    assert "build" not in {each.check for each in found.results}


def test_a_run_lies_among_those_of_its_cell(world: World) -> None:
    right, wrong = (world.write(world.data, f"owners/{cell}/alice.json") for cell in (GPU, PRO))
    assert check_bundle(world.lab.project, right).verdict is Verdict.ACCEPTED
    assert f"among the runs of {PRO}" in said_of(check_bundle(world.lab.project, wrong), "cell")


def test_another_cells_run_is_refused(world: World) -> None:
    found = world.tamper(lambda said: said.update(cell=PRO))
    assert {"build", "suite", "gpu"} <= found.failed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": "f" * 64}, "of an earlier build"),
        (
            {"id": "f" * 64, "parameters": {"slim": "", "compression": "zstd"}},
            "with other options (slim): ffffffffffff",
        ),
        ({"name": "serve"}, "not what the build with this id is made by"),
        ({"parameters": {}}, "not what the build with this id is made by"),
    ],
)
def test_a_build_must_be_todays(change: dict[str, Any], words: str, world: World) -> None:
    assert words in said_of(world.tamper(lambda said: said["build"].update(change)), "build")


def relabel(said: Said, labels: dict[str, str]) -> Said:
    """An image with other labels, whose digests are right."""
    config = json.loads(said["image"]["config"])
    config["config"]["Labels"] = labels
    said["image"]["config"] = canonical_json(config).decode()
    manifest = json.loads(said["image"]["manifest"])
    manifest["config"] |= {"digest": digest_of(said["image"]["config"].encode())}
    said["image"]["manifest"] = canonical_json(manifest).decode()
    return said


def restate(world: World, change: Callable[[Said], Said]) -> bytes:
    """The file of another image: whatever names its digest names the new one."""
    content = json.loads(world.data)
    said = change(content["statement"]["predicate"])
    new = digest_of(said["image"]["manifest"].encode())
    said["audit"]["digest"] = new
    for each in said["scenarios"]:
        each["digest"] = new
    content["statement"]["subject"][0]["digest"]["sha256"] = new.removeprefix("sha256:")
    return dump(content)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda said: said["image"].update(manifest="{}"), "manifest is not that of sha256:"),
        (lambda said: said["image"].update(config="{}"), "not the one that the manifest names"),
        (lambda said: said["build"].update(size=1), "and it says 1"),
        (lambda said: scenario(said, "extra").update(digest=OTHER), f"of another digest ({OTHER})"),
        (lambda said: said["audit"].update(digest=OTHER), "its audit is of another digest"),
    ],
)
def test_a_digest_must_be_that_of_all_there_is(change: Callable[[Said], object], words: str, world: World) -> None:
    assert words in said_of(world.tamper(change), "digest")


def test_another_digest_is_refused(world: World) -> None:
    content = json.loads(world.data)
    content["statement"]["subject"][0]["digest"]["sha256"] = "e" * 64
    assert "digest" in world.check(dump(content)).failed


def test_an_image_of_another_build_is_refused(world: World) -> None:
    data = restate(world, lambda said: relabel(said, {"io.hallmark.build-id": "9" * 64}))
    assert "built as 999999999999" in said_of(world.check(data), "digest")
    data = restate(world, lambda said: relabel(said, {}))
    assert "has no build id" in said_of(world.check(data), "digest")


def test_a_build_that_came_to_something_else_here_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Candidate("serve", world.said["build"]["id"], OTHER, 1, 0.0)
    monkeypatch.setattr(module, "read_candidate", lambda workspace, build_id: other)
    assert f"came to {OTHER} here" in said_of(world.check(), "digest")
    monkeypatch.setattr(module, "read_candidate", lambda workspace, build_id: None)
    assert world.check().verdict is Verdict.ACCEPTED, "and where nobody knows, the image's own label says it"


def test_what_cannot_be_asked_is_no_refusal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STEPS, "driver", lambda case: raise_(Undecided("no way", "here", "look")))
    assert world.check().verdict is Verdict.INCONCLUSIVE


def test_what_is_quoted_is_short_and_harmless(world: World) -> None:
    found = world.tamper(lambda said: scenario(said)["host"].update(gpu="\x1b]0;x\x07" + "y" * 10_000))
    said = said_of(found, "gpu")
    assert said.isprintable() and len(said) < 1000
