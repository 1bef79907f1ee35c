"""Moving one tag: written, read back, and put back where it went wrong, unless another machine wrote there meanwhile.

A registry has no compare-and-swap. Whoever moves a tag holds a lock on this machine; another machine's write is seen
when the tag is read back, and it stays: what was there before may be rejected by now, and is not put over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from scripts.errors import Problem, Undecided
from scripts.files import content_id
from scripts.locks import hold
from scripts.matrix.tags import versioned_part
from scripts.oci.descriptor import parse_object
from scripts.reference import Repository
from scripts.registry.client import Manifest, Registry
from scripts.registry.failures import DigestMismatch, RegistryRefused
from scripts.registry.withdrawn import make_withdrawal, read_withdrawal

_AGAIN = "run the same command again"
PATIENCE_S = 600.0  # a promotion takes a few seconds, but its registry may be asked again and again
INSIST = 5  # times that a tag is written over what other machines write there

T = TypeVar("T")


class Overtaken(Undecided):
    """Another machine moved the tag at the same time; what it wrote stays there."""


@contextmanager
def hold_tag(folder: Path, reference: str) -> Iterator[None]:
    """Hold the lock of `repository:tag`. Raises Undecided where another process keeps it, or the folder is not ours."""
    path = folder / f"{content_id(reference)}.lock"
    mend = "make the folder writable for whoever promotes"
    with hold(path, f"another promotion of {reference}", patience_s=PATIENCE_S, mend=mend):
        yield


def read_tag(registry: Registry, repository: Repository, tag: str) -> Manifest | None:
    """What a tag holds, or None. Raises Undecided where it cannot be put back later: its bytes have no such digest."""
    manifest = registry.get_manifest(repository, tag)
    if manifest and not registry.get_manifest(repository, manifest.digest):
        cause = f"the tag's bytes hash to {manifest.digest}, and the registry has no manifest of that digest"
        raise DigestMismatch(cause, _place(repository, tag), "run the same command again; if it stays, delete the tag")
    return manifest


def move_tag(
    registry: Registry,
    repository: Repository,
    tag: str,
    new: Manifest,
    old: Manifest | None,
    theirs: Callable[[Manifest], object] | None = None,
) -> None:
    """Write a tag and read it back, or put the old bytes back and raise. The caller holds the tag's lock.

    `theirs` says of other bytes whether another machine may have written them (default: such as `was_promoted` tells
    of): they stay, and Overtaken is raised.
    """
    theirs = theirs or partial(was_promoted, registry, repository)
    sent = False
    try:
        registry.put_manifest(repository, tag, new)
        sent = True
        _read_back(registry, repository, tag, new)
        return
    except Undecided as raised:
        if isinstance(raised, RegistryRefused) and not sent:
            raise  # it said no to writing (no right to, or tags never move there): the tag is as it was
        failure = raised
    try:
        held = registry.get_manifest(repository, tag)
        if held and held.data == new.data:
            return  # what failed was an answer
        as_it_was = held.data == old.data if held and old else held is old
        other = held and (sent if as_it_was else theirs(held))
    except Undecided as unknown:
        ended = _distrust(repository, tag, old, f"what it holds cannot be read ({unknown.problems[0].cause})")
    else:
        if other:
            raise tell_overtaken(repository, tag, held, moved=not as_it_was) from failure
        ended = _say_old(repository, tag, old) if as_it_was else _put_back(registry, repository, tag, old, new)
    raise type(failure)([*failure.problems, ended]) from failure


def was_promoted(registry: Registry, repository: Repository, held: Manifest) -> bool:
    """Whether a tag's bytes are such as another machine leaves: a withdrawal, or an image that was accepted.

    An image has the tag of its build, which never moves, before any other.
    """
    if read_withdrawal(held):
        return True
    try:
        parse_object(held.data)
    except ValueError:
        return False
    fixed = filter(versioned_part, registry.list_tags(repository))
    return any(found.data == held.data for tag in fixed if (found := registry.get_manifest(repository, tag)))


def insist(step: Callable[[], T]) -> T:
    """Take a step, which looks before it writes, again where another machine was in its way. Raises Overtaken."""
    for _ in range(INSIST - 1):
        try:
            return step()
        except Overtaken:
            continue
    return step()


def put_exact(registry: Registry, repository: Repository, reference: str, manifest: Manifest) -> str:
    """Write a manifest under a digest or a tag and read it back; the subject that the registry took note of, or `""`.

    Raises DigestMismatch where other bytes, or none, come back.
    """
    subject = registry.put_manifest(repository, reference, manifest)
    _read_back(registry, repository, reference, manifest)
    return subject


def _put_back(registry: Registry, repository: Repository, tag: str, old: Manifest | None, new: Manifest) -> Problem:
    """Give a tag its old bytes, or remove it where it had none; what came of it, in words.

    Where a registry cannot delete a tag, it is withdrawn: it then names no image, and says so.
    """
    place = _place(repository, tag)
    try:
        if old:
            put_exact(registry, repository, tag, old)
            return Problem(f"the tag was put back to {old.digest}", place, _AGAIN)
        registry.delete_tag(repository, tag)
        if registry.get_manifest(repository, tag) is None:
            return _say_old(repository, tag, None)
        withdrawn = make_withdrawal(new.digest, "what was written was not what was read back")
        put_exact(registry, repository, tag, withdrawn)
        cause = "the tag did not exist before; the registry cannot delete one, so it is withdrawn"
        return Problem(cause, place, _AGAIN)
    except Undecided as failure:
        return _distrust(repository, tag, old, f"it could not be put back ({failure.problems[0].cause})")


def _say_old(repository: Repository, tag: str, old: Manifest | None) -> Problem:
    cause = f"the tag is as it was, on {old.digest}" if old else "the tag did not exist before and does not now"
    return Problem(cause, _place(repository, tag), _AGAIN)


def _distrust(repository: Repository, tag: str, old: Manifest | None, why: str) -> Problem:
    before = f"it held {old.digest}" if old else "it did not exist"
    cause = f"THE TAG IS NOT TO BE TRUSTED: {why}; before, {before}"
    return Problem(cause, _place(repository, tag), "put it back by hand before anyone pulls it")


def tell_overtaken(repository: Repository, tag: str, held: Manifest | None, *, moved: bool = True) -> Overtaken:
    """The error that says what another machine has left under a tag; not `moved`: what the tag held before."""
    withdrawn = read_withdrawal(held) if held else None
    now = f"is withdrawn ({withdrawn.reason})" if withdrawn else f"names {held.digest}" if held else "is gone"
    cause = f"another machine moved the tag at the same time: it {now}"
    step = "see which of the two is to be there; the same command again lets it be yours"
    if not moved:
        cause = f"the registry said that it moved the tag, and it is as it was: it {now}"
        step = "run the same command again; if it stays so, ask who runs the registry whether tags move there"
    return Overtaken(cause, _place(repository, tag), step)


def _read_back(registry: Registry, repository: Repository, reference: str, manifest: Manifest) -> None:
    found = registry.get_manifest(repository, reference)
    if found is None or found.data != manifest.data:
        seen = found.digest if found else "nothing"
        raise DigestMismatch(f"{manifest.digest} was written and {seen} was read back", _place(repository, reference))


def _place(repository: Repository, reference: str) -> str:
    return f"{repository}{'@' if ':' in reference else ':'}{reference}"
