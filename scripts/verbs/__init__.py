"""The verbs of the command line."""

import argparse
from collections.abc import Callable
from pathlib import Path

from scripts.verbs.cells import build, clean, engine, fetch, lock, plan, publish, reproduce, smoke, verdict
from scripts.verbs.code import audit, sizes, slim
from scripts.verbs.comparing import compare
from scripts.verbs.examining import doctor
from scripts.verbs.serving import serve
from scripts.verbs.showing import catalogue, history
from scripts.verbs.verifying import verify

Verb = Callable[[Path, argparse.Namespace], int]

__all__ = [
    "Verb",
    "audit",
    "build",
    "catalogue",
    "clean",
    "compare",
    "doctor",
    "engine",
    "fetch",
    "history",
    "lock",
    "plan",
    "publish",
    "reproduce",
    "serve",
    "sizes",
    "slim",
    "smoke",
    "verdict",
    "verify",
]
