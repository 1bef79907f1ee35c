"""A comparison put together from the evidence of all visits: what is current of it, and why the rest is not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scripts.compare.asked import find_gap, sizes_of
from scripts.compare.figures import Figure, Missing, find_figure
from scripts.compare.parts import PARTS
from scripts.compare.rows import Row, Section, make_sections
from scripts.compare.run import Subject, machine_of
from scripts.model import Target
from scripts.pipeline.candidate import read_candidate
from scripts.pipeline.judge import judge_cell
from scripts.smoke.smoke import Evidence
from scripts.workspace import Workspace


@dataclass(frozen=True)
class Column:
    """One engine's column: the cell, its version and digest, what the gate says of it, and what was measured, by part.

    `undecided` is why it could not be measured just now; it explains what is missing.
    """

    cell: str
    title: str
    digest: str
    verdict: str
    evidence: Mapping[str, Evidence]
    missing: Mapping[str, str]

    def find(self, row: Row) -> Figure | Missing:
        """The figure of a row, or why there is none."""
        if evidence := self.evidence.get(row.part):
            return find_figure(evidence, row.check, row.name)
        return Missing(self.missing[row.part])


@dataclass(frozen=True)
class Comparison:
    """All that a report says. `absent` are engines and cells that have no column, and why.

    `options` are those of the command that chose what is compared, `host` has what each part's machine said of itself.
    """

    target: Target
    limit_gib: int
    machine: str
    host: Mapping[str, str]
    columns: tuple[Column, ...]
    absent: Mapping[str, str]
    sections: tuple[Section, ...]
    options: tuple[str, ...] = ()

    @property
    def numbers(self) -> list[tuple[Section, Row, Column, Figure | Missing]]:
        """Every place of the report, in its order."""
        return [
            (section, row, column, column.find(row))
            for section in self.sections
            for row in section.rows
            for column in self.columns
        ]


def gather(
    workspace: Workspace,
    target: Target,
    subjects: Sequence[Subject],
    absent: Mapping[str, str],
    machine: str = "",
    undecided: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> Comparison:
    """What there is of each subject, from one machine alone: the one that is given, else that of the newest evidence.

    Evidence of another digest, question, GPU or driver is not current, and is not shown.
    """
    digests = {each.job.cell.id: _digest(workspace, each) for each in subjects}
    found = {each.job.cell.id: _recall(workspace, each, digests[each.job.cell.id]) for each in subjects}
    every = [evidence for parts in found.values() for evidence in parts.values()]
    newest = max(every, key=lambda evidence: evidence.finished, default=None)
    machine = machine or (machine_of(newest.host) if newest else "")
    current = [evidence for evidence in every if machine_of(evidence.host) == machine]
    columns = tuple(
        _column(workspace, each, digests[each.job.cell.id], found[each.job.cell.id], machine, undecided or {})
        for each in subjects
    )
    return Comparison(
        target=target,
        limit_gib=subjects[0].limit_gib if subjects else target.memory,
        machine=machine,
        host=_describe_hosts([evidence.host for evidence in current]),
        columns=columns,
        absent=absent,
        sections=make_sections(sizes_of(subjects[0].job.cell)) if subjects else (),
        options=tuple(options),
    )


def _describe_hosts(hosts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What hosts say of themselves, each thing once: one GPU may have measured one engine, and another the other."""
    names = dict.fromkeys(name for host in hosts for name in host)
    return {name: "; ".join(dict.fromkeys(host[name] for host in hosts if name in host)) for name in names}


def _column(
    workspace: Workspace,
    subject: Subject,
    digest: str,
    found: Mapping[str, Evidence],
    machine: str,
    undecided: Mapping[str, str],
) -> Column:
    job = subject.job
    current = {part: evidence for part, evidence in found.items() if machine_of(evidence.host) == machine}
    missing = {}
    for part in PARTS:
        if gap := find_gap(job.cell, part, subject.limit_gib):
            missing[part] = f"not for {job.cell.target.id}: {gap}"
        elif reason := undecided.get(job.cell.id):
            missing[part] = f"not measured: {reason}"
        elif part in found:
            missing[part] = f"not measured on {machine}, but on {machine_of(found[part].host)}"
        else:
            missing[part] = "not measured yet"
    recipe = job.planned.recipe
    cuda = f", CUDA {job.cell.cuda.id}" if job.cell.cuda else ""
    title = f"{subject.engine.title} {recipe.version if recipe else ''}{cuda}"
    verdict = judge_cell(workspace, job)
    said = verdict.verdict if verdict.digest == digest else "undecided"
    return Column(job.cell.id, title, digest, said, current, missing)


def _digest(workspace: Workspace, subject: Subject) -> str:
    candidate = read_candidate(workspace, subject.job.step.build_id)
    return candidate.digest if candidate else ""


def _recall(workspace: Workspace, subject: Subject, digest: str) -> dict[str, Evidence]:
    known = {part: subject.recall(workspace, part, digest) for part in PARTS} if digest else {}
    return {part: evidence for part, evidence in known.items() if evidence}
