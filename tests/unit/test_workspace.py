from __future__ import annotations

from pathlib import Path

import pytest

from scripts import locks
from scripts.errors import Undecided
from scripts.workspace import Workspace


def test_everything_lies_under_one_folder(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    places = [workspace.engine, workspace.runs, workspace.layouts, workspace.locks, workspace.work]
    places += [workspace.contexts("base"), workspace.run("abc"), workspace.layout("abc")]
    assert all(place.is_relative_to(tmp_path / ".hallmark") for place in places)
    assert len(set(places)) == len(places)


def test_work_has_a_new_folder_and_leaves_none(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with workspace.claim("abc") as work:
        assert work.is_relative_to(workspace.work) and list(work.iterdir()) == []
        (work / "deep").mkdir()
    assert not work.exists()
    with pytest.raises(RuntimeError), workspace.claim("abc") as work:
        raise RuntimeError
    assert not work.exists()


def test_what_an_interrupted_run_left_half_way_goes_first(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    left, *others = (workspace.work / f"{name}.0123abcd" for name in ("abc", "other", "abc.b"))
    for folder in (left, *others):
        (folder / "half").mkdir(parents=True)
    workspace.runs.mkdir()
    with workspace.claim("abc") as work:
        assert list(work.iterdir()) == [] and workspace.runs.exists() and not left.exists()
        assert all((other / "half").exists() for other in others), "what is another's is nobody else's business"


def test_what_outlives_a_holder_that_was_killed_writes_into_another_folder(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with workspace.claim("abc") as first:
        pass
    first.mkdir()
    (first / "late").write_text("by a builder that nobody told")
    with workspace.claim("abc") as work:
        first.mkdir(exist_ok=True)
        (first / "later").write_text("and goes on")
        assert list(work.iterdir()) == []


def test_a_second_waits_aloud_and_leaves_the_firsts_work_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path)
    said: list[str] = []

    def stop_waiting(text: str) -> None:
        said.append(text)
        raise KeyboardInterrupt

    monkeypatch.setattr(locks, "note", stop_waiting)
    with workspace.claim("abc") as work:
        (work / "half").mkdir()
        with pytest.raises(KeyboardInterrupt), workspace.claim("abc"):
            pytest.fail("two at a time")
        with workspace.claim("other") as other:
            assert other != work, "other work goes on beside it"
        assert (work / "half").exists()
    assert said == ["waiting for another run's work on abc to end …"]
    with workspace.claim("abc") as work:
        assert list(work.iterdir()) == []


def test_patience_has_an_end(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with workspace.claim("abc") as work:
        (work / "half").mkdir()
        with pytest.raises(Undecided, match="another run's work on abc has not ended"), workspace.claim("abc", 0):
            pytest.fail("two at a time")
        assert (work / "half").exists()
