"""What a run says of its build, and that a consumer can verify what a run has published."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.attest.keyless import open_identity
from scripts.attest.keys import read_public_key
from scripts.attest.sbom import list_contents
from scripts.compile.kept import add_wheels
from scripts.errors import ExitCode
from scripts.feed import read_feed
from scripts.fetch import Cache
from scripts.matrix import load_matrix
from scripts.model import BuildOptions, Outcome, Verdict
from scripts.pipeline import Options, Stage, make_jobs
from scripts.pipeline.described import describe_job, licences_in
from scripts.pipeline.run import run_cell
from scripts.plan import Selection, make_plan
from scripts.reference import parse_image
from scripts.verbs.verifying import know_cells
from scripts.verify.signed import ByIdentity, ByKey
from scripts.verify.verify import verify
from tests.made_sigstore import ISSUER, NAME, MadeSigstore
from tests.unit.assemble.test_components import write_compiled_project
from tests.unit.attest import answer_in_memory, make_signer, no_licences, write_private, write_public
from tests.unit.builders import edit, lock_bytes
from tests.unit.pipeline.lab import REGISTRY, Lab, crashing, unanswered
from tests.unit.registry.fake_registry import refuse

CPU, GPU = "serve-cpu", "serve-cu128-5090-wheel"


@pytest.mark.parametrize(("cell", "tag"), [(CPU, "1.2.0-cpu"), (GPU, "1.2.0-cu128-5090-wheel")])
def test_what_a_run_publishes_is_what_a_consumer_accepts(cell: str, tag: str, lab: Lab) -> None:
    lab.use_registry()
    lab.site = replace(lab.site, signing_key=write_private(lab.root / "key", make_signer()))
    assert lab.run(cell)[cell].tag == f"{REGISTRY}/serve:{tag}"
    key = read_public_key(write_public(lab.root / "key.pub", make_signer()))
    image = parse_image(f"{REGISTRY}/serve:{tag}")
    found = verify(lab.registry.client(), image, ByKey(key), cell, know_cells(lab.root))
    assert found.verdict is Verdict.ACCEPTED, found.results
    assert found.provenance and found.provenance.build_id == lab.step(cell).build_id
    assert found.components == 2, "a wheel, and the package of the image below"
    before = dict(lab.registry.manifests)
    lab.run(cell)
    assert lab.registry.manifests == before, "what is said twice is there once"


@pytest.fixture
def made(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeSigstore:
    """A Sigstore by which the lab signs what it publishes."""
    made = MadeSigstore()
    answer_in_memory(made, monkeypatch)
    (tmp_path / "trust.json").write_text(json.dumps(made.trust_config()))
    (tmp_path / "root.json").write_text(json.dumps(made.trusted_root()))
    lab.use_registry()
    lab.site = replace(lab.site, keyless=True, signing_trust=tmp_path / "trust.json")
    return made


def test_what_a_job_publishes_without_a_key_is_accepted_as_signed_by_that_job(
    lab: Lab, made: MadeSigstore, tmp_path: Path
) -> None:
    assert lab.run(CPU)[CPU].tag == f"{REGISTRY}/serve:1.2.0-cpu"
    image = parse_image(f"{REGISTRY}/serve:1.2.0-cpu")
    job = ByIdentity(open_identity(NAME, ISSUER, tmp_path / "root.json"))
    found = verify(lab.registry.client(), image, job, CPU, know_cells(lab.root))
    assert found.verdict is Verdict.ACCEPTED, found.results
    assert made.asked.count("/api/v1/log/entries") == 4, "each statement is logged"


def test_a_tag_is_taken_back_though_nothing_can_be_signed(
    lab: Lab, made: MadeSigstore, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.run(CPU)
    monkeypatch.setattr(made, "answer", lambda *_: (503, {}))
    ask_anew(lab, "# another question\n")
    lab.docker.smokes[CPU] = crashing
    assert lab.run(CPU)[CPU].exit_code is ExitCode.INCONCLUSIVE
    assert refusal(lab, "1.2.0-cpu").startswith("the tag was withdrawn")


def test_a_verdict_that_turns_takes_the_tag_in_the_registry_back(lab: Lab) -> None:
    lab.use_registry()
    lab.site = replace(lab.site, signing_key=write_private(lab.root / "key", make_signer()))
    digest = lab.run(CPU)[CPU].digest
    fixed = f"1.2.0-cpu-{lab.step(CPU).build_id[:12]}"
    ask_anew(lab, "# another question\n")
    lab.docker.smokes[CPU] = crashing
    row = lab.run(CPU)[CPU]
    assert (row.verdict, row.digest) == (Verdict.REJECTED, digest)
    assert lab.ran and f"{REGISTRY}/serve:1.2.0-cpu was withdrawn" in lab.said
    assert refusal(lab, "1.2.0-cpu").startswith(f"the tag was withdrawn from {digest}: rejected: default/container:")
    assert refusal(lab, fixed) == "the result is FAILED: default/container"
    lab.docker.smokes.clear()
    ask_anew(lab, "# one more\n")
    lab.run(CPU)
    assert lab.registry.tag("1.2.0-cpu") == lab.registry.tag(fixed), "accepted again, the tag is back"


def test_what_could_not_be_decided_leaves_the_registrys_tag(lab: Lab) -> None:
    lab.use_registry()
    lab.run(CPU)
    before = lab.registry.tag("1.2.0-cpu")
    ask_anew(lab, "# another question\n")
    lab.docker.smokes[CPU] = unanswered
    assert lab.run(CPU)[CPU].verdict is Verdict.INCONCLUSIVE
    assert lab.registry.tag("1.2.0-cpu") == before and lab.tags == set()


def test_wheels_that_rules_no_longer_accept_are_evidence_against_their_image(lab: Lab) -> None:
    lab.use_registry()
    edit(lab.root / "images/serve/image.toml", 'accept = "native"', 'accept = "missing"\nreason = "not called"')
    lab.write_locks("90")
    assert lab.run(GPU)[GPU].verdict is Verdict.ACCEPTED
    edit(lab.root / "images/serve/image.toml", 'accept = "missing"\nreason = "not called"', 'accept = "native"')
    assert lab.run(GPU)[GPU].verdict is Verdict.REJECTED
    fixed = f"1.2.0-cu128-5090-wheel-{lab.step(GPU).build_id[:12]}"
    assert refusal(lab, fixed) == "the result is FAILED: audit"
    assert refusal(lab, "1.2.0-cu128-5090-wheel").startswith("the tag was withdrawn")


def test_a_registry_that_fails_leaves_a_rejection_in_the_feed(lab: Lab) -> None:
    lab.use_registry()
    lab.run(CPU)
    ask_anew(lab, "# another question\n")
    lab.docker.smokes[CPU] = crashing
    lab.registry.gate = lambda request: refuse(request, 403, "DENIED") if request.method == "PUT" else None
    [job] = lab.jobs(CPU)
    report = run_cell(lab.bench, job)
    assert report.exit_code is ExitCode.INCONCLUSIVE and "403" in report.problems[0].cause
    assert read_feed(lab.workspace.feed)[0][-1].verdict is Verdict.REJECTED


def ask_anew(lab: Lab, comment: str) -> None:
    """Change what a cell is asked, so that the gate asks again."""
    with (lab.root / "images/serve/smoke.py").open("a") as stream:
        stream.write(comment)


def refusal(lab: Lab, tag: str) -> str:
    """Why a consumer refuses a tag."""
    found = verify(lab.registry.client(), parse_image(f"{REGISTRY}/serve:{tag}"), None, "", know_cells(lab.root))
    return next(each.detail for each in found.results if each.outcome is Outcome.FAILED)


def test_a_build_is_described_down_to_the_lowest_image(lab: Lab) -> None:
    [job] = lab.jobs(GPU)
    build = describe_job(job)
    assert {file.kind for file in build.packages} == {"wheel", "deb"}
    assert (build.build_id, build.version, build.made, build.sources) == (job.step.build_id, "1.2.0", (), ())
    assert build.parameters == {
        "cell": GPU,
        "image": "serve",
        "recipe": "wheel",
        "version": "1.2.0",
        "revision": "v1.2.0",
        "cuda": "12.8",
        "compute": "12.0",
        "slim": "12.0",
        "compression": "zstd",
    }


def test_licences_are_those_of_wheels_that_are_in_the_cache(lab: Lab) -> None:
    [job] = lab.jobs(CPU)
    [wheel] = job.step.wheels
    find = licences_in(Cache(lab.site.cache))
    assert find(wheel) == ()
    path = Cache(lab.site.cache).path(wheel.sha256)
    path.write_bytes(path.read_bytes().replace(b"Version: 1.0\n", b"License: MIT"))
    assert find(wheel) == (), "a wheel that is damaged says nothing"
    assert find(lock_bytes(b"not there", file="a-1-py3-none-any.whl")) == ()


def test_what_was_compiled_is_told_with_all_that_it_was_compiled_from(tmp_path: Path) -> None:
    matrix = load_matrix(write_compiled_project(tmp_path))
    plan = make_plan(matrix, Selection(["serve-*"]))
    [job] = make_jobs(matrix, plan, BuildOptions(), Stage.BUILD, Options())
    build = describe_job(job)
    assert [(made.name, made.version) for made in build.made] == [
        ("engine", "2.0+cu128.sm120"),
        ("serve", "1.2.0+cu128.sm120"),
    ]
    assert [made.build_id for made in build.made] == [step.build_id for step in job.step.compiled]
    sources: list[Any] = list(build.sources)
    assert {"engine", "kernels"} <= {source.name for source in sources}
    assert {"engine-v2.0.tar.gz", "serve-1.2.0.tar.gz", "nvcc-12.8.93-archive.tar.xz"} <= {
        getattr(source, "file", "") for source in sources
    }
    # Whether the compiled wheels are at hand makes no difference: not where the candidate is only tested.
    wheel = lock_bytes(b"made here", file="serve-1.2.0+cu128.sm120-py3-none-any.whl", name="serve")
    known = replace(job, step=add_wheels(job.step, [wheel]))
    assert describe_job(known) == build
    listed = [each["name"] for each in list_contents(build, "sha256:" + "1" * 64, no_licences)["components"]]
    assert listed.count("serve") == 1 and "nvcc" not in listed
