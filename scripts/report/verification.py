"""A verification, in one screen: each step, and then what was tested, where and when, and what was not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from scripts.console import show
from scripts.model import Outcome, Verdict
from scripts.verify.tested import Tested, list_some
from scripts.verify.verify import Verification

MARKS = {Outcome.PASSED: "✓", Outcome.FAILED: "✗", Outcome.SKIPPED: "–", Outcome.ERROR: "?"}


def show_verification(found: Verification) -> None:
    """Its steps, the verdict, and what the test result says."""
    show(str(found.image))
    for result in found.results:
        show(f"{MARKS[result.outcome]} {result.check:<10} {result.detail}")
    show("", str(found.verdict))
    if found.tested:
        rows = [*describe(found.tested), ("signature", _describe_signer(found.signer))]
        if found.provenance:
            parts = f"{found.provenance.inputs} inputs, {found.components} components in the image"
            rows.append(("build", f"{found.provenance.build_id[:12]}: {parts}"))
        if found.verdict is Verdict.ACCEPTED:
            rows.append(("pull", f"{found.image.repository}@{found.digest}"))
        for name, text in rows:
            show(f"{name:<12} {text}")


def _describe_signer(signer: Mapping[str, str]) -> str:
    if key := signer.get("key"):
        return f"by the key {key}"
    return f"by {signer['identity']}, as {signer['issuer']} says" if signer else "not looked at"


def describe(tested: Tested) -> list[tuple[str, str]]:
    """What a test result says, as names and texts."""
    target = tested.target
    gpu = f"{target.name} (compute capability {target.compute})" if target.compute else target.name
    drivers = sorted({host["driver"] for host in tested.hosts if host.get("driver")})
    driver = f", driver {', '.join(drivers)}" if drivers else ""
    floor = f" (driver {tested.driver_floor} or newer)" if tested.driver_floor else ""
    engines = sorted({host["engine"] for host in tested.hosts if host.get("engine")})
    engine = f", Docker Engine {', '.join(engines)}" if engines else ""
    return [
        ("cell", tested.cell),
        ("tested", f"{tested.finished}, {tested.result}"),
        ("on", f"{gpu}{driver}{engine}"),
        ("CUDA", f"{target.cuda}{floor}" if target.cuda else "none"),
        ("checks", f"{len(tested.required)} required, {len(tested.passed)} passed"),
        ("scenarios", f"{len(tested.scenarios)}: {list_some(tested.scenarios, 12)}"),
        ("not shown", list_some(tested.warned, 8) if tested.warned else "nothing that was asked"),
    ]


def render_verification(found: Verification) -> dict[str, Any]:
    """The same for machines."""
    return {
        "version": 1,
        "reference": str(found.image),
        "digest": found.digest,
        "verdict": found.verdict,
        **{"key": "", "identity": "", "issuer": ""},
        **found.signer,
        "steps": [{"step": each.check, "outcome": each.outcome, "detail": each.detail} for each in found.results],
        "tested": asdict(found.tested) if found.tested else None,
        "provenance": asdict(found.provenance) if found.provenance else None,
        "components": found.components,
    }
