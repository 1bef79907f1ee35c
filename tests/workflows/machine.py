"""A machine that runs a job's steps: a folder, the files that GitHub gives a step, and a PATH of stand-ins."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
STANDINS = Path(__file__).with_name("standins.py")
PROGRAMS = ("apt-get", "docker", "gh", "git", "python3", "sudo")
# What a checkout has that a workflow may need.
CHECKOUT = (".ci", ".github", "docs", "images", "scripts")
FILES = ("README.md", "matrix.lock", "matrix.toml", "noxfile.py", "pyproject.toml")
STEP_S = 300  # seconds for one step


@dataclass(frozen=True)
class Ran:
    """How a step's commands ended, what they printed, and the outputs that they set."""

    code: int
    said: str
    outputs: dict[str, str]


@dataclass
class World:
    """What all machines of a run share: artifacts, the registry, what commands answer, and what was run, in order.

    Its folders have a space in their names, as none of GitHub's has: what is not quoted falls apart. With `real` the
    program itself is run, with these variables and this registry in the place of GitHub's; `lay_out` then makes a
    checkout. `before` are files that a checkout has besides, and `added` those that a pull request adds. `identity` is
    what a job has that may say who it is.
    """

    folder: Path
    answers: dict[str, Any] = field(default_factory=dict)
    cells: dict[str, Any] = field(default_factory=dict)
    real: dict[str, Any] = field(default_factory=dict)
    lay_out: Callable[[Path], None] | None = None
    before: dict[str, str] = field(default_factory=dict)
    added: dict[str, str] = field(default_factory=dict)
    identity: dict[str, str] = field(default_factory=lambda: {"ACTIONS_ID_TOKEN_REQUEST_TOKEN": "who it is"})

    def __post_init__(self) -> None:
        for name in ("artifacts", "pages", "bin"):
            (self.folder / name).mkdir(parents=True)
        for name in PROGRAMS:
            write_program(self.folder / "bin" / name, self, name)
        self.save()

    def save(self) -> None:
        """Have the stand-ins know what they answer."""
        content = {"answers": self.answers, "cells": self.cells, "real": self.real}
        (self.folder / "world.json").write_text(json.dumps(content))

    @property
    def log(self) -> list[dict[str, Any]]:
        """Every command that a stand-in was called as, with the variables that matter."""
        path = self.folder / "log.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []

    def commands(self, *start: str) -> list[list[str]]:
        """The commands that begin with these words."""
        return [each["command"] for each in self.log if each["command"][: len(start)] == list(start)]


def write_program(path: Path, world: World, name: str) -> None:
    """A program of this name, which `standins.py` is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\nexec {sys.executable} -I -S '{STANDINS}' '{world.folder}' {name} \"$@\"\n")
    path.chmod(0o755)


class Machine:
    """One job's machine.

    Its steps run with `bash -e`, as on GitHub, and with -u besides: a variable that nobody has set is a slip.
    """

    def __init__(self, world: World, name: str, github: Mapping[str, str], *, may_say_who: bool = False) -> None:
        self.world = world
        self.folder = world.folder / "jobs" / name
        self.work, self.temp, self.home = (self.folder / each for each in ("work", "runner temp", "home"))
        for each in (self.work, self.temp, self.home):
            each.mkdir(parents=True)
        self.summary = self.folder / "summary"
        self.environment = {
            "PATH": f"{world.folder / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.home),
            "RUNNER_TEMP": str(self.temp),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "GITHUB_ACTOR": "somebody",
            "GITHUB_REPOSITORY_OWNER": github["repository_owner"],
            "GITHUB_REF": github["ref"],
            "GITHUB_EVENT_NAME": github["event_name"],
            **(world.identity if may_say_who else {}),
            "NO_COLOR": "1",
        }
        self.added: dict[str, str] = {}

    def check_out(self, *, history: bool, depth: int = 1) -> None:
        """Lay the repository's files out, and those that a pull request adds.

        With a history where git is going to be asked: one commit, or with a depth of two one more for what is added.
        """
        if self.world.lay_out:
            self.world.lay_out(self.work)
            return
        for name in CHECKOUT:
            shutil.copytree(
                ROOT / name, self.work / name, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
            )
        for name in FILES:
            shutil.copyfile(ROOT / name, self.work / name)
        for number, added in enumerate((self.world.before, self.world.added)):
            for name, text in added.items():
                (self.work / name).parent.mkdir(parents=True, exist_ok=True)
                (self.work / name).write_text(text)
            if history and number + depth >= 2:
                self._commit()

    def _commit(self) -> None:
        who = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
        for command in (["init", "-q"], ["add", "."], [*who, "commit", "--allow-empty", "-qm", "x"]):
            subprocess.run(["/usr/bin/git", *command], cwd=self.work, check=True, capture_output=True)

    def run(self, script: str, environment: Mapping[str, str]) -> Ran:
        """Run a step's commands as GitHub does: from a file, in the checkout, with files for what they set."""
        output, variables, file = (self.folder / name for name in ("output", "env", "script"))
        for path in (output, variables):
            path.write_text("")
        file.write_text(script)
        given = {"GITHUB_OUTPUT": str(output), "GITHUB_ENV": str(variables)}
        ended = subprocess.run(
            ["/usr/bin/bash", "-eu", str(file)],
            cwd=self.work,
            env={**self.environment, **self.added, **environment, **given},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=STEP_S,
            check=False,
        )
        self.added |= read_settings(variables)
        return Ran(ended.returncode, ended.stdout, read_settings(output))


def read_settings(path: Path) -> dict[str, str]:
    """`name=value` lines, of which each must be one."""
    found = {}
    for line in path.read_text().splitlines():
        name, sign, value = line.partition("=")
        assert sign and name.isidentifier(), f"{line!r} is no name=value"
        found[name] = value
    return found


def is_git_used(steps: list[dict[str, Any]]) -> bool:
    """Whether a step runs git."""
    return any("git " in str(step.get("run", "")) for step in steps)
