"""The same builds as a docker-bake file, for those who drive BuildKit themselves."""

from __future__ import annotations

import json
from collections.abc import Sequence

from scripts.build.steps import Step, make_arguments, make_labels
from scripts.buildkit.build import make_output
from scripts.workspace import Workspace


def render_bake(steps: Sequence[Step], workspace: Workspace) -> str:
    """A bake file (JSON) of these steps; their contexts lie where `fetch --contexts` has laid them out.

    A child is built on its parent's target, so its label for the parent's digest is left out: nobody knows that yet.
    """
    parents = {step.parent.name for step in steps if step.parent}
    targets = {step.name: _target(step, workspace) for step in steps}
    group = {"default": {"targets": [step.name for step in steps if step.name not in parents]}}
    return json.dumps({"group": group, "target": targets}, indent=2)


def _target(step: Step, workspace: Workspace) -> dict[str, object]:
    folder = workspace.contexts(step.name).relative_to(workspace.root)
    contexts = {"inputs": f"{folder}/inputs", "tools": f"{folder}/tools"}
    return {
        "context": f"{folder}/context",
        "contexts": contexts | ({"parent": f"target:{step.parent.name}"} if step.parent else {}),
        "args": make_arguments(step),
        "labels": make_labels(step),
        "network": "none",
        "attest": ["type=provenance,disabled=true", "type=sbom,disabled=true"],
        "output": [f"{make_output(step.compression)},dest={folder}/layout"],
    }
