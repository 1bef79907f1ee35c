"""What is asked of a file, and what the steps of the check have found so far."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scripts.attest.envelope import Envelope
from scripts.attest.keys import PublicKey
from scripts.bundle.form import Bundle
from scripts.pipeline import Job
from scripts.project import Project

OWNERS = "owners"  # the folder of the evidence that has a folder for each cell that owners have tried


@dataclass
class Case:
    """A checkout, a file, the key that must have signed it (None: signatures are not looked at), and the time.

    `now` is in seconds since 1970. What follows is found on the way.
    """

    project: Project
    path: Path
    key: PublicKey | None
    now: float
    bundle: Bundle | None = None
    envelope: Envelope | None = None
    job: Job | None = None

    @property
    def said(self) -> Bundle:
        """What the file says, once it has been read."""
        assert self.bundle, "the form comes first"
        return self.bundle

    @property
    def asked(self) -> Job:
        """The cell of today that the file is of, once that was found."""
        assert self.job, "the cell comes first"
        return self.job
