"""The verbs of the command line."""

import argparse
from collections.abc import Callable
from pathlib import Path

from scripts.verbs.cells import build, clean, engine, fetch, lock, plan, publish, reproduce, smoke, verdict
from scripts.verbs.code import audit, sizes, slim
from scripts.verbs.comparing import compare
from scripts.verbs.showing import catalogue

Verb = Callable[[Path, argparse.Namespace], int]

__all__ = [
    "Verb",
    "audit",
    "build",
    "catalogue",
    "clean",
    "compare",
    "engine",
    "fetch",
    "lock",
    "plan",
    "publish",
    "reproduce",
    "sizes",
    "slim",
    "smoke",
    "verdict",
]
