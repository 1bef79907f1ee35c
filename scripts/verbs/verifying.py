"""The verb of those who use images: it needs no engine and no GPU, and no checkout either."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from scripts import report
from scripts.attest.keys import read_public_key
from scripts.console import show_document
from scripts.matrix import load_matrix, select_scenarios
from scripts.model import Cell
from scripts.pipeline.judge import required_checks
from scripts.plan import make_plan
from scripts.registry.client import Registry
from scripts.registry.reference import parse_image
from scripts.text import for_json
from scripts.verdict import EXIT_CODES
from scripts.verify.tested import Expected, Target
from scripts.verify.verify import Find
from scripts.verify.verify import verify as verify_image


def verify(root: Path, options: argparse.Namespace) -> int:
    """Tell whether an image in a registry was accepted, and as what."""
    image = parse_image(options.reference)
    key = read_public_key(options.key) if options.key else None
    found = verify_image(Registry(), image, key, options.cell, know_cells(root))
    if options.json:
        show_document(for_json(report.render_verification(found), indent=2))
    else:
        report.show_verification(found)
    return EXIT_CODES[found.verdict]


def know_cells(root: Path) -> Find:
    """What the checkout under a folder requires of each of its cells; of none, where there is no checkout."""
    expected: dict[str, Expected] = {}
    if (root / "matrix.toml").is_file():
        for planned in make_plan(load_matrix(root)):
            scenarios = select_scenarios(planned.image.scenarios, planned.cell)
            others = [replace(each, required=True) for each in scenarios if not each.required]
            expected[planned.cell.id] = Expected(
                _describe(planned.cell),
                frozenset(required_checks(planned.cell, scenarios)),
                frozenset(required_checks(planned.cell, others)),
            )
    return expected.get


def _describe(cell: Cell) -> Target:
    return Target(cell.target.id, cell.target.name, cell.target.compute, cell.cuda.id if cell.cuda else "")
