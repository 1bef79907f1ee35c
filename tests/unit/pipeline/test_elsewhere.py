"""What another machine has tested: tagged if its evidence holds, and of what does not hold no tag is set."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.attest.envelope import open_envelope
from scripts.attest.statement import TEST_RESULT, Statement, read_statement
from scripts.errors import ExitCode
from scripts.feed import read_feed
from scripts.model import Verdict
from scripts.oci.descriptor import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, describe
from scripts.pipeline import CellReport, Stage
from scripts.pipeline.elsewhere import LARGEST, promote_tested
from tests.unit.builders import edit
from tests.unit.pipeline.lab import Lab, crashing, unanswered

CPU, GPU, PRO = "serve-cpu", "serve-cu128-5090-wheel", "serve-cu128-pro6000-wheel"
CELLS = [CPU, GPU]


class Away:
    """What a build pushed and other machines have shown of it; here nothing was built, and nothing can be run."""

    def __init__(self, lab: Lab, folder: Path, *cells: str) -> None:
        self.lab, self.folder = lab, folder
        lab.use_registry()
        rows = lab.run(*(cells or (GPU,)), last=Stage.SMOKE)
        self.digests = {cell: row.digest for cell, row in rows.items()}
        self.keep()

    def keep(self) -> None:
        """Have what lies in the checkout now lie elsewhere alone."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.lab.workspace.runs, self.folder)
        shutil.rmtree(self.lab.workspace.folder)
        self.lab.docker.tags.clear()
        self.lab.docker.created.clear()
        self.lab.builder.ran.clear()

    def promote(self, cell: str = GPU, digest: str = "") -> CellReport:
        [job] = self.lab.jobs(cell, digest=digest or self.digests[cell])
        before = len(self.lab.registry.requests)
        row = promote_tested(self.lab.project, job, self.folder, self.lab.registry.client())
        assert (self.lab.builder.ran, self.lab.docker.created, self.lab.docker.tags) == ([], [], {}), "nothing is run"
        layers = {layer["digest"] for layer in self.manifest(cell)["layers"]}
        asked = [(r.method, str(r.url)) for r in self.lab.registry.requests[before:]]
        moved = [url for how, url in asked if how != "HEAD" and any(digest in url for digest in layers)]
        assert not moved or not self.lab.registry.says_sizes, "a layer is only looked for"
        return row

    def manifest(self, cell: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.lab.registry.manifests[self.digests[cell]][0])
        return content

    @property
    def tags(self) -> set[str]:
        return {name for name in self.lab.registry.manifests if not name.startswith("sha256:")}

    def path(self, cell: str = GPU) -> Path:
        """The evidence of a cell's only scenario."""
        return self.folder / self.lab.step(cell).build_id / cell / "smoke/default.json"

    def said(self) -> list[Statement]:
        """The statements that are attached to anything."""
        envelopes = [open_envelope(blob) for blob in self.lab.registry.blobs.values() if b'"payloadType"' in blob]
        return [read_statement(each.payload) for each in envelopes]

    def audit(self) -> Path:
        return self.folder / self.lab.step(GPU).build_id / "audit.json"

    def change(self, **fields: Any) -> None:
        self.path().write_text(json.dumps(json.loads(self.path().read_text()) | fields))

    def results(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.path().read_text())["results"]
        return found


@pytest.fixture
def away(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Away:
    return Away(lab, tmp_path_factory.mktemp("away") / "runs", CPU, GPU)


@pytest.mark.parametrize("cell", CELLS)
def test_what_passed_elsewhere_is_tagged_in_the_registry_and_said_in_the_feed(cell: str, away: Away) -> None:
    row = away.promote(cell)
    assert (row.verdict, row.exit_code, row.problems) == (Verdict.ACCEPTED, ExitCode.ACCEPTED, ())
    assert len(away.tags) == 3 and row.tag.partition(":")[2] in away.tags
    assert {away.lab.registry.tag(tag) for tag in away.tags} == {away.lab.registry.tag(away.digests[cell])}
    [entry], _ = read_feed(away.lab.workspace.feed)
    assert (entry.cell, entry.digest, entry.verdict) == (cell, away.digests[cell], Verdict.ACCEPTED)
    [said] = [each for each in away.said() if each.predicate_type == TEST_RESULT]
    assert (said.predicate["cell"], said.predicate["result"]) == (cell, "PASSED")


def test_a_registry_need_not_say_how_large_its_layers_are(away: Away) -> None:
    away.lab.registry.says_sizes = False
    assert away.promote().exit_code is ExitCode.ACCEPTED
    layer = away.manifest(GPU)["layers"][-1]["digest"]
    away.lab.registry.blobs[layer] = away.lab.registry.blobs[layer][1:]
    row = away.promote()
    assert row.exit_code is ExitCode.INCONCLUSIVE and f"lacks its layer {layer}" in row.problems[0].cause


def test_each_cell_of_a_candidate_is_promoted_by_its_own_evidence(lab: Lab, tmp_path: Path) -> None:
    away = Away(lab, tmp_path / "away", GPU, PRO)
    shutil.rmtree(away.path(PRO).parent)
    assert away.promote(GPU).exit_code is ExitCode.ACCEPTED
    row = away.promote(PRO)
    assert row.exit_code is ExitCode.INCONCLUSIVE and "not smoke-tested yet" in row.problems[0].cause
    assert not any("pro6000" in tag for tag in away.tags)


def test_what_was_rejected_elsewhere_is_recorded_and_not_tagged(lab: Lab, tmp_path: Path) -> None:
    lab.docker.smokes[GPU] = crashing
    row = Away(lab, tmp_path / "away").promote()
    assert (row.verdict, row.exit_code, row.tag) == (Verdict.REJECTED, ExitCode.REJECTED, "")
    [entry], _ = read_feed(lab.workspace.feed)
    assert entry.verdict is Verdict.REJECTED and "139" in entry.reasons[0]


def test_what_could_not_be_decided_elsewhere_is_not_decided_here(lab: Lab, tmp_path: Path) -> None:
    lab.docker.smokes[GPU] = unanswered
    away = Away(lab, tmp_path / "away")
    assert away.promote().exit_code is ExitCode.INCONCLUSIVE and away.tags == set()


def test_what_was_accepted_and_is_rejected_later_loses_its_moving_tag(away: Away) -> None:
    first = away.promote()
    digest, fixed = away.digests[GPU], f"{first.tag.partition(':')[2]}-{away.lab.step(GPU).build_id[:12]}"
    with_a_failure(away)
    again = away.promote()
    assert (again.exit_code, again.tag) == (ExitCode.REJECTED, "")
    candidate = away.lab.registry.tag(digest)
    assert away.lab.registry.tag(first.tag.partition(":")[2]) != candidate, "it says that it was withdrawn"
    assert away.lab.registry.tag(fixed) == candidate
    results = [each.predicate["result"] for each in away.said() if each.predicate_type == TEST_RESULT]
    assert sorted(results) == ["FAILED", "PASSED"]


def test_a_failure_that_was_seen_on_another_gpu_takes_no_tag_away(away: Away) -> None:
    tag = away.promote().tag.partition(":")[2]
    with_a_failure(away)
    of_another_gpu(away)
    assert away.promote().exit_code is ExitCode.INCONCLUSIVE
    assert away.lab.registry.tag(tag) == away.lab.registry.tag(away.digests[GPU])


def drop(away: Away) -> None:
    away.path().unlink()


def tear(away: Away) -> None:
    away.path().write_text(away.path().read_text()[:-9])


def swell(away: Away) -> None:
    away.path().write_text(away.path().read_text() + " " * LARGEST)


def link(away: Away) -> None:
    away.path().rename(away.folder / "there")
    away.path().symlink_to(away.folder / "there")


def of_another_digest(away: Away) -> None:
    away.change(digest="sha256:" + "9" * 64)


def of_another_cell(away: Away) -> None:
    shutil.copyfile(away.path(CPU), away.path())


def of_another_gpu(away: Away) -> None:
    away.change(host=json.loads(away.path().read_text())["host"] | {"gpu": "NVIDIA H200"})


def of_no_driver(away: Away) -> None:
    away.change(host=json.loads(away.path().read_text())["host"] | {"driver": ""})


def of_an_odd_host(away: Away) -> None:
    away.change(host=["NVIDIA GeForce RTX 5090"])


def without_a_time(away: Away) -> None:
    away.change(finished="soon")


def without_a_check(away: Away) -> None:
    away.change(results=away.results()[1:])


def with_a_check_that_nobody_asked_for(away: Away) -> None:
    away.change(results=[*away.results(), away.results()[0] | {"check": "extra"}])


def with_a_check_twice(away: Away) -> None:
    away.change(results=[*away.results(), away.results()[0]])


def with_a_failure(away: Away) -> None:
    first, *rest = away.results()
    away.change(results=[first | {"outcome": "failed"}, *rest])


def of_an_old_suite(away: Away) -> None:
    edit(away.lab.root / "images/serve/smoke.py", "import probe", "import probe  # stricter")


def without_its_audit(away: Away) -> None:
    away.audit().unlink()


def with_a_failed_audit(away: Away) -> None:
    away.audit().write_text(json.dumps(json.loads(away.audit().read_text()) | {"passed": False}))


def of_other_rules(away: Away) -> None:
    edit(away.lab.root / "images/serve/image.toml", 'libraries = ["lib/*.so"]', 'libraries = ["lib/x.so"]')


def in_another_build(away: Away) -> None:
    (away.folder / away.lab.step(GPU).build_id).rename(away.folder / ("0" * 64))


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        (drop, 3, "not smoke-tested yet"),
        (tear, 3, "not smoke-tested yet"),
        (swell, 3, "not smoke-tested yet"),
        (link, 3, "not smoke-tested yet"),
        (of_another_digest, 3, "not smoke-tested yet"),
        (of_another_cell, 3, "not smoke-tested yet"),
        (of_another_gpu, 3, "seen on NVIDIA H200"),
        (of_no_driver, 3, "with which driver"),
        (of_an_odd_host, 3, "not smoke-tested yet"),
        (without_a_time, 3, "the time of its end"),
        (without_a_check, 1, "no result"),
        (with_a_check_that_nobody_asked_for, 3, "nobody asked for"),
        (with_a_check_twice, 3, "named twice"),
        (with_a_failure, 1, "default/load"),
        (of_an_old_suite, 3, "not smoke-tested yet"),
        (without_its_audit, 3, "not audited yet"),
        (with_a_failed_audit, 1, "audit"),
        (of_other_rules, 3, "not audited yet"),
        (in_another_build, 3, "not audited yet"),
    ],
)
def test_evidence_that_does_not_hold_sets_no_tag(
    spoil: Callable[[Away], None], code: int, said: str, away: Away
) -> None:
    spoil(away)
    row = away.promote()
    assert row.exit_code == code and away.tags == set() and row.tag == ""
    assert said in "\n".join(map(str, row.problems)), row.problems


def lose_it(away: Away) -> None:
    del away.lab.registry.manifests[away.digests[GPU]]


def lose_a_layer(away: Away) -> None:
    del away.lab.registry.blobs[away.manifest(GPU)["layers"][-1]["digest"]]


def lose_its_configuration(away: Away) -> None:
    del away.lab.registry.blobs[away.manifest(GPU)["config"]["digest"]]


def exchange_it(away: Away) -> None:
    away.lab.registry.manifests[away.digests[GPU]] = away.lab.registry.manifests[away.digests[CPU]]


def exchange_its_configuration(away: Away) -> None:
    name = away.manifest(GPU)["config"]["digest"]
    away.lab.registry.blobs[name] = away.lab.registry.blobs[name].replace(b"amd64", b"amd46")


def change_the_inputs(away: Away) -> None:
    edit(away.lab.root / "images/serve/Dockerfile", "# serve", "# served")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lose_it, "no such image"),
        (lose_a_layer, "lacks its layer"),
        (lose_its_configuration, "sha256:"),
        (exchange_it, "other bytes"),
        (exchange_its_configuration, "sha256:"),
        (change_the_inputs, "other inputs"),
    ],
)
def test_a_candidate_that_is_not_in_the_registry_as_it_was_built_gets_no_tag(
    spoil: Callable[[Away], None], said: str, away: Away
) -> None:
    spoil(away)
    [job] = away.lab.jobs(GPU, digest=away.digests[GPU])
    pushed = away.lab.registry.writes
    row = promote_tested(away.lab.project, job, away.folder, away.lab.registry.client())
    assert (row.exit_code, away.tags) == (ExitCode.INCONCLUSIVE, set())
    assert said in "\n".join(map(str, row.problems)), row.problems
    assert away.lab.registry.writes == pushed, "and nothing else is written"


def test_another_candidate_than_the_evidence_is_of_gets_no_tag(away: Away) -> None:
    """Another image with the right label, as whoever may push there could make it."""
    content = away.manifest(GPU)
    config = away.lab.registry.blobs[content["config"]["digest"]].replace(b'"os"', b' "os"')
    away.lab.registry.blobs[describe(config, OCI_CONFIG).digest] = config
    content["config"] = describe(config, OCI_CONFIG).to_json()
    other = away.lab.registry.store(json.dumps(content).encode(), media_type=OCI_MANIFEST)
    row = away.promote(digest=other)
    assert row.exit_code is ExitCode.INCONCLUSIVE and away.tags == set()
    assert "not audited yet" in row.problems[0].cause


def test_an_index_is_no_candidate(away: Away) -> None:
    data, kind = away.lab.registry.manifests[away.digests[GPU]]
    entry = describe(data, kind).to_json() | {"platform": {"os": "linux", "architecture": "amd64"}}
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).encode()
    row = away.promote(digest=away.lab.registry.store(index, media_type=OCI_INDEX))
    assert row.exit_code is ExitCode.INCONCLUSIVE and "it is an index" in row.problems[0].cause and away.tags == set()
