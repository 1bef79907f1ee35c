"""What a real registry may lose: it lists its tags, says what time it is, and deletes where it is told that it may."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from scripts.attest.envelope import ENVELOPE_TYPE, PAYLOAD_TYPE
from scripts.engine import Engine
from scripts.errors import Undecided
from scripts.feed import Entry
from scripts.garbage import check_clock, delete, find_garbage
from scripts.model import Verdict
from scripts.oci.layout import Layout
from scripts.project import Project
from scripts.publish.promote import promote, push_candidate
from scripts.reference import Repository
from scripts.registry.client import Registry
from tests.docker_registry import serve_registry
from tests.unit.registry.attached import attach_one
from tests.unit.registry.fake_registry import make_layout


def line(layout: Layout) -> Entry:
    """A candidate that was rejected long ago."""
    return Entry("cell", "b" * 64, layout.digest, Verdict.REJECTED, (), "", "", "2024-01-01T00:00:00Z", 0, 1, "0.1.0")


@pytest.mark.parametrize("deletes", [True, False])
def test_what_was_never_accepted_is_deleted_and_what_has_a_tag_stays(
    checkout: Project, engine: Engine, tmp_path: Path, deletes: bool
) -> None:
    rejected, tagged = (make_layout(tmp_path / name, name) for name in ("rejected", "tagged"))
    entries = [line(rejected), line(tagged)]
    with serve_registry(checkout, tmp_path, deletes=deletes) as place:
        registry, repository = Registry(), Repository.parse(f"{place}/hallmark/image")
        for layout in (rejected, tagged):
            push_candidate(registry, repository, layout)
        attach_one(registry, repository, rejected.manifest, PAYLOAD_TYPE, b"{}", ENVELOPE_TYPE, tmp_path)
        promote(registry, repository, tagged.digest, "1.0-cpu", tmp_path)
        check_clock(registry, repository, entries, time.time())
        with pytest.raises(Undecided, match="days apart"):
            check_clock(registry, repository, entries, time.time() + 1e6)
        found = find_garbage(registry, repository, entries, lambda cell: True, (), time.time())
        [leftover] = found.leftovers
        assert leftover.digest == rejected.digest and len(leftover.attached) == 1 and leftover.index
        tags = {"1.0-cpu", rejected.digest.replace(":", "-")}
        assert set(registry.list_tags(repository)) == tags
        if not deletes:
            with pytest.raises(Undecided, match="the registry deletes nothing"):
                delete(registry, repository, leftover)
            assert set(registry.list_tags(repository)) == tags and registry.get_manifest(repository, rejected.digest)
            return
        delete(registry, repository, leftover)
        assert registry.list_tags(repository) == ["1.0-cpu"]
        assert registry.get_manifest(repository, rejected.digest) is None
        assert registry.get_manifest(repository, "1.0-cpu")
        assert find_garbage(registry, repository, entries, lambda cell: True, (), time.time()).leftovers == []
