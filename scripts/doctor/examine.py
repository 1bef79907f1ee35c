"""One examination: everything is asked at once, and what was seen becomes findings."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scripts.doctor.ask import LIMIT_S, Asked
from scripts.doctor.engines import judge_access, judge_cgroup, judge_engine, judge_gate
from scripts.doctor.gpus import judge_gpus
from scripts.doctor.images import Choice, judge_images, list_choices, list_needs, tag_of
from scripts.doctor.machine import judge_clock, judge_disk, judge_memory, judge_registry, judge_setting
from scripts.doctor.probes import Probes, Tag
from scripts.doctor.seen import EngineSeen, Finding, Mark, RegistrySeen, Unseen
from scripts.errors import ExitCode, HallmarkError
from scripts.matrix import load_matrix
from scripts.redact import Private, add_private
from scripts.site import Site
from scripts.smoke.gpu import Gpu
from scripts.workspace import Workspace


@dataclass(frozen=True)
class Examination:
    """What was found, and for a report: the system, the checkout's revision, and what is to be left out of it.

    `private` is None where nobody knows what that is.
    """

    findings: tuple[Finding, ...]
    system: str
    revision: str
    private: Private | None

    @property
    def exit_code(self) -> ExitCode:
        missing = any(finding.mark is Mark.MISSING for finding in self.findings)
        return ExitCode.INCONCLUSIVE if missing else ExitCode.ACCEPTED


def examine(root: Path, probes: Probes | None = None, limit_s: float = LIMIT_S) -> Examination:
    """Look at this machine for what builds and tests need. Raises nothing; a probe that fails is a finding.

    `limit_s` is how long each probe may take; they run side by side, in two rounds.
    """
    probes = probes or Probes()
    ask = partial(Asked, limit_s=limit_s)
    set_up = ask(Site.from_environment).answer()
    site = set_up if isinstance(set_up, Site) else _readable_site()
    workspace = Workspace(root)
    asked_engine = ask(partial(probes.engine, root, site, workspace))
    asked_gpus, asked_devices = ask(probes.gpus), ask(probes.devices)
    asked_memory, asked_cgroup, asked_clock = ask(probes.memory), ask(probes.cgroup), ask(partial(probes.clock, root))
    asked_registry = ask(partial(probes.registry, site.registry)) if site.registry else None
    asked_system, asked_revision = ask(probes.system), ask(partial(probes.revision, root))
    asked_private = ask(probes.private)
    read = ask(partial(load_matrix, root)).answer()
    matrix = None if isinstance(read, Unseen) else read

    engine, gpus = asked_engine.answer(), asked_gpus.answer()
    shown: Sequence[Gpu] = () if isinstance(gpus, Unseen) else gpus
    registry = asked_registry.answer() if asked_registry else None
    running = None if isinstance(engine, Unseen) else engine.engine
    folders = {"the engine": _data_of(engine, workspace), "the cache": site.cache, "the checkout": root}
    asked_disks = {name: ask(partial(probes.disk, folder)) for name, folder in folders.items() if folder}
    path = running.environment.get("PATH") if running else None
    asked_gate = ask(partial(probes.gate, site.gpu_host, path)) if site.gpu_host else None
    asked_ways = [(gpu.index, ask(partial(probes.access, running, gpu)) if running else None) for gpu in shown]
    choices = list_choices(matrix, shown) if matrix else []
    tags = _find_tags(probes, choices, site.registry, registry, engine, limit_s)

    ways = {index: asked.answer() if asked else "" for index, asked in asked_ways}
    disks = {name: asked.answer() for name, asked in asked_disks.items()}
    findings = [
        *judge_setting("settings", [set_up, read]),
        judge_engine(engine),
        judge_gpus(gpus, asked_devices.answer(), matrix),
        judge_access(engine, ways),
        *judge_gate(asked_gate.answer() if asked_gate else None, site.gpu_host),
        judge_disk(disks, gpu=bool(shown)),
        judge_memory(asked_memory.answer(), list_needs(matrix, choices) if matrix else {}),
        judge_cgroup(asked_cgroup.answer(), engine),
        judge_clock(asked_clock.answer(), registry),
        judge_registry(registry, site.registry),
    ]
    if matrix:
        findings += judge_images(matrix, choices, site.registry, tags)
    system, revision, private = asked_system.answer(), asked_revision.answer(), asked_private.answer()
    return Examination(
        tuple(findings),
        f"system unknown ({system.cause})" if isinstance(system, Unseen) else system,
        f"unknown ({revision.cause})" if isinstance(revision, Unseen) else revision,
        None if isinstance(private, Unseen) else _add_private(private, engine, site, folders.values()),
    )


def _find_tags(
    probes: Probes,
    choices: Sequence[Choice],
    name: str,
    registry: RegistrySeen | Unseen | None,
    engine: EngineSeen | Unseen,
    limit_s: float,
) -> frozenset[Tag] | None:
    """Those of the cells' tags that there are: in the registry where one is set, else in the engine that runs.

    None where nobody can be asked.
    """
    wanted = [tag_of(planned) for choice in choices for planned in choice.fitting]
    if not wanted:
        return frozenset()
    if name:
        if not isinstance(registry, RegistrySeen) or registry.refusal:
            return None
        found = Asked(partial(probes.tags_in_registry, name, wanted), limit_s).answer()
    elif isinstance(engine, EngineSeen) and engine.engine:
        found = Asked(partial(probes.tags_in_engine, engine.engine, wanted), limit_s).answer()
    else:
        return None
    return None if isinstance(found, Unseen) else found


def _data_of(engine: EngineSeen | Unseen, workspace: Workspace) -> Path | None:
    """Where the engine keeps, or would keep, its images; None where that is not on this machine."""
    if isinstance(engine, Unseen) or (engine.lacking and not engine.embedded):
        return None
    if engine.engine is None:
        return workspace.engine
    folder = Path(str(engine.info.get("DockerRootDir") or ""))
    return folder if folder.is_absolute() and engine.engine.host.startswith("unix://") else None


def _add_private(private: Private, engine: EngineSeen | Unseen, site: Site, folders: Iterable[Path | None]) -> Private:
    """What is private with what was seen of the engine, and what the site is set up with."""
    name = "" if isinstance(engine, Unseen) else str(engine.info.get("Name") or "")
    address = "" if isinstance(engine, Unseen) or not engine.engine else engine.engine.host
    return add_private(private, name, address, site, folders)


def _readable_site() -> Site:
    """The site with those of its variables that can be read, for whatever can be said in spite of the others."""
    # Where there is no home folder, there is no cache either, and some folder has to be named.
    kept = {"XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")}  # noqa: PTH111
    for name in (name for name in os.environ if name.startswith("HALLMARK_")):
        with suppress(HallmarkError):
            Site.from_environment(kept | {name: os.environ[name]})
            kept[name] = os.environ[name]
    return Site.from_environment(kept)
