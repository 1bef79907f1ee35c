"""Runs a workflow: its jobs in the order of their needs, each with its matrix, its conditions, its steps, its outputs.

What this does not know, it refuses: a key, an expression, an action. So a workflow that uses more is noticed, and
whoever changes one says here what GitHub does with it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.workflows.actions import run_action
from tests.workflows.expressions import Scope, as_text, holds, interpolate
from tests.workflows.machine import ROOT, Machine, Ran, World, is_git_used

WORKFLOWS = ROOT / ".github/workflows"
_JOB = {
    "concurrency", "container", "continue-on-error", "env", "environment", "if", "name", "needs", "outputs",
    "permissions", "runs-on", "steps", "strategy", "timeout-minutes", "uses", "with",
}  # fmt: skip
_STEP = {"env", "id", "if", "name", "run", "uses", "with"}
_STRATEGY = {"fail-fast", "matrix", "max-parallel"}
_WORKFLOW = {"concurrency", "env", "jobs", "name", "on", "permissions"}
VARS = (
    "BUILDER_ADDRESS", "COMPILE_RUNNER", "GPU_TARGETS", "HALLMARK_MIRRORS", "HALLMARK_SIGNING",
    "HALLMARK_SIGNING_TRUST",
)  # fmt: skip
SECRETS = (
    "BUILDER_AUTHORITY", "BUILDER_CERTIFICATE", "BUILDER_KEY", "HALLMARK_SIGNING_KEY", "HALLMARK_SIGNING_PASSWORD",
)  # fmt: skip
TOKEN = "the token"


class Refused(Exception):
    """Something of a workflow that this runner does not know."""


@dataclass
class JobRun:
    """One job, or one row of its matrix: how it ended (`success`, `failure`, `skipped`), and what its steps did."""

    name: str
    result: str = "success"
    runner: Any = None
    outputs: dict[str, str] = field(default_factory=dict)
    steps: list[tuple[str, Ran | None]] = field(default_factory=list)

    @property
    def said(self) -> str:
        return "".join(ran.said for _, ran in self.steps if ran)


@dataclass
class Event:
    """What started a run, and what the repository has set."""

    ref: str = "refs/heads/main"
    name: str = "schedule"
    inputs: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)


def read_workflow(name: str) -> dict[str, Any]:
    """A workflow of the repository, as plain values."""
    found: dict[str, Any] = YAML(typ="safe").load((WORKFLOWS / name).read_text("utf-8"))
    return found


class Runner:
    """Runs workflows in one world. `workflows` may hold changed ones, by their names."""

    def __init__(self, world: World, event: Event, workflows: Mapping[str, dict[str, Any]] | None = None) -> None:
        self.world, self.event = world, event
        self.workflows = dict(workflows or {})
        self.runs: list[JobRun] = []
        self.executed: set[tuple[str, str]] = set()
        self.github = {"ref": event.ref, "event_name": event.name, "repository_owner": "Acme"}

    def load(self, name: str) -> dict[str, Any]:
        return copy.deepcopy(self.workflows.get(name) or read_workflow(name))

    def run(
        self,
        name: str,
        inputs: Mapping[str, Any] | None = None,
        prefix: str = "",
        done: Mapping[str, dict[str, Any]] | None = None,
    ) -> str:
        """Run a workflow; how it ended. Its jobs are added to `runs`, those of a workflow that it calls as well.

        `done` are jobs that are not run, with what others see of them: their result and outputs.
        """
        workflow = self.load(name)
        _know(workflow, _WORKFLOW, name)
        done = dict(done or {})
        waiting = {key: job for key, job in workflow["jobs"].items() if key not in done}
        while waiting:
            ready = [key for key, job in waiting.items() if not set(_list(job.get("needs"))) & set(waiting)]
            if not ready:
                raise Refused(f"{name}: jobs that need each other: {', '.join(waiting)}")
            for key in ready:
                done[key] = self._run_job(name, workflow, key, waiting.pop(key), done, inputs, prefix)
        return "failure" if any(each["result"] == "failure" for each in done.values()) else "success"

    def find(self, start: str) -> list[JobRun]:
        """The jobs whose name begins so."""
        return [each for each in self.runs if each.name.startswith(start)]

    def _run_job(
        self,
        name: str,
        workflow: Mapping[str, Any],
        key: str,
        job: dict[str, Any],
        done: Mapping[str, dict[str, Any]],
        inputs: Mapping[str, Any] | None,
        prefix: str,
    ) -> dict[str, Any]:
        """All rows of a job. What other jobs see of it: its result, and the outputs that it declares."""
        _know(job, _JOB, f"{name}: {key}")
        needs = {each: done[each] for each in _list(job.get("needs"))}
        failed = any(each["result"] != "success" for each in needs.values())
        scope = Scope(self._contexts(workflow, needs, inputs), failed=failed)
        outputs = dict.fromkeys(job.get("outputs", {}), "")
        if not holds(str(job.get("if", "success()")), scope):
            self.runs.append(JobRun(f"{prefix}{key}", "skipped"))
            return {"result": "skipped", "outputs": outputs}
        if "uses" in job:
            called, given = str(job["uses"]).removeprefix("$/.github/workflows/"), interpolate(job["with"], scope)
            declared = self.load(called)["on"]["workflow_call"]["inputs"]
            if set(given) != set(declared):
                raise Refused(f"{name}: {key}: gives {sorted(given)}, and {called} takes {sorted(declared)}")
            return {"result": self.run(called, given, f"{prefix}{key} / "), "outputs": {}}
        results = []
        for number, row in enumerate(self._rows(job, scope)):
            one = Scope({**scope.contexts, "matrix": row} if row is not None else scope.contexts, failed=False)
            made = self._run_row(name, key, job, one, f"{prefix}{key}", number)
            self.runs.append(made)
            results.append("success" if job.get("continue-on-error") else made.result)
            outputs |= made.outputs
        return {"result": "failure" if "failure" in results else "success", "outputs": outputs}

    def _rows(self, job: Mapping[str, Any], scope: Scope) -> list[Any]:
        strategy = job.get("strategy")
        if strategy is None:
            return [None]
        _know(strategy, _STRATEGY, "strategy")
        rows: list[Any] = interpolate(strategy["matrix"], scope)["include"]
        if not rows:
            raise Refused("an empty matrix, which GitHub refuses")
        return rows

    def _run_row(self, name: str, key: str, job: Mapping[str, Any], scope: Scope, title: str, number: int) -> JobRun:
        made = JobRun(as_text(interpolate(job.get("name", key), scope)), runner=interpolate(job["runs-on"], scope))
        made.name = f"{title}: {made.name}"
        interpolate(job.get("concurrency", {}), scope)
        may_say_who = job["permissions"].get("id-token") == "write"
        machine = Machine(self.world, f"{title.replace(' / ', '-')}-{number}", self.github, may_say_who=may_say_who)
        contexts = {**scope.contexts, "runner": {"temp": str(machine.temp)}, "steps": {}}
        environment = self._texts(contexts.pop("workflow env"), contexts)
        environment |= self._texts(job.get("env", {}), contexts)
        for place, step in enumerate(job["steps"]):
            _know(step, _STEP, f"{name}: {key}")
            now = Scope(contexts, failed=made.result == "failure")
            label = step.get("name") or step.get("uses") or step["run"]
            if not holds(str(step.get("if", "success()")), now):
                made.steps.append((label, None))
                continue
            if "uses" in step:
                given = interpolate(step.get("with", {}), now)
                ran = run_action(step["uses"], given, machine, history=is_git_used(job["steps"]))
            else:
                ran = machine.run(
                    interpolate(step["run"], now), {**environment, **self._texts(step.get("env", {}), contexts)}
                )
                self.executed.add((name, f"{key}/{place}"))
            made.steps.append((label, ran))
            if "id" in step:
                contexts["steps"][step["id"]] = {"outputs": ran.outputs}
            if ran.code:
                made.result = "failure"
        if made.result == "success":
            made.outputs = self._texts(job.get("outputs", {}), contexts)
        interpolate(job.get("environment", ""), Scope(contexts)) if made.result == "success" else None
        return made

    def _contexts(
        self, workflow: Mapping[str, Any], needs: Mapping[str, Any], inputs: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        github = {**self.github, "token": TOKEN, "event": {"repository": {"default_branch": "main"}}}
        declared = (workflow["on"].get("workflow_dispatch") or {}).get("inputs", {})
        declared = declared or (workflow["on"].get("workflow_call") or {}).get("inputs", {})
        given = {**dict.fromkeys(declared, ""), **(self.event.inputs if inputs is None else inputs)}
        return {
            "github": github,
            "needs": needs,
            "inputs": given,
            "vars": {**dict.fromkeys(VARS, ""), **self.event.variables},
            "secrets": {**dict.fromkeys(SECRETS, ""), **(self.event.secrets if inputs is None else {})},
            "workflow env": workflow.get("env", {}),
        }

    def _texts(self, values: Mapping[str, Any], contexts: Mapping[str, Any]) -> dict[str, str]:
        return {key: as_text(value) for key, value in interpolate(values, Scope(contexts)).items()}


def list_runs(name: str) -> set[tuple[str, str]]:
    """Every `run:` of a workflow: its file, and its place in it."""
    jobs = read_workflow(name)["jobs"].items()
    steps = [(key, place, step) for key, job in jobs for place, step in enumerate(job.get("steps", []))]
    return {(name, f"{key}/{place}") for key, place, step in steps if "run" in step}


def workflow_names() -> list[str]:
    return sorted(path.name for path in Path(WORKFLOWS).glob("*.yml"))


def _know(found: Mapping[str, Any], known: set[str], place: str) -> None:
    if unknown := sorted(set(found) - known):
        raise Refused(f"{place}: this runner does not know {', '.join(unknown)}")


def _list(value: Any) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)
