"""Evidence from folders: what smoke tests, audits and builds wrote, of any age. What is damaged is only named."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from scripts.audit.evidence import summarise
from scripts.catalogue.layers import read_layers
from scripts.catalogue.types import Audit, Build
from scripts.compare.form import parse_comparison
from scripts.compare.types import Comparison
from scripts.errors import ConfigError
from scripts.files import parse_json
from scripts.model import Verdict
from scripts.pipeline.candidate import read_candidate
from scripts.smoke.parse import expect_digest, expect_text, parse_evidence
from scripts.smoke.smoke import SMOKE
from scripts.workspace import Workspace

_AUDIT = "audit.json"


@dataclass
class Found:
    """Builds by cell and digest, comparisons by target, and the files that could not be read."""

    builds: defaultdict[str, dict[str, Build]] = field(default_factory=lambda: defaultdict(dict))
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)

    def add(self, cell: str, build: Build) -> None:
        """Put what is known of a digest together: of two runs of one scenario the later one counts."""
        known = self.builds[cell].get(build.digest, Build(build.digest))
        scenarios = {each.scenario: each for each in known.evidence}
        for each in build.evidence:
            if each.scenario not in scenarios or scenarios[each.scenario].finished <= each.finished:
                scenarios[each.scenario] = each
        self.builds[cell][build.digest] = replace(
            known,
            evidence=tuple(scenarios.values()),
            verdict=build.verdict or known.verdict,
            reasons=build.reasons if build.verdict else known.reasons,
            size=build.size or known.size,
            audit=build.audit or known.audit,
            layers=build.layers or known.layers,
        )


def read_folders(folders: Sequence[Path], cells: Iterable[str], found: Found) -> None:
    """Take in `FOLDER/CELL.json` and `FOLDER/CELL/*.json` of these cells. ConfigError: there is no folder."""
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError("there is no such folder", str(folder), "give the folder of the evidence")
        for cell in cells:
            for path in (folder / f"{cell}.json", *sorted((folder / cell).glob("*.json"))):
                if path.is_file():
                    _take(found, cell, path)


def read_runs(workspace: Workspace, cells: Iterable[str], found: Found) -> None:
    """Take in what runs in this checkout have left: of today's builds and of earlier ones."""
    known = set(cells)
    for run in sorted(workspace.runs.glob("*")):
        candidate = read_candidate(workspace, run.name)
        for folder in sorted(each for each in run.iterdir() if each.is_dir() and each.name in known):
            for path in sorted((folder / SMOKE).glob("*.json")):
                _take(found, folder.name, path)
            if candidate:
                verdict, reasons = _read_verdict(folder / "verdict.json", candidate.digest)
                if verdict or candidate.digest in found.builds[folder.name]:
                    build = Build(candidate.digest, (), verdict, reasons, size=candidate.size)
                    audit = _read_audit(run / _AUDIT, candidate.digest)
                    layers = read_layers(candidate.digest, run, workspace.layout(run.name))
                    found.add(folder.name, replace(build, audit=audit, layers=layers))


def read_comparisons(folders: Sequence[Path], targets: Container[str], found: Found) -> None:
    """Take in `FOLDER/*.json`, as `compare` wrote them, of these targets; of two of one target the later folder's."""
    for path in (path for folder in folders for path in sorted(folder.glob("*.json"))):
        try:
            comparison = parse_comparison(parse_json(path.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError):
            found.unread.append(f"{path.name} is no comparison that this version reads")
            continue
        if comparison.target in targets:
            found.comparisons[comparison.target] = comparison
        else:
            found.unread.append(f"{path.name}: the matrix has no such target")


def _take(found: Found, cell: str, path: Path) -> None:
    try:
        data = parse_json(path.read_bytes())
        if path.name == _AUDIT:
            audit = Audit(summarise(data), expect_text(data["driver"] or ""))
            found.add(cell, Build(expect_digest(data["digest"]), audit=audit))
        else:
            evidence = parse_evidence(data)
            found.add(cell, Build(evidence.digest, (evidence,)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        found.unread.append(f"{cell}: {path.name} is no evidence that this version reads")


def _read_audit(path: Path, digest: str) -> Audit | None:
    try:
        data = parse_json(path.read_bytes())
        return Audit(summarise(data), expect_text(data["driver"] or "")) if data["digest"] == digest else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read_verdict(path: Path, digest: str) -> tuple[Verdict | None, tuple[str, ...]]:
    try:
        data = parse_json(path.read_bytes())
        if data["digest"] == digest:
            return Verdict(data["verdict"]), tuple(map(expect_text, data["reasons"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None, ()
