"""A rewritten image.toml: the recipe's values, and not a character besides."""

from __future__ import annotations

import difflib
from pathlib import Path

from scripts.matrix import load_matrix
from scripts.update.propose import Proposal
from scripts.update.rewrite import rewrite
from tests.unit.builders import REPOSITORY_ROOT


def lines_that_differ(before: str, after: str) -> list[str]:
    return [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]


def test_only_the_values_of_one_recipe_change() -> None:
    path = REPOSITORY_ROOT / "images/vllm/image.toml"
    recipe = load_matrix(REPOSITORY_ROOT).images["vllm"].recipes["wheel", "13.0"]
    old, new = recipe.version, "9.8.7"
    requirements = tuple(each.replace(f"vllm=={old}", f"vllm=={new}") for each in recipe.requirements)
    before = path.read_text("utf-8")
    proposal = Proposal("vllm", ("wheel", "13.0"), old, new, requirements)
    after = rewrite(before, proposal)
    changed = lines_that_differ(before, after)
    gone = [line[2:].strip() for line in changed if line[0] == "-"]
    came = [line[2:].strip() for line in changed if line[0] == "+"]
    assert [line.replace(old, new) for line in gone] == came, "each line as it was, with the new version"
    assert came == ['version = "9.8.7"', 'revision = "v9.8.7"', came[2], 'sdist = "vllm==9.8.7"']
    assert came[2].startswith('"vllm==9.8.7", "torch!=')
    assert rewrite(after, Proposal("vllm", ("wheel", "13.0"), new, old, recipe.requirements)) == before


def test_a_revision_that_is_a_commit_becomes_the_tag(tmp_path: Path) -> None:
    text = '[recipe.wheel."13.0"]\nversion = "1.0"\nrevision = "cf30153c"  # of 1.0\nrequirements = ["a==1.0"]\n'
    after = rewrite(text, Proposal("x", ("wheel", "13.0"), "1.0", "1.1", ("a==1.1",)))
    assert after == text.replace("cf30153c", "v1.1").replace('"1.0"', '"1.1"').replace("==1.0", "==1.1")
