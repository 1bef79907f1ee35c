"""Resolving Debian packages: apt brings the signed indexes, and a closure over them gives the files."""

from __future__ import annotations

import email.utils
import re
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from debian.deb822 import PkgRelation
from debian.debian_support import Version

from scripts.errors import ConfigError, Undecided
from scripts.model import LockedFile
from scripts.site import read_apt_mirrors

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
Stanza = Mapping[str, str]


@dataclass(frozen=True)
class Archive:
    """The newest stanza of each package, who provides each virtual name, and the newest index's time (seconds, UTC)."""

    packages: Mapping[str, Stanza]
    providers: Mapping[str, Sequence[str]]
    epoch: int


def read_archive(suites: Sequence[str]) -> Archive:
    """The packages of these suites (amd64, main). apt fetches and verifies; raises Undecided where it cannot."""
    mirrors = read_apt_mirrors()
    with tempfile.TemporaryDirectory(prefix="hallmark-apt-") as name:
        folder = Path(name)
        _apt_update(folder, [f"deb [signed-by={_KEYRING}] {_mirror(mirrors, s)} {s} main" for s in suites])
        lists = folder / "lists"
        stanzas = [s for path in sorted(lists.glob("*_Packages")) for s in _parse(path.read_text("utf-8"))]
        times = [_release_time(path.read_text("utf-8")) for path in lists.glob("*_InRelease")]
    newest: dict[str, Stanza] = {}
    for stanza in stanzas:
        known = newest.get(stanza["Package"])
        if known is None or Version(known["Version"]) < Version(stanza["Version"]):
            newest[stanza["Package"]] = stanza
    providers: dict[str, list[str]] = {}
    for stanza_name in sorted(newest):
        for provided in _relations(newest[stanza_name], "Provides"):
            providers.setdefault(provided[0], []).append(stanza_name)
    return Archive(newest, providers, max(times))


def close_over(archive: Archive, requested: Iterable[str], with_essential: bool) -> list[Stanza]:
    """The requested packages and all they depend on, by name. With `with_essential`: a system that dpkg can configure.

    Raises ConfigError for a package that the suites do not have.
    """
    seeds = sorted(requested)
    if with_essential:
        seeds += sorted(name for name, stanza in archive.packages.items() if _is_essential(stanza))
    chosen: dict[str, Stanza] = {}
    queue = [(name, "image.toml") for name in seeds]
    wanted = set(seeds)
    while queue:
        name, asked_by = queue.pop()
        if name in chosen:
            continue
        if name not in archive.packages:
            raise ConfigError(f"no package `{name}` in these suites", asked_by, "correct the name or add a suite")
        chosen[name] = archive.packages[name]
        wanted.add(name)
        for relation in ("Pre-Depends", "Depends"):
            for alternatives in _relations(chosen[name], relation):
                queue.append((_choose(archive, alternatives, wanted), name))
    return [chosen[name] for name in sorted(chosen)]


def lock_stanza(stanza: Stanza) -> LockedFile:
    """A package as a lock names it; Debian's snapshot service is its upstream address, kept when mirrors drop it."""
    path = stanza["Filename"]
    archive = "debian-security" if path.startswith("pool/updates/") else "debian"
    today = time.strftime("%Y%m%dT000000Z", time.gmtime(time.time() + 86400))
    return LockedFile(
        kind="deb",
        name=stanza["Package"],
        version=stanza["Version"],
        file=PurePosixPath(path).name,
        sha256=stanza["SHA256"],
        size=int(stanza["Size"]),
        url=f"https://snapshot.debian.org/archive/{archive}/{today}/{path}",
        path=path,
    )


def _mirror(mirrors: Mapping[str, str], suite: str) -> str:
    """The archive root for a suite: apt's own source for it, else the one that serves suites of the same kind."""
    security = suite.endswith("-security")
    for known, root in mirrors.items():
        if known == suite or (suite not in mirrors and known.endswith("-security") == security):
            return root
    raise Undecided(f"apt has no source that could serve `{suite}`", "apt", "lock on Debian, with its usual sources")


def _apt_update(folder: Path, sources: Sequence[str]) -> None:
    (folder / "lists" / "partial").mkdir(parents=True)
    (folder / "sources.list").write_text("\n".join(sources) + "\n")
    settings = {
        "Dir::Etc::sourcelist": f"{folder}/sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": f"{folder}/lists",
        "Dir::Cache": f"{folder}/cache",
        "APT::Architecture": "amd64",
        "APT::Architectures": "amd64",
        "APT::Sandbox::User": "root",
        "Acquire::GzipIndexes": "false",
        "Acquire::Languages": "none",
        "APT::Update::Error-Mode": "any",
    }
    command = ["apt-get", "update", "-q"]
    for key, value in settings.items():
        command += ["-o", f"{key}={value}"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if run.returncode != 0:
        raise Undecided(run.stderr.strip() or run.stdout.strip(), "apt-get update", "check apt's sources and keyring")


def _parse(text: str) -> Iterable[Stanza]:
    # A plain split: python-debian's parser takes a minute over an archive of 60,000 packages.
    for block in text.split("\n\n"):
        if block.strip():
            yield dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and line[0] != " ")


def _relations(stanza: Stanza, field: str) -> list[list[str]]:
    """The names in a relationship field: one list of alternatives for each relationship."""
    text = stanza.get(field, "")
    return [[str(item["name"]) for item in either] for either in PkgRelation.parse_relations(text)] if text else []


def _release_time(text: str) -> int:
    found = re.search(r"^Date: (.+)$", text, re.M)
    return int(email.utils.parsedate_to_datetime(found[1]).timestamp()) if found else 0


def _is_essential(stanza: Stanza) -> bool:
    return stanza.get("Essential") == "yes" or stanza.get("Priority") == "required"


def _choose(archive: Archive, names: Sequence[str], wanted: set[str]) -> str:
    """The alternative that is wanted anyway, else the first that exists, by itself or through a provider."""
    for name in names:
        if name in wanted:
            return name
        if provider := next((p for p in archive.providers.get(name, ()) if p in wanted), None):
            return provider
    for name in names:
        if name in archive.packages:
            return name
        if archive.providers.get(name):
            return archive.providers[name][0]
    return names[0]
