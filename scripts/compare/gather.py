"""A comparison put together from the evidence of all visits: what is current of it, and why the rest is not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scripts.compare.asked import find_gap, sizes_of
from scripts.compare.figures import Missing, find_figure
from scripts.compare.parts import PARTS
from scripts.compare.rows import Row, make_sections
from scripts.compare.run import Subject, machine_of
from scripts.compare.types import Column, Comparison
from scripts.model import Target
from scripts.pipeline.candidate import read_candidate
from scripts.pipeline.judge import judge_cell
from scripts.smoke.smoke import Evidence
from scripts.workspace import Workspace


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
    sections = make_sections(sizes_of(subjects[0].job.cell)) if subjects else ()
    rows = [row for section in sections for row in section.rows]
    columns = tuple(
        _column(workspace, each, rows, digests[each.job.cell.id], found[each.job.cell.id], machine, undecided or {})
        for each in subjects
    )
    return Comparison(
        target=target.id,
        place=target.name,
        limit_gib=subjects[0].limit_gib if subjects else target.memory,
        machine=machine,
        host=_describe_hosts([evidence.host for evidence in current]),
        columns=columns,
        absent=absent,
        sections=sections,
        options=tuple(options),
    )


def _describe_hosts(hosts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What hosts say of themselves, each thing once: one GPU may have measured one engine, and another the other."""
    names = dict.fromkeys(name for host in hosts for name in host)
    return {name: "; ".join(dict.fromkeys(host[name] for host in hosts if name in host)) for name in names}


def _column(
    workspace: Workspace,
    subject: Subject,
    rows: Sequence[Row],
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
    figures = {
        row.name: find_figure(current[row.part], row.check, row.figure)
        if row.part in current
        else Missing(missing[row.part])
        for row in rows
    }
    return Column(job.cell.id, title, digest, said, figures)


def _digest(workspace: Workspace, subject: Subject) -> str:
    candidate = read_candidate(workspace, subject.job.step.build_id)
    return candidate.digest if candidate else ""


def _recall(workspace: Workspace, subject: Subject, digest: str) -> dict[str, Evidence]:
    known = {part: subject.recall(workspace, part, digest) for part in PARTS} if digest else {}
    return {part: evidence for part, evidence in known.items() if evidence}
