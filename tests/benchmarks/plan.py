"""How long `plan` takes of a large matrix: python -m tests.benchmarks.plan. Ends with 1 where one takes too long.

Each matrix is planned by processes of their own, whose processor time counts, the program's start and all: machines
are busy, and what is beside it is not its business. The fastest of three is taken.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.unit.builders import REPOSITORY_ROOT, SERVE, edit, write_project

CELLS = 10_000
MOST_S = 2.0
ROUNDS = 3
_FIRST = "[recipe.wheel.cpu]"


def many_targets(root: Path) -> None:
    """10,000 targets of one recipe"""
    entries = "".join(f't{number} = {{ name = "T{number}", recipe = "wheel" }}\n' for number in range(CELLS))
    edit(root / "matrix.toml", "[targets]\n", f"[targets]\n{entries}")


def many_recipes(root: Path) -> None:
    """10,000 recipes for one target"""
    names = [f"r{number}" for number in range(CELLS)]
    edit(root / "matrix.toml", 'recipes = ["source", "wheel"]', f"recipes = {['source', 'wheel', *names]}")
    recipe = '\nversion = "1.2.0"\nrevision = "v1.2.0"\nrequirements = ["serve==1.2.0", "torch"]\n\n'
    entries = "".join(f"[recipe.{name}.cpu]{recipe}" for name in names)
    assert _FIRST in SERVE
    edit(root / "images/serve/image.toml", _FIRST, entries + _FIRST)


def main() -> int:
    slow = False
    for spoil in (many_targets, many_recipes):
        with tempfile.TemporaryDirectory(prefix="hallmark-plan-") as folder:
            root = write_project(Path(folder))
            shutil.rmtree(root / "images/train")
            edit(root / "matrix.toml", '[[exclude]]\ntarget = "cpu"\n', "[[exclude]]\n")  # a recipe, for all targets
            edit(root / "matrix.toml", 'cuda = "13.0"\nrecipe = "source"\n', 'target = "5090"\n')
            spoil(root)
            seconds, rows = min(plan(root) for _ in range(ROUNDS))
        print(f"{(spoil.__doc__ or '').strip()}: {rows} lines in {seconds:.2f} s of a processor", flush=True)
        slow |= seconds > MOST_S or rows < CELLS
    return 1 if slow else 0


def plan(root: Path) -> tuple[float, int]:
    """Seconds of a processor that a plan takes, and the lines that it prints."""
    before = os.times()
    command = [sys.executable, "-m", "scripts", "--project", str(root), "plan"]
    done = subprocess.run(command, cwd=REPOSITORY_ROOT, capture_output=True, text=True, check=True)
    after = os.times()
    used = after.children_user - before.children_user + after.children_system - before.children_system
    return used, len(done.stdout.splitlines())


if __name__ == "__main__":
    sys.exit(main())
