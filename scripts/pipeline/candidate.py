"""The record of a candidate: which digest a build id came to, and how large and how long in the making it was."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from scripts.files import parse_json, write_atomic, write_json
from scripts.oci.descriptor import is_digest
from scripts.oci.layout import Layout
from scripts.workspace import Workspace

MANIFEST_FILE, CONFIG_FILE = "manifest.json", "config.json"


@dataclass(frozen=True)
class Candidate:
    """A built image: the step's name, its digest, compressed size in bytes, and the seconds its build took.

    One that was built elsewhere took 0 seconds here.
    """

    name: str
    build_id: str
    digest: str
    size: int
    seconds: float


def read_candidate(workspace: Workspace, build_id: str) -> Candidate | None:
    """What is known under this build id, or None; a damaged record is none."""
    try:
        candidate = Candidate(**parse_json((workspace.run(build_id) / "build.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return candidate if is_digest(candidate.digest) and candidate.build_id == build_id else None


def write_candidate(workspace: Workspace, candidate: Candidate) -> None:
    """Record a candidate under its build id."""
    write_json(workspace.run(candidate.build_id) / "build.json", asdict(candidate))


def keep_image(workspace: Workspace, build_id: str, layout: Layout) -> None:
    """Keep a candidate's manifest and configuration beside its record, which name its layers when these are gone."""
    for name, digest in ((MANIFEST_FILE, layout.digest), (CONFIG_FILE, layout.config.digest)):
        write_atomic(workspace.run(build_id) / name, layout.blob_path(digest).read_bytes())
