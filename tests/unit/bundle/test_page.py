"""The page for owners says what can be typed."""

from __future__ import annotations

import importlib
import re
import shlex
from types import SimpleNamespace

import nox
import pytest

from scripts import verbs
from scripts.bundle.check import STEPS
from scripts.bundle.form import LARGEST
from scripts.command import make_parser
from scripts.matrix import load_matrix
from scripts.plan import make_plan
from tests.unit.builders import REPOSITORY_ROOT

PAGE = (REPOSITORY_ROOT / "docs/owners.md").read_text("utf-8")
_BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_command_of_the_page_parses(monkeypatch: pytest.MonkeyPatch) -> None:
    noxfile = importlib.import_module("noxfile")
    spawned: list[list[str]] = []
    monkeypatch.setattr(noxfile, "verb", lambda session, *arguments: spawned.append([*arguments, *session.posargs]))
    first, *lines = [line for block in _BLOCK.findall(PAGE) for line in block.splitlines()]
    assert first.startswith("python3 -m venv")
    for line in lines:
        program, option, session, dashes, *rest = shlex.split(line)
        assert (program, option, dashes) == (".venv/bin/nox", "-s", "--")
        nox.registry.get()[session].func(SimpleNamespace(posargs=rest))
    asked = [make_parser().parse_args(each) for each in spawned]
    assert [each.run for each in asked] == [verbs.publish, verbs.bundle, verbs.publish]
    cells = {planned.cell.id: planned.cell for planned in make_plan(load_matrix(REPOSITORY_ROOT))}
    for each in (asked[0], asked[2]):
        [cell] = each.patterns
        assert cells[cell].target.id == "5090" and each.bundle == asked[1].files[0] and each.by
        assert f"docs/evidence/owners/{cell}/" in PAGE


def test_the_page_names_every_step_and_bound() -> None:
    table = re.findall(r"^\| ([a-z, ]+) \|", PAGE, re.MULTILINE)
    assert [name for row in table for name in row.split(", ")] == list(STEPS)
    assert f"at most {LARGEST >> 20} MB" in PAGE
