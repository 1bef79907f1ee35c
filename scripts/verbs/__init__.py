"""The verbs of the command line. The module of each is imported when it is run: most need much, and a run needs one."""

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

Verb = Callable[[Path, argparse.Namespace], int]


def _later(module: str, name: str) -> Verb:
    def run(root: Path, options: argparse.Namespace) -> int:
        verb: Verb = getattr(import_module(f"scripts.verbs.{module}"), name)
        return verb(root, options)

    return run


bake = _later("cells", "bake")
build = _later("cells", "build")
bundle = _later("bundling", "bundle")
clean = _later("cells", "clean")
gc = _later("keeping", "gc")
retire = _later("keeping", "retire")
engine = _later("cells", "engine")
fetch = _later("cells", "fetch")
lock = _later("locking", "lock")
matrix = _later("runners", "matrix")
plan = _later("planning", "plan")
publish = _later("cells", "publish")
reproduce = _later("cells", "reproduce")
smoke = _later("cells", "smoke")
verdict = _later("cells", "verdict")
audit = _later("code", "audit")
sizes = _later("code", "sizes")
slim = _later("code", "slim")
compare = _later("comparing", "compare")
doctor = _later("examining", "doctor")
serve = _later("serving", "serve")
catalogue = _later("showing", "catalogue")
history = _later("showing", "history")
update = _later("updating", "update")
verify = _later("verifying", "verify")

__all__ = [
    "Verb",
    "audit",
    "bake",
    "build",
    "bundle",
    "catalogue",
    "clean",
    "compare",
    "doctor",
    "engine",
    "fetch",
    "gc",
    "history",
    "lock",
    "matrix",
    "plan",
    "publish",
    "reproduce",
    "retire",
    "serve",
    "sizes",
    "slim",
    "smoke",
    "update",
    "verdict",
    "verify",
]
