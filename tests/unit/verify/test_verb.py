"""`verify` as a consumer types it, against a registry in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.command import main
from scripts.matrix import load_matrix
from scripts.plan import Selection, make_plan
from scripts.verbs import verifying
from scripts.verbs.verifying import know_cells
from tests.unit.attest import make_signer, write_private, write_public
from tests.unit.builders import CPU, make_cell, write_project
from tests.unit.verify import TAG, World, make_predicate

REFERENCE = f"registry.example.com/team/image:{TAG}"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path)
    monkeypatch.setattr(verifying, "Registry", world.fake.client)
    return world


def verify(world: World, *options: str, key: int = 1) -> int:
    public = write_public(world.folder / f"{key}.pub", make_signer(key))
    trust = [] if "--no-signature" in options else ["--key", str(public)]
    # As from an installed package: there is no matrix beside it.
    return main(["--project", str(world.folder), "verify", REFERENCE, *trust, *options])


def test_one_screen_says_what_was_tested(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.say()
    assert verify(world) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == REFERENCE
    assert len(lines) < 25
    text = "\n".join(lines)
    assert text.count("✓") == 11 and "✗" not in text
    for words in (
        "\naccepted\n",
        "cell         serve-cu128-5090-wheel",
        "tested       2026-01-02T03:04:05Z, PASSED",
        "on           RTX 5090 (compute capability 12.0), driver 580.95.05, Docker Engine 28.5.2",
        "CUDA         12.8 (driver 570.124.06 or newer)",
        "checks       3 required, 3 passed",
        "scenarios    1: serve",
        "not shown    nothing that was asked",
        f"signature    by the key {make_signer().public.id}",
        "build        abcdef012345: 5 inputs, 4 components in the image",
        f"pull         registry.example.com/team/image@{world.digest}",
    ):
        assert words in text, words


def test_what_was_not_shown_is_named(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.say(make_predicate(result="WARNED", warnedTests=["extra/load"], informativeTests=["extra/load"]))
    assert verify(world) == 0
    assert "not shown    extra/load" in capsys.readouterr().out


def test_another_key_ends_with_1(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.say()
    assert verify(world, key=2) == 1
    printed = capsys.readouterr()
    assert "✗ signature  signed, and not by this key" in printed.out
    assert "\nrejected\n" in printed.out
    assert "pull " not in printed.out, "nothing invites to pull it"
    assert "Traceback" not in printed.out + printed.err


def test_no_signature_is_said_in_words(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.say(signed=False)
    assert verify(world, "--no-signature") == 0
    printed = capsys.readouterr().out
    assert "– signature  not looked at, as you asked" in printed
    assert "signature    not looked at" in printed


def test_for_machines_it_is_one_object(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.say(make_predicate(result="FAILED"))
    assert verify(world, "--json") == 1
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (found["reference"], found["digest"], found["verdict"]) == (REFERENCE, world.digest, "rejected")
    assert found["key"] == make_signer().public.id
    steps = {step["step"]: (step["outcome"], step["detail"]) for step in found["steps"]}
    assert steps["result"] == ("failed", "the result is FAILED")
    assert found["tested"]["cell"] == "serve-cu128-5090-wheel"


def test_without_saying_whom_to_believe_it_is_a_mistake(world: World) -> None:
    for options in ([], ["--key", "a", "--no-signature"]):
        with pytest.raises(SystemExit) as ended:
            main(["verify", REFERENCE, *options])
        assert ended.value.code == 2


def test_a_private_key_or_a_name_of_no_image_is_a_mistake(world: World, tmp_path: Path) -> None:
    key = write_private(tmp_path / "key", make_signer())
    assert main(["verify", REFERENCE, "--key", str(key)]) == 2
    assert main(["verify", "a:b:c", "--no-signature"]) == 2


# --- what a checkout requires


def test_a_checkout_says_what_it_requires_of_its_cells(tmp_path: Path) -> None:
    write_project(tmp_path)
    with (tmp_path / "images/serve/image.toml").open("a") as stream:
        stream.write('[[scenario]]\nname = "extra"\nchecks = ["more"]\ntimeout_s = 60\nmemory_gib = 2\n')
        stream.write("required = false\n")
    find = know_cells(tmp_path)
    expected = find("serve-cpu")
    assert expected
    assert expected.required == {"default/load", "default/serve", "default/container"}
    assert {"extra/more", "extra/container"} <= expected.informative
    assert (expected.target.id, expected.target.compute, expected.target.cuda) == ("cpu", "", "")
    assert all(find(planned.cell.id) for planned in make_plan(load_matrix(tmp_path), Selection()))
    assert find("serve-other") is None


def test_where_there_is_no_checkout_no_cell_is_known(tmp_path: Path) -> None:
    assert know_cells(tmp_path)("serve-cpu") is None


def test_a_check_that_the_checkout_requires_and_the_statement_lacks_is_refused(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    (world.folder / "checkout").mkdir()
    write_project(world.folder / "checkout")
    target = next(iter(make_plan(load_matrix(world.folder / "checkout"), Selection(["serve-cpu"])))).cell.target
    predicate = make_predicate(make_cell(CPU, "wheel"), {"cpu": "8 × some"}, cell="serve-cpu")
    world.say(predicate | {"target": {"id": "cpu", "name": target.name, "compute": ""}})
    public = write_public(world.folder / "key.pub", make_signer())
    assert main(["--project", str(world.folder / "checkout"), "verify", REFERENCE, "--key", str(public)]) == 1
    assert "✗ checks     this checkout requires more" in capsys.readouterr().out
