"""All that a registry is used for, on Pulp: tokens that end soon, blobs on another server, deletions that wait."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.attest.envelope import ENVELOPE_TYPE, PAYLOAD_TYPE
from scripts.engine import Engine
from scripts.engine.images import digest_of_tag, remove_image, tags_of
from scripts.errors import ExitCode, Undecided
from scripts.garbage import check_clock, delete, find_garbage
from scripts.project import Project
from scripts.publish.promote import promote, push_candidate, withdraw_tag
from scripts.reference import Repository
from scripts.registry.client import Registry
from scripts.registry.pull import pull_layout
from scripts.registry.withdrawn import read_withdrawal
from tests.integration.conftest import find_candidate, find_step, run_verb
from tests.integration.sandbox.test_garbage import line
from tests.integration.sandbox.test_registry import make_key
from tests.other_registry.pulp import TOKEN_S, USER, Pulp
from tests.unit.registry.attached import attach_one
from tests.unit.registry.fake_registry import make_layout

DELETED_S = 60  # within which a worker there has done what DELETE was answered with 202 for


def remain_silent(text: str) -> None:
    """Who is told how far a pull is, and does not want to know."""


def await_true(call: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DELETED_S
    while not call():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_a_stamp_from_its_publication_to_the_end_of_its_cell(
    sandbox: Project, engine: Engine, pulp: Pulp, login: Path, tmp_path: Path
) -> None:
    root = sandbox.matrix.root
    private, public = map(str, make_key(tmp_path, "ours"))
    place = {"HALLMARK_REGISTRY": f"{pulp.place}/hallmark", "HALLMARK_SIGNING_KEY": private}
    repository = Repository.parse(f"{pulp.place}/hallmark/good")
    moving, newest = f"{repository}:1.0-cpu", f"{repository}:cpu"
    fixed = f"{moving}-{find_step(sandbox, 'good-cpu').build_id[:12]}"

    def verify(reference: str) -> tuple[int, str]:
        found = run_verb(tmp_path, "verify", reference, "--key", public)
        return found.returncode, " ".join(f"{found.stdout}{found.stderr}".split())

    def pull(reference: str) -> str:
        for name in [*tags_of(engine, digest), digest]:
            remove_image(engine, name)
        engine.query(["--config", str(login), "pull", "--quiet", reference])
        return digest_of_tag(engine, reference)

    for _ in range(2):  # the second finds all of it there
        run = run_verb(root, "publish", "good-cpu", **place)
        assert run.returncode == ExitCode.ACCEPTED, run.stdout + run.stderr
    digest = find_candidate(sandbox, "good-cpu").digest
    listed = digest.replace(":", "-")  # it has no referrers API
    tags = Registry().list_tags(repository)
    assert {f"{repository}:{tag}" for tag in tags} == {moving, newest, fixed, f"{repository}:{listed}"}
    for reference in (moving, newest, fixed, f"{repository}@{digest}"):
        code, said = verify(reference)
        assert code == ExitCode.ACCEPTED and "✗" not in said, said
    assert pull(moving) == pull(newest) == pull(fixed) == digest
    layout = pull_layout(Registry(), repository, digest, tmp_path / "pulled", remain_silent)
    assert layout.digest == digest

    smoke = root / "images/good/smoke.py"
    asked = smoke.read_text()
    try:
        smoke.write_text(asked + "\nraise SystemExit(9)\n")
        turned = run_verb(root, "publish", "good-cpu", **place)
    finally:
        smoke.write_text(asked)
    assert turned.returncode == ExitCode.REJECTED and f"{moving} was withdrawn" in turned.stderr, turned.stderr
    for reference, words in ((moving, "✗ image the tag was withdrawn"), (fixed, "✗ result the result is FAILED")):
        code, said = verify(reference)
        assert code == ExitCode.REJECTED and words in said, said
    with pytest.raises(Undecided, match="no match for platform in manifest"):
        pull(moving)

    assert run_verb(root, "publish", "good-cpu", **place).returncode == ExitCode.ACCEPTED
    assert pull(moving) == digest
    run = run_verb(root, "retire", "good-cpu", "--reason", "nobody asks for it", **place)
    assert run.returncode == ExitCode.ACCEPTED, run.stderr
    assert verify(moving)[0] == ExitCode.REJECTED
    again = run_verb(root, "publish", "good-cpu", **place)
    assert again.returncode == ExitCode.USAGE and "nobody asks for it" in again.stdout + again.stderr
    assert run_verb(root, "retire", "good-cpu", "--undo", "--reason", "asked for", **place).returncode == 0
    assert run_verb(root, "publish", "good-cpu", **place).returncode == ExitCode.ACCEPTED
    assert verify(moving)[0] == ExitCode.ACCEPTED
    run = run_verb(root, "gc", "--delete", **place)
    assert run.returncode == ExitCode.ACCEPTED, run.stdout + run.stderr
    assert Registry().list_tags(repository) == tags


def test_a_rejected_image_gets_no_tag(sandbox: Project, pulp: Pulp, login: Path) -> None:
    run = run_verb(sandbox.matrix.root, "publish", "crash-cpu", HALLMARK_REGISTRY=f"{pulp.place}/hallmark")
    assert run.returncode == ExitCode.REJECTED, run.stderr
    repository = Repository.parse(f"{pulp.place}/hallmark/crash")
    assert Registry().get_manifest(repository, find_candidate(sandbox, "crash-cpu").digest)
    assert Registry().list_tags(repository) == []


def test_a_wrong_password_is_said_and_nothing_is_written(
    sandbox: Project, pulp: Pulp, login: Path, tmp_path: Path
) -> None:
    config = login / "config.json"
    right = config.read_text()
    wrong = base64.b64encode(f"{USER}:wrong".encode()).decode()
    config.write_text(json.dumps({"auths": {pulp.place: {"auth": wrong}}}))
    run = run_verb(sandbox.matrix.root, "publish", "good-cpu", HALLMARK_REGISTRY=f"{pulp.place}/strangers")
    said = run.stdout + run.stderr
    assert run.returncode == ExitCode.INCONCLUSIVE and f"docker login {pulp.place}" in said, said
    config.write_text(right)
    assert Registry().list_tags(Repository.parse(f"{pulp.place}/strangers/good")) == []


def test_a_tag_moves_and_is_withdrawn_though_tokens_end(pulp: Pulp, login: Path, tmp_path: Path) -> None:
    first, second = (make_layout(tmp_path / name, name) for name in ("first", "second"))
    registry, repository = Registry(), Repository.parse(f"{pulp.place}/hallmark/moved")
    for before, layout in ((None, first), (first, second)):
        push_candidate(registry, repository, layout)
        time.sleep(TOKEN_S + 1)
        moved = promote(registry, repository, layout.digest, "1.0-cpu", tmp_path)
        assert moved.changed and moved.previous == (before.digest if before else None)
        image = registry.get_manifest(repository, "1.0-cpu")
        assert image and image.data == layout.blob_path(layout.digest).read_bytes()
    assert withdraw_tag(registry, repository, "1.0-cpu", second.digest, "rejected", tmp_path)
    held = registry.get_manifest(repository, "1.0-cpu")
    assert held and (said := read_withdrawal(held)) and said.digest == second.digest
    assert promote(registry, repository, first.digest, "1.0-cpu", tmp_path).digest == first.digest


def test_what_was_never_accepted_is_deleted_and_what_has_a_tag_stays(pulp: Pulp, login: Path, tmp_path: Path) -> None:
    rejected, tagged = (make_layout(tmp_path / name, name) for name in ("rejected", "tagged"))
    registry, repository = Registry(), Repository.parse(f"{pulp.place}/hallmark/garbage")
    entries = [line(rejected), line(tagged)]
    for layout in (rejected, tagged):
        push_candidate(registry, repository, layout)
    for layout in (rejected, tagged):
        attach_one(registry, repository, layout.manifest, PAYLOAD_TYPE, b"{}", ENVELOPE_TYPE, tmp_path)
    promote(registry, repository, tagged.digest, "1.0-cpu", tmp_path)
    check_clock(registry, repository, entries, time.time())
    [leftover] = find_garbage(registry, repository, entries, lambda cell: True, (), time.time()).leftovers
    assert leftover.digest == rejected.digest and len(leftover.attached) == 1 and leftover.index
    delete(registry, repository, leftover)
    gone = (rejected.digest, leftover.index, *leftover.attached)
    await_true(lambda: not any(registry.get_manifest(repository, each) for each in gone))
    kept = tagged.digest.replace(":", "-")
    assert set(registry.list_tags(repository)) == {"1.0-cpu", kept}
    assert find_garbage(registry, repository, entries, lambda cell: True, (), time.time()).leftovers == []
    for blob in (tagged.config, *tagged.layers):
        assert registry.hash_blob(repository, blob.digest, blob.size) == blob.digest
