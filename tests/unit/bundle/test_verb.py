"""`bundle check` and `--bundle`, as they are typed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.__main__ import main
from scripts.verbs import cells
from tests.unit.attest import make_signer, write_public
from tests.unit.bundle import GPU, OWNER, PRO, World, answering, result, scenario
from tests.unit.fake_docker import FakeContainer
from tests.unit.pipeline.lab import Lab


@pytest.fixture(autouse=True)
def _no_site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("HALLMARK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield


def check(world: World, *arguments: str | Path) -> int:
    return main(["--project", str(world.lab.root), "bundle", "check", *map(str, arguments)])


def test_one_screen_says_what_was_checked_and_what_was_seen(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    path = world.write(world.data)
    assert check(world, path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(path) and len(lines) == 13
    assert "– signature  not signed" in lines and "✓ gpu        NVIDIA GeForce RTX 5090, 32 GB" in lines
    assert lines[-1].startswith(
        f"it holds: {OWNER} has seen {GPU} accepted, on NVIDIA GeForce RTX 5090, driver 580.95.05"
    )


def ending_badly(container: FakeContainer) -> None:
    answering(container)
    container.code = 139


def test_a_red_run_that_holds_ends_with_0(
    owner: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner.docker.smokes[GPU] = ending_badly
    path = tmp_path / "red.json"
    assert run(owner, monkeypatch, "smoke", GPU, "--bundle", path) == 1, "the image was rejected"
    capsys.readouterr()
    assert check(World(owner, b"", tmp_path), path) == 0, "and that is what the bundle says"
    assert f"has seen {GPU} rejected" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["good"], 0),
        (["good", "bad"], 1),
        (["bad", "good"], 1),
        (["good", "none"], 2),
        (["none", "bad"], 2),
        (["folder", "bad"], 2),
    ],
)
def test_the_worst_of_several_decides(
    names: list[str], code: int, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.write(world.data, "good")
    world.write(world.change(lambda said: scenario(said)["host"].update(memory_mib="81920")), "bad")
    (world.folder / "folder").mkdir()
    assert check(world, *(world.folder / name for name in names)) == code
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err + printed.out
    assert ("✗ gpu" in printed.out) is ("bad" in names), "each is looked at, whatever the others are"


def test_nothing_to_check_is_a_mistake_of_usage(world: World) -> None:
    for arguments in (["bundle", "check"], ["bundle"], ["bundle", "add", "x"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2


def test_a_key_that_has_not_signed_ends_with_1(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    key = write_public(world.folder / "key.pub", make_signer())
    assert check(world, world.write(world.data), "--key", key) == 1
    assert "✗ signature  nobody has signed it" in capsys.readouterr().out
    assert check(world, world.write(world.data), "--key", world.folder / "none.pub") == 2


def test_what_others_wrote_does_not_reach_the_terminal(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    def change(said: dict[str, object]) -> None:
        result(said, "serve").update(outcome="failed", detail="\x1b]0;owned\x07::error::x")
        scenario(said)["host"].update(gpu="\x1b[2J", driver="\x1b[31m")

    path = world.write(world.change(change), "\x1b[31m.json")
    assert check(world, path) == 1
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err and "\x07" not in printed.out


# --- written at the end of a run


def run(lab: Lab, monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(cells, "open_bench", lambda project: lab.bench)
    return main(["--project", str(lab.root), *map(str, arguments)])


def test_a_run_writes_it_and_says_so(
    owner: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "b.json"
    assert run(owner, monkeypatch, "publish", GPU, "--bundle", path, "--by", OWNER) == 0
    said = capsys.readouterr().err
    assert f"says that {OWNER} has seen {GPU} accepted: read it before you send it" in " ".join(said.split())
    assert "would be refused" not in said
    assert check(World(owner, b"", tmp_path), path) == 0


def test_a_run_says_what_its_bundle_would_be_refused_for(
    owner: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    owner.gpus = {"5090": replace(owner.gpus["5090"], memory=0)}
    assert run(owner, monkeypatch, "smoke", GPU, "--bundle", tmp_path / "b.json") == 3
    assert "it would be refused: gpu: default does not say which memory" in " ".join(capsys.readouterr().err.split())


def test_a_run_on_no_gpu_has_no_bundle_and_its_own_words_stay(
    owner: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    owner.gpus = {}
    assert run(owner, monkeypatch, "publish", GPU, "--bundle", tmp_path / "b.json") == 3
    printed = capsys.readouterr()
    said = " ".join((printed.err + printed.out).split())
    assert "no bundle was written: serve-cu128-5090-wheel: no scenario was run" in said
    assert "\n  next: run the same command again" in printed.err  # a line of its own
    assert "this machine has no NVIDIA GPU" in said and not (tmp_path / "b.json").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["publish", GPU, "--by", "me"], "no bundle is asked for"),
        (["publish", GPU, PRO, "--bundle", "b.json"], "is of one cell"),
        (["smoke", "serve-cpu", "--bundle", "b.json"], "is for none"),
        (["publish", GPU, "--bundle", "none/b.json"], "no file can be written there"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_the_run(
    arguments: list[str],
    words: str,
    owner: Lab,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(owner, monkeypatch, *arguments) == 2
    assert words in " ".join(capsys.readouterr().err.split()) and owner.docker.created == []
