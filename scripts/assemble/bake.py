"""The shells as a docker-bake file, for those who drive BuildKit themselves."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.assemble.shell import shell_arguments
from scripts.assemble.types import Step
from scripts.buildkit.build import make_output
from scripts.text import for_json
from scripts.workspace import Workspace


def render_bake(steps: Sequence[Step], workspace: Workspace) -> str:
    """A bake file (JSON) of these steps' shells; their contexts lie where `fetch --contexts` has laid them out.

    Distributions are no part of it: they are laid on top of a shell afterwards. A child is built on its parent's
    target, so its label for the parent's digest is left out: nobody knows that yet.
    """
    parents = {step.parent.name for step in steps if step.parent}
    targets = {step.name: _target(step, workspace) for step in steps}
    group = {"default": {"targets": [step.name for step in steps if step.name not in parents]}}
    return for_json({"group": group, "target": targets}, indent=2)


def _target(step: Step, workspace: Workspace) -> dict[str, object]:
    folder = workspace.contexts(step.name).relative_to(workspace.root)
    contexts = {"inputs": f"{folder}/inputs"} if step.inputs else {}
    if step.parent:
        contexts[step.parent.name] = f"target:{step.parent.name}"
    return {
        "context": f"{folder}/context",
        "contexts": contexts,
        "args": shell_arguments(step),
        "labels": step.all_labels,
        "network": "none",
        "attest": ["type=provenance,disabled=true", "type=sbom,disabled=true"],
        "output": [f"{make_output(step.compression)},dest={folder}/layout"],
    }
