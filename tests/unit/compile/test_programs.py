from __future__ import annotations

import ast
import sys

import pytest

from tests.unit.compile.programs import PROGRAMS


@pytest.mark.parametrize("name", ["brief", "unit"])
def test_it_starts_in_any_image_that_has_python(name: str) -> None:
    program = PROGRAMS / name
    tree = ast.parse(program.read_text("utf-8"))
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    found |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert found <= sys.stdlib_module_names
    assert program.stat().st_mode & 0o111
