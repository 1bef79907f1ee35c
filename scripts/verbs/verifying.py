"""The verb of those who use images: it needs no engine and no GPU, and no checkout either."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.attest.extra import needing_sigstore
from scripts.attest.keys import read_public_key
from scripts.console import show_document
from scripts.errors import ConfigError
from scripts.matrix import load_matrix
from scripts.pipeline.expected import expect
from scripts.plan import make_plan
from scripts.reference import parse_image
from scripts.registry.client import Registry
from scripts.report.verification import render_verification, show_verification
from scripts.text import for_json
from scripts.verdict import EXIT_CODES
from scripts.verify.signed import ByIdentity, ByKey, Trust
from scripts.verify.tested import Expected
from scripts.verify.verify import Find
from scripts.verify.verify import verify as verify_image


def verify(root: Path, options: argparse.Namespace) -> int:
    """Tell whether an image in a registry was accepted, and as what."""
    image = parse_image(options.reference)
    found = verify_image(Registry(), image, read_trust(options), options.cell, know_cells(root))
    if options.json:
        show_document(for_json(render_verification(found), indent=2))
    else:
        show_verification(found)
    return EXIT_CODES[found.verdict]


def read_trust(options: argparse.Namespace) -> Trust | None:
    """Who must have signed; None where nobody must. Raises ConfigError, and Undecided without Sigstore's library."""
    if not options.identity:
        for given, name in ((options.issuer, "--issuer"), (options.trusted_root, "--trusted-root")):
            if given:
                raise ConfigError("is of an identity, and none is asked for", name, "give --identity, too")
        return ByKey(read_public_key(options.key)) if options.key else None
    if not options.issuer:
        step = "give --issuer, too; GitHub's is https://token.actions.githubusercontent.com"
        raise ConfigError("says who must have signed, and not by whose word", "--identity", step)
    with needing_sigstore():
        from scripts.attest.keyless import open_identity
    return ByIdentity(open_identity(options.identity, options.issuer, options.trusted_root))


def know_cells(root: Path) -> Find:
    """What the checkout under a folder requires of each of its cells; of none, where there is no checkout."""
    expected: dict[str, Expected] = {}
    if (root / "matrix.toml").is_file():
        expected = {planned.cell.id: expect(planned) for planned in make_plan(load_matrix(root))}
    return expected.get
