"""The verb of those who use images: it needs no engine and no GPU, and no checkout either."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.attest.keys import read_public_key
from scripts.console import show_document
from scripts.matrix import load_matrix
from scripts.pipeline.expected import expect
from scripts.plan import make_plan
from scripts.registry.client import Registry
from scripts.registry.reference import parse_image
from scripts.report.verification import render_verification, show_verification
from scripts.text import for_json
from scripts.verdict import EXIT_CODES
from scripts.verify.tested import Expected
from scripts.verify.verify import Find
from scripts.verify.verify import verify as verify_image


def verify(root: Path, options: argparse.Namespace) -> int:
    """Tell whether an image in a registry was accepted, and as what."""
    image = parse_image(options.reference)
    key = read_public_key(options.key) if options.key else None
    found = verify_image(Registry(), image, key, options.cell, know_cells(root))
    if options.json:
        show_document(for_json(render_verification(found), indent=2))
    else:
        show_verification(found)
    return EXIT_CODES[found.verdict]


def know_cells(root: Path) -> Find:
    """What the checkout under a folder requires of each of its cells; of none, where there is no checkout."""
    expected: dict[str, Expected] = {}
    if (root / "matrix.toml").is_file():
        expected = {planned.cell.id: expect(planned) for planned in make_plan(load_matrix(root))}
    return expected.get
