"""Which cells a rule is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.matrix import Matrix, load_matrix, select_rules
from scripts.model import Cell
from tests.unit.builders import edit
from tests.unit.matrix.serve import append

NATIVE = '[[audit]]\naccept = "native"\nlibraries = ["a.so", "b/*.so"]\n'
MISSING = '[[audit]]\naccept = "missing"\nlibraries = ["c.so"]\nreason = "not called"\n'
OMIT = '[[omit]]\ndistributions = ["big-thing"]\nreason = "not needed"\n'


def cells_of(matrix: Matrix) -> dict[str, Cell]:
    return {cell.id: cell for cell in matrix.cells}


@pytest.mark.parametrize(
    ("fields", "cells"),
    [
        ("", {"serve-cu128-5090", "serve-cu128-5090-wheel", "serve-cu130-5090-wheel", "serve-cpu"}),
        ('cuda = "13.0"\n', {"serve-cu130-5090-wheel"}),
        ('recipe = "source"\n', {"serve-cu128-5090"}),
        ('compute = "12.0"\ncuda = "12.8"\n', {"serve-cu128-5090", "serve-cu128-5090-wheel"}),
        ('compute = "12.0"\ncuda = "12.8"\nrecipe = "wheel"\n', {"serve-cu128-5090-wheel"}),
    ],
)
def test_fields_narrow_a_rule(fields: str, cells: set[str], root: Path) -> None:
    matrix = load_matrix(append(root, NATIVE + fields))
    rules = matrix.images["serve"].audit
    found = {name for name, cell in cells_of(matrix).items() if name.startswith("serve") and select_rules(rules, cell)}
    assert found == cells


def test_rules_that_apply_keep_their_order(root: Path) -> None:
    matrix = load_matrix(append(root, MISSING + 'cuda = "13.0"\n' + NATIVE + MISSING.replace("c.so", "d.so")))
    image, cells = matrix.images["serve"], cells_of(matrix)
    libraries = [rule.libraries for rule in select_rules(image.audit, cells["serve-cu128-5090"])]
    assert libraries == [("a.so", "b/*.so"), ("d.so",)]
    assert len(select_rules(image.audit, cells["serve-cu130-5090-wheel"])) == 3


def test_an_omission_can_be_for_the_cpu_alone(root: Path) -> None:
    append(root, OMIT + 'cuda = "cpu"\n')
    matrix = load_matrix(root)
    chosen = {name for name, cell in cells_of(matrix).items() if select_rules(matrix.images["serve"].omissions, cell)}
    assert chosen == {"serve-cpu", "train-cpu"}, "of cells, whatever their image"


def test_a_rule_is_about_every_target_of_its_compute_capability(root: Path) -> None:
    pro = 'pro = { name = "RTX PRO", compute = "12.0", driver = "570", memory = 96, recipe = "source" }'
    edit(root / "matrix.toml", "cpu = {", f"{pro}\ncpu = {{")
    matrix = load_matrix(append(root, NATIVE + 'compute = "12.0"\n'))
    rules = matrix.images["serve"].audit
    assert {cell.target.id for cell in matrix.cells if select_rules(rules, cell)} == {"5090", "pro"}
