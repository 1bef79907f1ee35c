"""The programs of the compile steps, which have no suffix, as modules."""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from types import ModuleType

from tests.unit.builders import REPOSITORY_ROOT

PROGRAMS = REPOSITORY_ROOT / "images/toolkit/compile"


def load_program(name: str) -> ModuleType:
    """The program of this name in images/toolkit/compile."""
    spec = spec_from_loader(name, SourceFileLoader(name, str(PROGRAMS / name)))
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
