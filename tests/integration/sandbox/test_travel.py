"""A candidate goes to another checkout, by whatever way, and is tagged there by its digest. Nothing is built there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.engine import Engine
from scripts.engine.images import digest_of_tag, has_image, remove_image, tags_of
from scripts.errors import ExitCode
from scripts.project import Project
from tests.integration.conftest import find_candidate, run_verb
from tests.integration.elsewhere import Elsewhere, copy_checkout

TAG = "hallmark/good:1.0-cpu"


@pytest.fixture
def elsewhere(tmp_path: Path, sandbox: Project) -> Elsewhere:
    return Elsewhere(copy_checkout(sandbox.matrix.root, tmp_path / "elsewhere"))


@pytest.fixture(scope="module")
def packed(sandbox: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder with `good-cpu` as an archive and as a layout, and its digest."""
    folder = tmp_path_factory.mktemp("packed")
    for name in ("good.tar", "good"):
        run = run_verb(sandbox.matrix.root, "build", "good-cpu", "--output", str(folder / name))
        assert run.returncode == 0, run.stdout + run.stderr
    yield folder, find_candidate(sandbox, "good-cpu").digest


def forget(engine: Engine, digest: str) -> None:
    """Take an image out of the engine, with its tags."""
    for reference in [*tags_of(engine, digest), digest]:
        remove_image(engine, reference)
    assert not has_image(engine, digest)


def require_tagged(engine: Engine, elsewhere: Elsewhere, digest: str, came: tuple[int, str]) -> None:
    code, said = came
    assert code == ExitCode.ACCEPTED, said
    assert digest_of_tag(engine, TAG) == digest
    assert list((elsewhere.root / ".hallmark").rglob("build.log")) == []


@pytest.mark.parametrize("name", ["good.tar", "good"])
def test_from_a_file_or_a_folder(engine: Engine, elsewhere: Elsewhere, packed: tuple[Path, str], name: str) -> None:
    folder, digest = packed
    forget(engine, digest)
    came = elsewhere.publish("good-cpu", "--digest", digest, "--from", str(folder / name))
    require_tagged(engine, elsewhere, digest, came)


def test_from_the_engine(engine: Engine, elsewhere: Elsewhere, packed: tuple[Path, str], sandbox: Project) -> None:
    _, digest = packed
    assert run_verb(sandbox.matrix.root, "publish", "good-cpu").returncode == 0
    came = elsewhere.publish("good-cpu", "--digest", digest, "--from", "engine")
    require_tagged(engine, elsewhere, digest, came)


@pytest.mark.parametrize("named", [True, False])
def test_from_a_registry(
    engine: Engine, elsewhere: Elsewhere, packed: tuple[Path, str], sandbox: Project, registry: str, named: bool
) -> None:
    """Named with --from, or found in the site's own registry without a word."""
    _, digest = packed
    own = f"{registry}/hallmark"
    assert run_verb(sandbox.matrix.root, "build", "good-cpu", HALLMARK_REGISTRY=own).returncode == 0
    forget(engine, digest)
    if named:
        came = elsewhere.publish("good-cpu", "--digest", digest, "--from", f"{own}/good@{digest}")
    else:
        came = elsewhere.publish("good-cpu", "--digest", digest, HALLMARK_REGISTRY=own)
    require_tagged(engine, elsewhere, digest, came)


@pytest.mark.parametrize("name", ["good.tar", "good"])
def test_another_digest_than_was_asked_for_is_refused(
    elsewhere: Elsewhere, packed: tuple[Path, str], name: str
) -> None:
    folder, digest = packed
    other = f"sha256:{'0' * 64}"
    code, said = elsewhere.publish("good-cpu", "--digest", other, "--from", str(folder / name))
    assert code == ExitCode.INCONCLUSIVE, said
    assert digest in said and "next:" in said and "Traceback" not in said
    assert elsewhere.left() == []


def flip(data: bytearray) -> None:
    data[len(data) // 2] ^= 1


def cut(data: bytearray) -> None:
    del data[len(data) * 2 // 3 :]


@pytest.mark.parametrize("damage", [flip, cut])
def test_a_damaged_archive_is_refused_and_nothing_is_left(
    elsewhere: Elsewhere, packed: tuple[Path, str], damage: Callable[[bytearray], None], tmp_path: Path
) -> None:
    folder, digest = packed
    data = bytearray((folder / "good.tar").read_bytes())
    damage(data)
    (tmp_path / "bad.tar").write_bytes(data)
    code, said = elsewhere.publish("good-cpu", "--digest", digest, "--from", str(tmp_path / "bad.tar"))
    assert code == ExitCode.INCONCLUSIVE, said
    assert "bad.tar" in said and "Traceback" not in said
    assert elsewhere.left() == []


def test_a_candidate_of_other_inputs_is_refused(elsewhere: Elsewhere, packed: tuple[Path, str]) -> None:
    folder, digest = packed
    dockerfile = elsewhere.root / "images/good/Dockerfile"
    dockerfile.write_text(dockerfile.read_text() + "ENV CHANGED=1\n")
    code, said = elsewhere.publish("good-cpu", "--digest", digest, "--from", str(folder / "good.tar"))
    assert code == ExitCode.INCONCLUSIVE, said
    assert "other inputs" in said
    assert elsewhere.left() == []
