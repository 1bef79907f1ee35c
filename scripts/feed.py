"""The feed: every verdict of this checkout, red ones too, a line each, in the order in which they fell.

That a cell was taken out of service, or put back, has a line as well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from scripts.errors import Undecided
from scripts.files import naming_disk_full, parse_json
from scripts.locks import hold
from scripts.model import Verdict
from scripts.oci.descriptor import is_digest

VERSION = 1
RETIRED, RETURNED = "retired", "in service again"
_REASONS, _LONGEST = 8, 300  # how many of a verdict's reasons are kept, and how many characters of each


@dataclass(frozen=True)
class Entry:
    """One verdict: on which digest of which cell, why, where it was seen and when (UTC), and by which version of this.

    `passed` of `total` are the checks that the verdict needs. `gpu` and `driver` are empty where none was there. `by`
    is the owner of a GPU who saw it, and is empty where this project did: what others saw moves no stamp. `service` is
    RETIRED or RETURNED where nothing was judged: the line says why, and repeats the digest's last verdict.
    """

    cell: str
    build: str
    digest: str
    verdict: Verdict
    reasons: tuple[str, ...]
    gpu: str
    driver: str
    finished: str
    passed: int
    total: int
    tool: str
    by: str = ""
    service: str = ""

    @property
    def subject(self) -> tuple[str, str, str]:
        """What was judged. Wheels that were rejected have no digest, and are known by the build alone."""
        return self.cell, self.build, self.digest

    @property
    def said(self) -> str:
        """What the line says of the cell, in a word or a few."""
        return self.service or str(self.verdict)

    def repeats(self, earlier: Entry) -> bool:
        """Whether this says of the same thing what was said before, and of the same GPU and driver."""
        said = ("verdict", "reasons", "gpu", "driver", "by", "service")
        return self.subject == earlier.subject and all(getattr(self, key) == getattr(earlier, key) for key in said)


def cut_reasons(reasons: Sequence[str]) -> tuple[str, ...]:
    """The reasons as the feed keeps them: the first few, each in one line that is not too long."""
    lines = [" ".join(reason.split()) for reason in reasons[:_REASONS]]
    kept = [line if len(line) <= _LONGEST else f"{line[:_LONGEST]} …" for line in lines]
    rest = len(reasons) - len(kept)
    return (*kept, f"… and {rest} more") if rest > 0 else tuple(kept)


def append_entry(path: Path, entry: Entry, lock: Path) -> bool:
    """Add a line, unless the last one of the same cell and digest says the same; whether it was added.

    A line that a crash left half-written stays as it is, and the new one begins after it. Raises Undecided where the
    file cannot be locked or written.
    """
    with hold(lock, "another run's verdict"):
        entries, _ = read_feed(path)
        last = next((each for each in reversed(entries) if each.subject == entry.subject), None)
        if last and entry.repeats(last):
            return False
        content = {key: value for key, value in asdict(entry).items() if key not in ("by", "service") or value}
        line = json.dumps({"version": VERSION} | content, ensure_ascii=False, allow_nan=False)
        try:
            _append(path, line.encode())
        except OSError as error:
            step = "make it writable for whoever runs this, then run the same command again"
            raise Undecided(f"the feed cannot be written: {error.strerror}", str(path), step) from error
        return True


def read_feed(path: Path) -> tuple[list[Entry], int]:
    """The feed's lines in their order, and how many there are that cannot be read. No file is an empty feed."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        step = "make it readable for whoever runs this"
        raise Undecided(f"the feed cannot be read: {error.strerror}", str(path), step) from error
    found = [_read_entry(line) for line in lines if line.strip()]
    return [entry for entry in found if entry], found.count(None)


def trace_stamps(entries: Sequence[Entry]) -> list[tuple[Entry, str]]:
    """Each verdict with what it did to its cell's stamp: `given`, `kept`, `taken back`, or `none`.

    The stamp is on the digest that was accepted last, until that no longer is; `publish` puts tags where it is. What an
    owner saw does nothing to it, and a cell that was retired has none, whatever is accepted.
    """
    stamped: dict[str, str] = {}
    retired: set[str] = set()
    found = []
    for entry in entries:
        before = stamped.get(entry.cell, "")
        if entry.service:
            (retired.add if entry.service == RETIRED else retired.discard)(entry.cell)
            done = "taken back" if stamped.pop(entry.cell, "") else "none"
        elif entry.by or entry.cell in retired:
            done = "none"
        elif entry.verdict is Verdict.ACCEPTED:
            stamped[entry.cell] = entry.digest
            done = "kept" if before == entry.digest else "given"
        elif before and before == entry.digest:
            del stamped[entry.cell]
            done = "taken back"
        else:
            done = "kept" if before else "none"
        found.append((entry, done))
    return found


def find_retired(entries: Sequence[Entry]) -> dict[str, Entry]:
    """The cells that are out of service, each with the line that says why."""
    last = {entry.cell: entry for entry in entries if entry.service}
    return {cell: entry for cell, entry in last.items() if entry.service == RETIRED}


def _append(path: Path, line: bytes) -> None:
    """One write at the end of the file, and on the disk before this returns."""
    with naming_disk_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b", buffering=0) as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - 1))
            torn = size > 0 and stream.read(1) != b"\n"
            stream.write((b"\n" if torn else b"") + line + b"\n")
            os.fsync(stream.fileno())


def _read_entry(line: bytes) -> Entry | None:
    """A line's entry; None for a torn one, and for one of another version or with values of other types."""
    try:
        data: dict[str, Any] = parse_json(line)
        if data.pop("version") != VERSION:
            return None
        entry = Entry(**data | {"verdict": Verdict(data["verdict"]), "reasons": tuple(data["reasons"])})
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    numbers = ("passed", "total")
    texts = [getattr(entry, each.name) for each in fields(entry) if each.name not in (*numbers, "reasons")]
    right = all(isinstance(text, str) for text in (*texts, *entry.reasons))
    right = right and entry.service in ("", RETIRED, RETURNED)
    right = right and (not entry.digest or is_digest(entry.digest))
    return entry if right and all(type(getattr(entry, key)) is int for key in numbers) else None
