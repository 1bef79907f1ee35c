from __future__ import annotations

from pathlib import Path

import pytest

from scripts import locks
from scripts.workspace import Workspace


def test_everything_lies_under_one_folder(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    places = [workspace.engine, workspace.runs, workspace.layouts, workspace.work, workspace.contexts("base")]
    places += [workspace.run("abc"), workspace.layout("abc")]
    assert all(place.is_relative_to(tmp_path / ".hallmark") for place in places)
    assert len(set(places)) == len(places)


def test_what_an_interrupted_run_left_half_way_goes_first(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    (workspace.work / "half").mkdir(parents=True)
    workspace.runs.mkdir()
    with workspace.claim():
        assert not workspace.work.exists() and workspace.runs.exists()


def test_a_second_run_waits_aloud_and_leaves_the_firsts_work_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path)
    said: list[str] = []

    def stop_waiting(text: str) -> None:
        said.append(text)
        raise KeyboardInterrupt

    monkeypatch.setattr(locks, "note", stop_waiting)
    with workspace.claim():
        (workspace.work / "half").mkdir(parents=True)
        with pytest.raises(KeyboardInterrupt), workspace.claim():
            pytest.fail("two runs at a time")
        assert (workspace.work / "half").exists()
    assert said == ["waiting for another run in this checkout to end …"]
    with workspace.claim():
        assert not workspace.work.exists()
