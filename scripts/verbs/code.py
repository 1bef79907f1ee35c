"""The verbs over GPU code: what runs on a target, what of it can go, and what that saves."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from scripts.audit.evidence import render_audit
from scripts.audit.judge import judge, judge_unknown
from scripts.audit.subject import read_subject
from scripts.console import show_document, step
from scripts.engines import find_running
from scripts.errors import ConfigError, ExitCode, worst
from scripts.files import write_atomic
from scripts.matrix import AuditRule, Matrix, load_matrix, select_rules
from scripts.model import Target
from scripts.project import Project
from scripts.report.libraries import show_audit, show_slimmed
from scripts.report.sizes import show_sizes
from scripts.sizes.measure import measure_cell
from scripts.sizes.picture import draw_sizes
from scripts.slim.wheel.wheel import slim_wheel
from scripts.text import for_json, name_some
from scripts.verbs.selection import find_gpu, open_cells


def audit(root: Path, options: argparse.Namespace) -> int:
    """Tell of each subject whether a target can run its GPU code."""
    matrix = load_matrix(root)
    target = find_gpu(matrix, options.target)
    policies = _policies(matrix, options.policy, target) if options.policy else []
    rules = [rule for image in matrix.images.values() for rule in image.audit]
    known = [rule for rule in rules if rule.scope.compute in ("", target.compute)]
    codes = []
    for text in options.subjects:
        lies_here = options.remote or os.path.exists(text)  # noqa: PTH110  # a Path's own raises for a long name
        subject = read_subject(text, None if lies_here else find_running(Project.open(root)))
        audits = [judge(subject.libraries, target.compute, rules) for rules in policies]
        found = min(
            audits or [judge_unknown(subject.libraries, target.compute, known)], key=lambda audit: len(audit.problems)
        )
        if options.json:
            show_document(for_json(render_audit(found, text, target, subject.digest)))
        else:
            show_audit(found, subject.name, target)
        codes.append(ExitCode.ACCEPTED if found.passed else ExitCode.REJECTED)
    return worst(codes)


def slim(root: Path, options: argparse.Namespace) -> int:
    """Write wheels again for one target. A wheel that may not be changed is refused: exit code 1."""
    target = find_gpu(load_matrix(root), options.target)
    codes = []
    for wheel in options.wheels:
        try:
            with step(wheel.name, "slim"):
                slimmed = slim_wheel(wheel, options.output, target.compute)
        except OSError as error:
            place = str(error.filename or wheel)
            raise ConfigError(str(error.strerror), place, "give a wheel's path, and an --output to write to") from error
        show_slimmed(slimmed)
        codes.append(ExitCode.REJECTED if slimmed.refusal else ExitCode.ACCEPTED)
    return worst(codes)


def sizes(root: Path, options: argparse.Namespace) -> int:
    """Show what the selected cells' images hold, by distribution, and draw it."""
    project, cells = open_cells(root, options)
    if options.svg and len(cells) != 1:
        raise ConfigError(f"a picture shows one cell, and {len(cells)} were selected", "--svg", "name one cell")
    for planned in cells:
        measured = measure_cell(project, planned, slim=not options.no_slim)
        show_sizes(measured)
        if options.svg:
            write_atomic(options.svg, draw_sizes(measured).encode())
    return ExitCode.ACCEPTED


def _policies(matrix: Matrix, name: str, target: Target) -> list[list[AuditRule]]:
    """An image's rules for each of its cells of a target: which of them a subject is like, it does not say itself."""
    image = matrix.images.get(name)
    if image is None or not image.audit:
        known = name_some((each.name for each in matrix.images.values() if each.audit), "write rules for one")
        raise ConfigError(f"no image `{name}` with [[audit]] rules", "--policy", known)
    cells = [cell for cell in matrix.cells if cell.image == name and cell.target == target]
    if not cells:
        raise ConfigError(f"no cell of `{name}` is for {target.id}", "--policy", "give another target")
    return [select_rules(image.audit, cell) for cell in cells]
