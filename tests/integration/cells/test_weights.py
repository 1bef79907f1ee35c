"""The gate knows a wrong model by its numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.engine import Engine
from scripts.engine.images import digest_of_tag
from scripts.plan import Selection, make_plan
from scripts.project import Project
from scripts.smoke import smoke as smoke_module
from scripts.smoke.models.zoo import write_model
from scripts.smoke.smoke import run_scenario
from scripts.verdict import decide


@pytest.mark.parametrize("cell", ["pytorch-cpu", "vllm-cpu"])
def test_tampered_weights_are_rejected(
    checkout: Project, engine: Engine, stamped: None, cell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real image serves a model one of whose weights has its sign flipped: its numbers must give it away."""

    def write_tampered(name: str, folder: Path) -> str:
        digest = write_model(name, folder)
        weights = folder / "model.safetensors"
        data = bytearray(weights.read_bytes())
        data[len(data) // 4 * 2 + 1] ^= 0x80  # the sign bit of a bfloat16
        weights.write_bytes(data)
        return digest

    monkeypatch.setattr(smoke_module, "write_model", write_tampered)
    [planned] = make_plan(checkout.matrix, Selection([cell]))
    scenario = planned.image.scenarios[0]
    digest = digest_of_tag(
        engine, f"hallmark/{planned.image.name}:{planned.recipe.version}-cpu" if planned.recipe else ""
    )
    evidence = run_scenario(
        engine, planned.cell, planned.image, scenario, digest, tmp_path, tmp_path / "run", lambda _: None
    )
    verdict, reasons = decide(evidence.results, scenario.checks)
    assert verdict == "rejected", evidence.results
    # By its numbers, not because something else went wrong.
    assert any("differ" in reason or "tokens" in reason for reason in reasons), reasons
