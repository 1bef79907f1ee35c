"""A cell's moving tags out of service, and back: the registry remembers it, so whoever would promote there is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scripts.publish.move import hold_tag, insist, move_tag, read_tag
from scripts.reference import Repository, check_tag
from scripts.registry.client import Registry
from scripts.registry.withdrawn import make_withdrawal, read_withdrawal

_RETURNED = "in service again, and nothing was published since"


def retire_tags(
    registry: Registry, repository: Repository, tags: Sequence[str], reason: str, lock_folder: Path
) -> dict[str, str]:
    """Retire a cell's moving tags; the digest that each named, as `retire_tag` gives it.

    All are looked at once more, as whoever promotes does: of two that meet, one sees what the other has written.
    """
    found = {tag: retire_tag(registry, repository, tag, reason, lock_folder) for tag in tags}
    for tag in tags:
        retire_tag(registry, repository, tag, reason, lock_folder)
    return found


def retire_tag(registry: Registry, repository: Repository, tag: str, reason: str, lock_folder: Path) -> str:
    """Let a tag say that its cell was retired, and why; the digest that it named, `""` where there is no such tag.

    One that was withdrawn already is retired all the same, so that nothing is put under it later. Raises Undecided.
    """
    said = f"retired: {reason}"

    def step() -> str:
        held = read_tag(registry, repository, tag)
        if held is None:
            return ""
        earlier = read_withdrawal(held)
        digest = earlier.digest if earlier else held.digest
        if not (earlier and earlier.retired and earlier.reason == said):
            withdrawal = make_withdrawal(digest, said, retired=True)
            move_tag(registry, repository, tag, withdrawal, held)
        return digest

    with hold_tag(lock_folder, f"{repository}:{check_tag(tag)}"):
        return insist(step)


def return_tag(registry: Registry, repository: Repository, tag: str, lock_folder: Path) -> str:
    """Let what is accepted be put under a tag again that was retired; the digest that it named, `""` for any other.

    The tag stays withdrawn until something is published: what it named may have been rejected meanwhile.
    """
    with hold_tag(lock_folder, f"{repository}:{check_tag(tag)}"):
        held = read_tag(registry, repository, tag)
        earlier = read_withdrawal(held) if held else None
        if not (held and earlier and earlier.retired):
            return ""
        withdrawal = make_withdrawal(earlier.digest, _RETURNED)
        move_tag(registry, repository, tag, withdrawal, held)
        return earlier.digest
