"""Which digest is served: that of an accepted cell by its own tag, or a candidate, which is said."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from scripts.errors import ConfigError, Undecided
from scripts.pipeline import Stage
from scripts.publish.stamp import name_tags
from scripts.serve.subject import Subject, find_candidate, find_server, find_stamped
from tests.unit.builders import make_cell
from tests.unit.fake_docker import FakeDocker, FakeImages
from tests.unit.pipeline.lab import Lab, crashing

CELL = "serve-cpu"
GUARD = "/usr/local/bin/hallmark-guard"


def publish(lab: Lab, last: Stage = Stage.PUBLISH, entry: tuple[str, ...] = ("vllm", "serve")) -> str:
    digest = lab.run(CELL, last=last)[CELL].digest
    lab.docker.entry_points[digest] = list(entry)
    return digest


def find(lab: Lab, *, stamped: bool = True) -> Subject:
    [job] = lab.jobs(CELL)
    return (find_stamped if stamped else find_candidate)(lab.bench, job)


@pytest.mark.parametrize("entry", [("vllm", "serve"), (GUARD, "vllm", "serve")])
def test_a_stamped_image_is_served_by_its_tag(entry: tuple[str, ...], lab: Lab) -> None:
    digest = publish(lab, entry=entry)
    subject = find(lab)
    assert (subject.digest, subject.server.title) == (digest, "vLLM")
    assert subject.name in lab.tags and subject.name.startswith("hallmark/serve:1.2.0-cpu-")


def test_what_is_not_accepted_has_no_stamp(lab: Lab) -> None:
    with pytest.raises(ConfigError, match="inconclusive, so it has no stamp: not built yet") as caught:
        find(lab)
    assert "nox -s build-cpu -- serve-cpu" in str(caught.value) and "--candidate" in str(caught.value)
    publish(lab, Stage.BUILD)
    with pytest.raises(ConfigError, match="not smoke-tested yet"):
        find(lab)


def test_a_rejected_cell_is_refused_whatever_tags_there_are(lab: Lab) -> None:
    lab.docker.smokes[CELL] = crashing
    digest = publish(lab)
    [job] = lab.jobs(CELL)
    tags = name_tags(job.planned, job.step.build_id)
    lab.docker.tags[digest] |= {f"hallmark/serve:{tag}" for tag in tags.all}
    with pytest.raises(ConfigError, match=r"rejected, so it has no stamp: .*segmentation fault"):
        find(lab)


def test_an_accepted_cell_without_its_tag_is_refused(lab: Lab) -> None:
    digest = publish(lab, Stage.SMOKE)
    with pytest.raises(ConfigError, match=r"accepted, but the engine does not have serve:1.2.0-cpu-"):
        find(lab)
    # The moving tag alone says nothing of this build.
    lab.docker.tags[digest].add("hallmark/serve:1.2.0-cpu")
    with pytest.raises(ConfigError, match="accepted, but the engine does not have"):
        find(lab)


def test_a_tag_on_another_digest_is_refused(lab: Lab) -> None:
    digest = publish(lab)
    lab.docker.tags["sha256:" + "e" * 64] = lab.docker.tags[digest]
    lab.docker.tags[digest] = set()
    with pytest.raises(ConfigError, match="accepted, but the engine does not have"):
        find(lab)


def test_a_candidate_is_served_when_that_is_said(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="its candidate is not here"):
        find(lab, stamped=False)
    digest = publish(lab, Stage.BUILD)
    assert find(lab, stamped=False).digest == digest
    assert "NO STAMP IS ASKED FOR: serve-cpu is served as a candidate, inconclusive" in capsys.readouterr().err
    publish(lab)
    find(lab, stamped=False)
    assert "accepted: this digest was accepted" in capsys.readouterr().err


def test_an_image_that_serves_nothing_is_refused(lab: Lab) -> None:
    publish(lab, entry=("python3",))
    with pytest.raises(ConfigError, match="its image serves no models") as caught:
        find(lab)
    assert "vllm or sglang" in str(caught.value)


@pytest.mark.parametrize("attrs", [{}, {"Config": None}, {"Config": {"Entrypoint": 5}}])
def test_an_image_of_which_the_engine_says_nothing_is_undecided(attrs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    docker = FakeDocker()
    docker.tags["sha256:1"] = set()
    monkeypatch.setattr(FakeImages, "get", lambda self, digest: SimpleNamespace(attrs=attrs))
    with pytest.raises(Undecided, match="as no engine does"):
        find_server(docker.engine(), make_cell(), "sha256:1")
