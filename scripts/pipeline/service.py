"""A cell out of service, and back: its moving tags are taken off, the feed says why, and nothing is tagged as it.

What is built is not asked: a cell that nobody is to build any more is excluded in matrix.toml. That alone would leave
its tags where they are, and take away the page that says what became of them.
"""

from __future__ import annotations

import time

from scripts import __version__
from scripts.engine import Engine
from scripts.engine.images import digest_of_tag, remove_image
from scripts.errors import ConfigError
from scripts.feed import RETIRED, RETURNED, Entry, append_entry, cut_reasons, find_retired, read_feed
from scripts.model import Verdict
from scripts.plan import PlannedCell
from scripts.project import Project
from scripts.publish.promote import BACK_IN_SERVICE, refuse_retired
from scripts.publish.service import retire_tags, return_tag
from scripts.publish.stamp import NAMESPACE, name_repository, name_tags
from scripts.registry.client import Registry
from scripts.workspace import Workspace


def retire(
    project: Project, planned: PlannedCell, reason: str, registry: Registry | None, engine: Engine | None
) -> list[str]:
    """Take a cell's moving tags off in the registry and in the engine; what was done, a sentence each.

    The tags with a build id stay. The feed comes last: whatever keeps it from being written, no tag stays where it
    should not, and the same again ends well. Raises Undecided.
    """
    tags = name_tags(planned, "")
    [said] = cut_reasons([reason])
    done, digest = [], ""
    if registry:
        repository = name_repository(project.site.registry, tags.image)
        named = retire_tags(registry, repository, tags.moving, said, project.workspace.locks)
        for tag in tags.moving:
            digest = digest or named[tag]
            place = f"{repository}:{tag}"
            done.append(f"{place} was withdrawn from {named[tag]}" if named[tag] else f"the registry has no {place}")
    for tag in tags.moving:
        local = f"{NAMESPACE}/{tags.image}:{tag}"
        if engine and (held := digest_of_tag(engine, local)):
            remove_image(engine, local)
            digest = digest or held
            done.append(f"{local} was removed from {held} in the engine")
    _append(project.workspace, planned, digest, said, RETIRED)
    return done


def restore(project: Project, planned: PlannedCell, reason: str, registry: Registry | None) -> list[str]:
    """Put a cell back in service, so that what is accepted of it is tagged again; what was done, a sentence each.

    Raises ConfigError where it is not known to be retired, and Undecided.
    """
    tags = name_tags(planned, "")
    [said] = cut_reasons([reason])
    done, digest = [], ""
    if registry:
        repository = name_repository(project.site.registry, tags.image)
        for tag in tags.moving:
            if named := return_tag(registry, repository, tag, project.workspace.locks):
                digest = digest or named
                done.append(f"{repository}:{tag} may be published again; until then it stays withdrawn")
    retired = find_retired(read_feed(project.workspace.feed)[0]).get(planned.cell.id)
    if not digest and not retired:
        raise ConfigError("it was not retired, as far as is known here", planned.cell.id, "nox -s history -- CELL")
    _append(project.workspace, planned, digest or (retired.digest if retired else ""), said, RETURNED)
    return done


def require_service(project: Project, planned: PlannedCell, registry: Registry | None) -> None:
    """Raise ConfigError where a cell was retired: by this checkout's feed, or by what one of its moving tags says."""
    cell = planned.cell.id
    if entry := find_retired(read_feed(project.workspace.feed)[0]).get(cell):
        raise ConfigError(f"retired: {'; '.join(entry.reasons)} ({entry.finished})", cell, BACK_IN_SERVICE)
    if registry:
        tags = name_tags(planned, "")
        repository = name_repository(project.site.registry, tags.image)
        for tag in tags.moving:
            refuse_retired(registry.get_manifest(repository, tag), f"{repository}:{tag}")


def _append(workspace: Workspace, planned: PlannedCell, digest: str, reason: str, service: str) -> None:
    """The line of the feed. It is about the digest that had the tag, and without one about what was accepted last."""
    cell = planned.cell.id
    judged = [each for each in read_feed(workspace.feed)[0] if each.cell == cell and not each.service and not each.by]
    accepted = [each for each in judged if each.verdict is Verdict.ACCEPTED]
    digest = digest or (accepted[-1].digest if accepted else "")
    last = next((each for each in reversed(judged) if each.digest == digest), None)
    entry = Entry(
        cell=cell,
        build=last.build if last else "",
        digest=digest,
        verdict=last.verdict if last else Verdict.INCONCLUSIVE,
        reasons=(reason,),
        gpu="",
        driver="",
        finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        passed=last.passed if last else 0,
        total=last.total if last else 0,
        tool=__version__,
        service=service,
    )
    append_entry(workspace.feed, entry, workspace.locks / "feed.lock")
