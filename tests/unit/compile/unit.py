"""The program `unit` of the compile steps, which has no suffix, as a module."""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader

from tests.unit.builders import REPOSITORY_ROOT

PROGRAM = REPOSITORY_ROOT / "images/toolkit/compile/unit"
_spec = spec_from_loader("unit", SourceFileLoader("unit", str(PROGRAM)))
assert _spec and _spec.loader
unit = module_from_spec(_spec)
_spec.loader.exec_module(unit)
