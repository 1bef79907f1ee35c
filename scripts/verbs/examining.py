"""The verb that looks at the machine itself."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.console import show
from scripts.doctor.examine import examine
from scripts.doctor.text import render_findings, render_report


def doctor(root: Path, options: argparse.Namespace) -> int:
    """Say of this machine what builds and tests need, what is missing, and which images are for its GPUs."""
    found = examine(root)
    for line in render_report(found) if options.report else render_findings(found.findings):
        show(line)
    return found.exit_code
