"""What a word of the command line means: a folder that a container can read alone, or a name on a hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.errors import ConfigError
from scripts.serve import model as module
from scripts.serve.model import Model, read_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    (folder / "parts").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "parts/weights").write_text("x")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def test_a_folder_is_mounted_and_called_by_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_model(str(folder)) == Model("tiny", folder)
    assert read_model(str(folder)).place == "/model"
    monkeypatch.chdir(folder)
    assert read_model(".") == Model("tiny", folder)


@pytest.mark.parametrize("name", ["gpt2", "Qwen/Qwen2.5-1.5B-Instruct", "01-ai/Yi-1.5-6B-Chat"])
def test_a_name_is_one_on_a_hub(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = read_model(name)
    assert (model.name, model.folder, model.place) == (name, None, name)


@pytest.mark.parametrize("text", ["/no/such", "./none", "../up", "a/b/c", "--port", "https://hub/x", "a b"])
def test_what_is_neither_is_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="is no folder of this machine, and no name on a model hub"):
        read_model(text)


def test_a_file_is_no_model(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"is a file"):
        read_model(str(folder / "config.json"))


def test_a_folder_without_a_description_is_no_model(folder: Path) -> None:
    (folder / "config.json").rename(folder / "params.json")
    assert read_model(str(folder)).folder == folder
    (folder / "params.json").unlink()
    with pytest.raises(ConfigError, match=r"has no config.json and no params.json"):
        read_model(str(folder))


@pytest.mark.parametrize("target", ["../blobs/x", "/etc/passwd"])
def test_a_link_that_leads_out_is_refused(target: str, folder: Path) -> None:
    (folder / "inside").symlink_to("config.json")
    read_model(str(folder))
    (folder / "model.safetensors").symlink_to(target)
    with pytest.raises(ConfigError, match=r"model.safetensors: a link that leads out") as caught:
        read_model(str(folder))
    assert "cp -rL" in str(caught.value)


@pytest.mark.parametrize(("name", "mode"), [("", 0o700), ("parts", 0o754), ("parts/weights", 0o640)])
def test_what_the_servers_user_cannot_read_is_refused(
    name: str, mode: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "USER", -1)
    (folder / name).chmod(mode)
    with pytest.raises(ConfigError, match=f"chmod -R a\\+rX {folder}"):
        read_model(str(folder))
    monkeypatch.setattr(module, "USER", folder.stat().st_uid)
    read_model(str(folder))
