"""Resolving Debian packages: apt brings the signed indexes, and apt's own solver says what an empty system needs."""

from __future__ import annotations

import email.utils
import re
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from debian.debian_support import Version

from scripts.errors import ConfigError, Undecided
from scripts.model import LockedFile
from scripts.site import read_apt_mirrors

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_INSTALLED = re.compile(r"^Inst (\S+) \((\S+) ", re.MULTILINE)
Stanza = Mapping[str, str]


@dataclass(frozen=True)
class Archive:
    """The packages of some suites by name and version, the newest index's time (seconds, UTC), and apt's folder."""

    packages: Mapping[tuple[str, str], Stanza]
    epoch: int
    folder: Path

    def find_newest(self) -> dict[str, Stanza]:
        """The newest stanza of each package."""
        newest: dict[str, Stanza] = {}
        for (name, version), stanza in self.packages.items():
            if name not in newest or Version(newest[name]["Version"]) < Version(version):
                newest[name] = stanza
        return newest

    def solve(self, requested: Iterable[str]) -> list[Stanza]:
        """The requested packages, the essential and required ones, and all they depend on, by name.

        It is what apt would install into a system without any package, so dpkg can configure it. Raises ConfigError
        where apt finds no such set.
        """
        names = {name for name, stanza in self.find_newest().items() if _is_essential(stanza)} | set(requested)
        command = ["apt-get", "install", "--simulate", "-q", *_options(self.folder), *sorted(names)]
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        if run.returncode != 0:
            # On stdout it says which packages cannot be had together, below lines on what it is doing.
            lines = [line for line in (run.stdout + run.stderr).splitlines() if not line.endswith("...")]
            mend = "correct the packages in image.toml, or add a suite"
            raise ConfigError("apt finds no such set", "apt-get install", mend, filter(str.strip, lines))
        chosen = sorted(_INSTALLED.findall(run.stdout))
        lost = [name for name, version in chosen if (name, version) not in self.packages]
        if lost or not chosen:
            cause = f"apt would install what its lists do not have: {', '.join(lost) or 'nothing at all'}"
            raise Undecided(cause, "apt-get install", "report this")
        return [self.packages[item] for item in chosen]


@contextmanager
def open_archive(suites: Sequence[str]) -> Iterator[Archive]:
    """The packages of these suites (amd64, main). apt fetches and verifies; raises Undecided where it cannot."""
    mirrors = read_apt_mirrors()
    with tempfile.TemporaryDirectory(prefix="hallmark-apt-") as name:
        folder = Path(name)
        _apt_update(folder, [f"deb [signed-by={_KEYRING}] {_mirror(mirrors, s)} {s} main" for s in suites])
        lists = folder / "lists"
        stanzas = [s for path in sorted(lists.glob("*_Packages")) for s in _parse(path.read_text("utf-8"))]
        times = [_release_time(path.read_text("utf-8")) for path in lists.glob("*_InRelease")]
        packages: dict[tuple[str, str], Stanza] = {}
        for stanza in stanzas:  # a version that several suites have is taken from the first
            packages.setdefault((stanza["Package"], stanza["Version"]), stanza)
        yield Archive(packages, max(times), folder)


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
    for name in ("lists/partial", "cache/archives/partial", "preferences.d"):
        (folder / name).mkdir(parents=True)
    (folder / "sources.list").write_text("\n".join(sources) + "\n")
    (folder / "status").touch()
    run = subprocess.run(
        ["apt-get", "update", "-q", *_options(folder)], capture_output=True, text=True, check=False, timeout=600
    )
    if run.returncode != 0:
        raise Undecided(run.stderr.strip() or run.stdout.strip(), "apt-get update", "check apt's sources and keyring")


def _options(folder: Path) -> list[str]:
    """apt in a folder of its own: a system without packages, these sources alone, and none of the host's preferences.

    How the network is reached stays as the host has it configured.
    """
    settings = {
        "Dir::Etc::sourcelist": f"{folder}/sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": f"{folder}/preferences.d",
        "Dir::State": str(folder),
        "Dir::State::lists": f"{folder}/lists",
        "Dir::State::status": f"{folder}/status",
        "Dir::Cache": f"{folder}/cache",
        "APT::Architecture": "amd64",
        "APT::Architectures": "amd64",
        "APT::Default-Release": "",
        "APT::Install-Recommends": "false",
        "APT::Install-Suggests": "false",
        "APT::Sandbox::User": "root",
        "Acquire::GzipIndexes": "false",
        "Acquire::Languages": "none",
        "APT::Update::Error-Mode": "any",
    }
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def _parse(text: str) -> Iterable[Stanza]:
    # A plain split: python-debian's parser takes a minute over an archive of 60,000 packages.
    for block in text.split("\n\n"):
        if block.strip():
            yield dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and line[0] != " ")


def _release_time(text: str) -> int:
    found = re.search(r"^Date: (.+)$", text, re.M)
    return int(email.utils.parsedate_to_datetime(found[1]).timestamp()) if found else 0


def _is_essential(stanza: Stanza) -> bool:
    return stanza.get("Essential") == "yes" or stanza.get("Priority") == "required"
