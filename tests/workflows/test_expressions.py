"""The evaluator of expressions: right on those that it knows, and loud about any other."""

from __future__ import annotations

from typing import Any

import pytest

from tests.workflows.expressions import Scope, Unknown, evaluate, holds, interpolate

CONTEXTS = {
    "github": {"ref": "refs/heads/main", "event": {"repository": {"default_branch": "main"}}},
    "inputs": {"cells": ""},
    "matrix": {"id": "a", "compiles": True, "runner": ["self-hosted", "gpu", "5090"]},
    "needs": {"plan": {"result": "success", "outputs": {"rows": '{"include":[{"id":"a"}]}'}}},
    "vars": {"BUILDER_ADDRESS": ""},
}
GOOD, BAD = Scope(CONTEXTS), Scope(CONTEXTS, failed=True)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("github.ref == 'refs/heads/main'", True),
        ("github.ref == 'REFS/heads/main'", True),
        ("github.ref != 'refs/heads/main'", False),
        ("inputs.cells || '*'", "*"),
        ("matrix.compiles && vars.BUILDER_ADDRESS != ''", False),
        ("!matrix.compiles || (matrix.id == 'a' && 'it''s')", "it's"),
        ("fromJSON(needs.plan.outputs.rows)", {"include": [{"id": "a"}]}),
        ("!cancelled() && needs.plan.result == 'success'", True),
        ("github.event.repository.default_branch", "main"),
    ],
)
def test_what_is_known_is_evaluated(text: str, value: Any) -> None:
    assert evaluate(text, GOOD) == value


@pytest.mark.parametrize(
    "text",
    [
        "matrix.idd",
        "needs.build.outputs.rows",
        "needs.plan.outputs.row",
        "vars.GPU_TARGET",
        "github.reff == 'x'",
        "format('{0}', matrix.id)",
        "hashFiles('**')",
        "fromJSON('[]', 1)",
        "matrix.id == 'a",
        "matrix.id = 'a'",
        "(matrix.id",
        "matrix.id matrix.id",
        "matrix[0]",
        "matrix.id ==",
        "",
    ],
)
def test_what_is_not_is_an_error(text: str) -> None:
    with pytest.raises(Unknown):
        evaluate(text, GOOD)


def test_places_keep_their_type_and_texts_are_filled_in() -> None:
    assert interpolate("${{ matrix.runner }}", GOOD) == ["self-hosted", "gpu", "5090"]
    assert interpolate({"name": "build ${{ matrix.id }} (${{ matrix.compiles }})"}, GOOD) == {"name": "build a (true)"}


@pytest.mark.parametrize(
    ("condition", "scope", "runs"),
    [
        ("github.ref == 'refs/heads/main'", GOOD, True),
        ("github.ref == 'refs/heads/main'", BAD, False),
        ("${{ !cancelled() && needs.plan.outputs.rows != '' }}", BAD, True),
        ("always()", BAD, True),
        ("failure()", BAD, True),
        ("failure()", GOOD, False),
    ],
)
def test_after_a_failure_only_what_asks_for_it_runs(condition: str, scope: Scope, runs: bool) -> None:
    assert holds(condition, scope) is runs
