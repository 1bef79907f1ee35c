from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scripts.errors import Undecided
from scripts.fetch.git import Missing, Repository, environment

REPOSITORY = Repository(Path("/cache/git/objects"))


def answer(monkeypatch: pytest.MonkeyPatch, code: int = 0, stderr: str = "", stdout: str = "") -> list[list[str]]:
    """Let every git end like this; gives the commands as they come."""
    commands: list[list[str]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        assert options["timeout"] and options["env"]["GIT_CONFIG_NOSYSTEM"] == "1"
        commands.append(command)
        return subprocess.CompletedProcess(command, code, stdout.encode(), stderr.encode())

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_no_protocol_runs_a_command_and_every_object_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = answer(monkeypatch, stdout="x")
    assert REPOSITORY.run("ls-tree", "main") == b"x"
    [command] = commands
    assert command[0] == "git" and command[-4:] == ["--git-dir", "/cache/git/objects", "ls-tree", "main"]
    for setting in ("protocol.allow=never", "transfer.fsckObjects=true", "core.hooksPath=/dev/null"):
        assert command[command.index(setting) - 1] == "-c"
    assert not any("ext.allow" in word or "ssh.allow" in word for word in command)


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        ("warning: slow\nfatal: no such ref\nfatal: gave up\n", "no such ref"),
        ("error: bad object\nfatal: fetch-pack failed\n", "bad object"),
        ("something\nodd\n", "odd"),
        ("", "git ended with 128"),
    ],
)
def test_the_first_fault_that_git_names_is_what_is_said(
    stderr: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, 128, stderr)
    with pytest.raises(Missing) as caught:
        REPOSITORY.run("fetch")
    assert str(caught.value) == said
    assert not REPOSITORY.has_tree("1" * 40)


def test_a_git_that_does_not_end_and_one_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(error: Exception) -> None:
        def run(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr(subprocess, "run", run)

    end(subprocess.TimeoutExpired("git", 3600))
    with pytest.raises(Missing, match="no end after 3600 s"):
        REPOSITORY.run("fetch")
    end(FileNotFoundError())
    with pytest.raises(Undecided, match="install git"):
        REPOSITORY.run("fetch")


def test_an_address_is_never_read_as_an_option() -> None:
    with pytest.raises(Missing, match="is no address"):
        REPOSITORY.fetch("--upload-pack=touch /tmp/x", ["main"], lambda text: None)


def test_a_repository_is_made_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commands = answer(monkeypatch)
    Repository.open(tmp_path / "git")
    assert commands[0][-4:] == ["init", "--quiet", "--bare", "--template="]
    (tmp_path / "git/HEAD").touch()
    Repository.open(tmp_path / "git")
    assert len(commands) == 1


def test_git_has_nobodys_settings_and_the_sites_proxies_and_certificates(tmp_path: Path) -> None:
    authorities, own = tmp_path / "site.pem", tmp_path / "git.pem"
    authorities.touch()
    known = {"GIT_DIR": "/x", "GIT_SSH_COMMAND": "x", "https_proxy": "http://p", "SSL_CERT_FILE": str(authorities)}
    found = environment(known)
    assert "GIT_DIR" not in found and "GIT_SSH_COMMAND" not in found
    assert (found["https_proxy"], found["GIT_SSL_CAINFO"]) == ("http://p", str(authorities))
    assert (found["GIT_CONFIG_GLOBAL"], found["GIT_TERMINAL_PROMPT"], found["GIT_ASKPASS"]) == (os.devnull, "0", "")
    own.touch()
    assert environment(known | {"GIT_SSL_CAINFO": str(own)})["GIT_SSL_CAINFO"] == str(own)
    assert "GIT_SSL_CAINFO" not in environment({"SSL_CERT_FILE": str(tmp_path / "gone.pem")})
