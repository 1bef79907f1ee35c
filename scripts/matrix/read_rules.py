"""Reading the rules of an `image.toml`: one table, one rule."""

from __future__ import annotations

import posixpath

from packaging.utils import canonicalize_name

from scripts.matrix.reader import Table
from scripts.matrix.rules import AuditRule, Link, Omission, OtherCuda, Overlap, Scope
from scripts.model import Coverage
from scripts.text import name_some

LINK_ROOTS = ("/opt/venv/", "/usr/local/")  # where wheels are installed, and where Debian installs nothing
_NAME = "{name}"


def read_audit_rule(table: Table) -> AuditRule:
    """One of [[audit]]."""
    grades = [grade for grade in Coverage if grade is not Coverage.UNREADABLE]
    accept = table.string("accept")
    if accept and accept not in grades:
        table.note(f"`{accept}` is not a grade", "accept", name_some(grades))
    rule = AuditRule(
        accept=Coverage(accept) if accept in grades else Coverage.NATIVE,
        libraries=table.strings("libraries"),
        reason=table.string("reason", None if "reason" in table else ""),  # there and empty is a mistake
        scope=read_scope(table),
    )
    if rule.accept is not Coverage.NATIVE and "reason" not in table:
        table.note("missing key `reason`: what is not native is accepted for one", next_step="write `reason = …` there")
    table.finish()
    return rule


def read_omission(table: Table) -> Omission:
    """One of [[omit]]."""
    omission = Omission(_read_names(table), table.string("reason"), read_scope(table))
    table.finish()
    return omission


def read_overlap(table: Table) -> Overlap:
    """One of [[overlap]]."""
    overlap = Overlap(table.string("path"), table.string("keep"), table.string("reason"), read_scope(table))
    if overlap.path.startswith("/"):
        table.note("expected a path relative to site-packages", "path", "write it as RECORD does")
    _check_name(table, "keep", overlap.keep)
    table.finish()
    return overlap


def read_other_cuda(table: Table) -> OtherCuda:
    """One of [[other-cuda]]."""
    other = OtherCuda(_read_names(table), table.string("reason"), read_scope(table))
    table.finish()
    return other


def read_link(table: Table) -> Link:
    """One of [[link]]."""
    link = Link(table.string("path"), table.string("target"), table.string("reason"), read_scope(table))
    if link.path and link.target:
        _check_link(table, link)
    table.finish()
    return link


def read_scope(table: Table) -> Scope:
    """The cells that a table is about."""
    return Scope(table.string("cuda", ""), table.string("compute", ""), table.string("recipe", ""))


def _read_names(table: Table) -> tuple[str, ...]:
    names = table.strings("distributions")
    for name in names:
        _check_name(table, "distributions", name)
    return names


def _check_name(table: Table, key: str, name: str) -> None:
    if name and name != canonicalize_name(name):
        table.note(f"`{name}` is not how locks spell a name", key, f"write `{canonicalize_name(name)}`")


def _check_link(table: Table, link: Link) -> None:
    folder, _, file = link.path.rpartition("/")
    place = posixpath.normpath(posixpath.join(folder, link.target))
    for key, value in (("path", link.path), ("target", place)):
        if not value.startswith(LINK_ROOTS) or posixpath.normpath(link.path) != link.path:
            table.note(f"`{value}` does not lie under {' or '.join(LINK_ROOTS)}", key, "write an absolute, plain path")
            return
    if place == link.path:
        table.note("leads to itself", "target", "name another file")
    files = (file, posixpath.basename(link.target))
    if files[0].count(_NAME) != files[1].count(_NAME) or files[0].count(_NAME) > 1:
        table.note(f"`{_NAME}` stands once in the file names of both, or in neither", "path", "write it in both")
    elif any(_NAME in posixpath.dirname(value) for value in (link.path, link.target)):
        table.note(f"`{_NAME}` can stand in a file's name alone", "path", "write it there")
    folders = posixpath.dirname(link.target).split("/")
    half = any("*" in folder and folder != "*" for folder in folders) or ("*" in folders and folders[0])
    if "*" in link.path or half or ("*" in link.target and not link.is_pattern):
        cause = f"`*` can stand in the target's file name, or for a folder of an absolute one, beside `{_NAME}`"
        table.note(cause, "target", "write it there")
