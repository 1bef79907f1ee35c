"""What a registry may lose: candidates that were never accepted and that nobody has asked about for a year.

Registries do not list what has no tag, so the feed says what there may be. All that a tag needs stays, all that was
accepted once (its tag with a build id is promised for as long as the registry stands), all that the feed of the last
twelve months names, and what this checkout builds. Where any of that cannot be known, nothing is deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from scripts.attest.envelope import PAYLOAD_TYPE
from scripts.errors import Undecided
from scripts.feed import Entry
from scripts.model import Verdict
from scripts.oci.descriptor import digest_of, is_digest, parse_descriptor, parse_object
from scripts.oci.image import DEEPEST
from scripts.reference import Repository
from scripts.registry.client import Manifest, Registry

KEPT_DAYS = 366  # the longest twelve months
_DAY_S = 86400
_AGAIN = "mend that, then run the same command again"


@dataclass(frozen=True)
class Leftover:
    """A candidate that may go: what the feed says of it, what is attached to it, and the index that lists this.

    `size` are the bytes of its blobs, and of those attached, that nothing which stays needs.
    """

    digest: str
    cells: tuple[str, ...]
    last: Entry
    attached: tuple[str, ...]
    index: str
    size: int = 0


@dataclass
class Garbage:
    """What may go of one repository, and why the rest stays: how many candidates, by reason."""

    repository: Repository
    leftovers: list[Leftover] = field(default_factory=list)
    kept: dict[str, int] = field(default_factory=dict)

    def keep(self, why: str) -> None:
        self.kept[why] = self.kept.get(why, 0) + 1


def check_clock(registry: Registry, repository: Repository, entries: Iterable[Entry], now: float) -> None:
    """Raise Undecided unless feed and registry agree that it is `now` (seconds since 1970): age decides what goes."""
    theirs = registry.read_clock(repository)
    if theirs is None:
        cause = "the registry does not say what time it is, so this machine's clock cannot be trusted"
        raise Undecided(cause, repository.root, "nothing was deleted; ask who runs the registry")
    if abs(theirs - now) > _DAY_S:
        cause = f"this machine's clock and the registry's are {abs(theirs - now) / _DAY_S:.1f} days apart"
        raise Undecided(cause, repository.root, "nothing was deleted; set the clock that is wrong")
    for entry in entries:
        if _seconds(entry) > now + _DAY_S:
            cause = f"the feed has a line of {entry.finished}, which is to come"
            raise Undecided(cause, entry.cell, "nothing was deleted; see which clock is wrong")


def find_garbage(
    registry: Registry,
    repository: Repository,
    entries: Sequence[Entry],
    cells: Callable[[str], bool],
    builds: Collection[str],
    now: float,
) -> Garbage:
    """What may go of a repository. Reads only. Raises Undecided where something cannot be known.

    `entries` are all that is known of any cell; looked for are the digests of those `cells` that may be of this
    repository. `builds` are the build ids that this checkout makes now.
    """
    look = _Look(registry, repository)
    found = Garbage(repository)
    said: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.digest:
            said.setdefault(entry.digest, []).append(entry)
    chosen = {}
    for digest, lines in said.items():
        if not any(cells(entry.cell) for entry in lines) or look.manifest(digest) is None:
            continue
        if why := _why_kept(lines, builds, now) or look.find_strangers(digest):
            found.keep(why)
        else:
            chosen[digest] = lines
    while needed := look.find_needed(chosen) & {each for digest in chosen for each in look.family(digest)}:
        for digest in [digest for digest in chosen if needed & set(look.family(digest))]:
            del chosen[digest]
            found.keep("a tag needs it, or an index that has one")
    stay = {digest for digest in (*look.find_needed(chosen), *said) if digest not in chosen}
    staying = {blob for digest in stay for blob in look.blobs(digest)}
    for digest, lines in chosen.items():
        blobs = {blob for each in look.family(digest) for blob in look.blobs(each)} - staying
        last = max(lines, key=_seconds)
        names = tuple(dict.fromkeys(entry.cell for entry in lines))
        attached, index = look.attached(digest)
        found.leftovers.append(Leftover(digest, names, last, attached, index, sum(size for _, size in blobs)))
        staying |= blobs  # what two of them share is counted once
    return found


def delete(registry: Registry, repository: Repository, leftover: Leftover) -> None:
    """Remove what is attached, its index, and then the candidate: an interrupted run finds it again.

    Raises Undecided where the registry deletes nothing.
    """
    for digest in (*leftover.attached, *([leftover.index] if leftover.index else []), leftover.digest):
        if not registry.delete_manifest(repository, digest):
            step = "let it delete (docker-registry: storage.delete.enabled), or leave these where they are"
            raise Undecided("the registry deletes nothing", f"{repository}@{digest}", step)


def _why_kept(lines: Sequence[Entry], builds: Collection[str], now: float) -> str:
    """Why the feed alone keeps a digest, whatever the registry has; nothing where it does not."""
    if any(entry.verdict is Verdict.ACCEPTED for entry in lines):
        return "accepted once, which is promised for good"
    if any(entry.build in builds for entry in lines):
        return "this checkout builds it"
    if max(map(_seconds, lines)) > now - KEPT_DAYS * _DAY_S:
        return "named in the feed of the last twelve months"
    return ""


def _seconds(entry: Entry) -> float:
    """When a line fell, in seconds since 1970. Raises Undecided for a line that does not say."""
    try:
        return datetime.strptime(entry.finished, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        cause = f"a line of the feed says {entry.finished[:40]!r} where a time belongs"
        raise Undecided(cause, entry.cell, f"nothing was deleted; {_AGAIN}") from None


class _Look:
    """A repository, each manifest of which is asked for once."""

    def __init__(self, registry: Registry, repository: Repository) -> None:
        self.registry, self.repository = registry, repository
        self.tags = registry.list_tags(repository)
        self._manifests: dict[str, Manifest | None] = {}
        self._attached: dict[str, tuple[tuple[str, ...], str, str]] = {}

    def manifest(self, reference: str) -> Manifest | None:
        if reference not in self._manifests:
            found = self._manifests[reference] = self.registry.get_manifest(self.repository, reference)
            if found:
                self._manifests[found.digest] = found
        return self._manifests[reference]

    def content(self, reference: str) -> dict[str, Any]:
        """A manifest's or an index's content; nothing where it is not there. Raises Undecided where it is neither."""
        manifest = self.manifest(reference)
        try:
            return parse_object(manifest.data) if manifest else {}
        except ValueError as error:
            place = f"{self.repository} {reference}"
            raise Undecided(f"it cannot be read: {error}", place, f"nothing was deleted; {_AGAIN}") from error

    def listed(self, content: dict[str, Any]) -> list[dict[str, Any]]:
        """The entries of an index; none of what is no index. Raises Undecided for one that cannot be read."""
        entries = content.get("manifests") or []
        right = isinstance(entries, list) and all(isinstance(each, dict) for each in entries)
        if not right or not all(is_digest(each.get("digest")) for each in entries):
            raise Undecided("an index there cannot be read", str(self.repository), f"nothing was deleted; {_AGAIN}")
        return entries

    def attached(self, digest: str) -> tuple[tuple[str, ...], str]:
        """What is attached to a digest, and the index that lists it where a tag made of the digest does."""
        artifacts, index, _ = self._family(digest)
        return artifacts, index

    def family(self, digest: str) -> tuple[str, ...]:
        """A digest, and all that would go with it."""
        artifacts, index, _ = self._family(digest)
        return (digest, *artifacts, *([index] if index else []))

    def find_strangers(self, digest: str) -> str:
        """Why something that is not ours hangs on a digest, which keeps it; nothing where nothing does."""
        return self._family(digest)[2]

    def _family(self, digest: str) -> tuple[tuple[str, ...], str, str]:
        if digest not in self._attached:
            self._attached[digest] = self._ask(digest)
        return self._attached[digest]

    def _ask(self, digest: str) -> tuple[tuple[str, ...], str, str]:
        tag = digest.replace(":", "-")
        strange = "somebody else has attached something to it"
        pages = self.registry.list_referrers(self.repository, digest) or []
        held = self.manifest(tag) if tag in self.tags else None
        entries = [each for page in (*pages, *([held.data] if held else [])) for each in self.listed(_read(page))]
        artifacts = tuple(dict.fromkeys(each["digest"] for each in entries))
        index = held.digest if held else ""
        if any(name.startswith(f"{tag}.") for name in self.tags):  # as cosign names signatures
            return artifacts, index, strange
        for artifact in artifacts:
            content = self.content(artifact)
            subject = content.get("subject")
            named = subject.get("digest") if isinstance(subject, dict) else None
            if content and (content.get("artifactType") != PAYLOAD_TYPE or named != digest):
                return artifacts, index, strange
        return tuple(each for each in artifacts if self.manifest(each)), index, ""

    def find_needed(self, going: Collection[str]) -> set[str]:
        """The digests that tags need, directly or by indexes; the lists of what is attached to `going` need nothing."""
        lists = {digest.replace(":", "-") for digest in going}
        needed: set[str] = set()
        level = {manifest.digest for tag in self.tags if tag not in lists and (manifest := self.manifest(tag))}
        for _ in range(DEEPEST + 1):
            needed |= level
            level = {each for digest in level for each in self._below(digest)} - needed
        if level:
            cause = f"more than {DEEPEST} indexes within each other"
            raise Undecided(cause, str(self.repository), f"nothing was deleted; {_AGAIN}")
        return needed

    def _below(self, digest: str) -> set[str]:
        content = self.content(digest)
        subject = content.get("subject")
        above = {subject["digest"]} if isinstance(subject, dict) and is_digest(subject.get("digest")) else set()
        return {each["digest"] for each in self.listed(content)} | above

    def blobs(self, digest: str) -> set[tuple[str, int]]:
        """The blobs of a manifest with their sizes, itself among them."""
        manifest, content = self.manifest(digest), self.content(digest)
        if not manifest:
            return set()
        try:
            parts = [*(content.get("layers") or []), *([content["config"]] if "config" in content else [])]
            found = [parse_descriptor(part) for part in parts]
        except (ValueError, TypeError):
            found = []
        return {(digest_of(manifest.data), len(manifest.data)), *((each.digest, each.size) for each in found)}


def _read(page: bytes) -> dict[str, Any]:
    try:
        return parse_object(page)
    except ValueError as error:
        step = f"nothing was deleted; {_AGAIN}"
        raise Undecided("a list of what is attached cannot be read", "the registry", step) from error
