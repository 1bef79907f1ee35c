from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.errors import ConfigError, ExitCode
from scripts.reference import Repository
from scripts.site import PipSettings, Site, read_apt_mirrors, read_pip_settings, uv_environment


def print_from(monkeypatch: pytest.MonkeyPatch, text: str) -> list[list[str]]:
    """Whatever is run prints this text; returns the commands."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, text, "")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


# --- HALLMARK_*


def test_without_variables_a_site_has_no_overrides() -> None:
    site = Site.from_environment({"HOME": "/home/me"})
    assert (site.engine, site.registry, site.mirrors, site.wheels) == ("auto", "", (), ())
    assert site.builders == ("default",)


def test_every_variable_is_read(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    key, trust = tmp_path / "key", tmp_path / "trust.json"
    key.touch()
    trust.touch()
    site = Site.from_environment(
        {
            "HALLMARK_BUILDER": "default,far-away_2",
            "HALLMARK_COMPRESSION": "gzip",
            "HALLMARK_ENGINE": "embedded",
            "HALLMARK_GPU_HOST": "ssh://me@gpubox",
            "HALLMARK_REGISTRY": "registry.example.com/team/",
            "HALLMARK_MIRRORS": "https://one.invalid/ \n http://two.invalid/x/",
            "HALLMARK_SIGNING_KEY": str(key),
            "HALLMARK_SIGNING_PASSWORD": "a secret",
            "HALLMARK_WHEELS": f"{tmp_path}/a{os.pathsep}{os.pathsep}{tmp_path}/b",
            "XDG_CACHE_HOME": "/var/cache/me",
        }
    )
    assert site.engine == "embedded" and site.gpu_host == "ssh://me@gpubox"
    assert site.builders == ("default", "far-away_2")
    assert site.compression == "gzip"
    assert site.registry == "registry.example.com/team"
    assert site.mirrors == ("https://one.invalid", "http://two.invalid/x")
    assert site.wheels == (tmp_path / "a", tmp_path / "b")
    assert site.cache == Path("/var/cache/me/hallmark")
    assert (site.signing_key, site.signing_password) == (key, "a secret")
    without = {"HALLMARK_SIGNING": "keyless", "HALLMARK_SIGNING_TRUST": str(trust)}
    site = Site.from_environment({"HOME": "/home/me", **without})
    assert (site.keyless, site.signing_trust, site.signing_key) == (True, trust, None)


def test_an_empty_variable_is_as_good_as_none() -> None:
    signing = ("SIGNING", "SIGNING_KEY", "SIGNING_PASSWORD", "SIGNING_TRUST")
    ours = ("BUILDER", "COMPRESSION", "ENGINE", "REGISTRY", "MIRRORS", *signing, "WHEELS")
    names = ("XDG_CACHE_HOME", *(f"HALLMARK_{name}" for name in ours))
    assert Site.from_environment(dict.fromkeys(names, "")) == Site.from_environment({})
    assert Site.from_environment({}).cache == Path.home() / ".cache/hallmark"


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({"HALLMARK_REGISTERY": "x"}, "unknown variable HALLMARK_REGISTERY"),
        ({"HALLMARK_B": "", "HALLMARK_A": ""}, "unknown variable HALLMARK_A, HALLMARK_B"),
        ({"HALLMARK_ENGINE": "podman"}, "HALLMARK_ENGINE=podman\n  next: one of: auto, host, embedded"),
        *(
            (
                {"HALLMARK_GPU_HOST": text},
                f"HALLMARK_GPU_HOST={text} is no engine's address, nor a docker context's name",
            )
            for text in (
                *("--help", "me@gpubox", "ssh://", "http://gpubox", "two words", "ssh://me@gpu box", "a/b"),
                *("ssh://-oProxyCommand=x", "ssh://me@-oProxyCommand=x", "tcp://gpubox:99999", "tcp://:2", "unix://a"),
            )
        ),
        ({"HALLMARK_BUILDER": "--help"}, "HALLMARK_BUILDER=--help is no builder's name, nor a list of them: a,b"),
        ({"HALLMARK_BUILDER": "a b"}, "next: `docker buildx ls` lists the names"),
        ({"HALLMARK_BUILDER": "a,,b"}, "HALLMARK_BUILDER=a,,b is no"),
        ({"HALLMARK_BUILDER": "a,a"}, "HALLMARK_BUILDER=a,a is no"),
        ({"HALLMARK_COMPRESSION": "xz"}, "HALLMARK_COMPRESSION=xz\n  next: one of: zstd, gzip"),
        ({"HALLMARK_REGISTRY": "https://registry.example.com"}, "HALLMARK_REGISTRY=https://registry.example.com is no"),
        ({"HALLMARK_REGISTRY": "team"}, "HALLMARK_REGISTRY=team is no registry"),
        ({"HALLMARK_REGISTRY": "a.b/Team"}, "next: write it as registry.example.com/team or 127.0.0.1:5000"),
        ({"HALLMARK_REGISTRY": "a.b:٥٠"}, "HALLMARK_REGISTRY=a.b:٥٠ is no registry"),
        ({"HALLMARK_REGISTRY": "/"}, "HALLMARK_REGISTRY=/ is no registry"),
        ({"HALLMARK_REGISTRY": "127.0.0.1:65536/a"}, "HALLMARK_REGISTRY=127.0.0.1:65536/a is no registry"),
        ({"HALLMARK_REGISTRY": "[::1]:0"}, "HALLMARK_REGISTRY=[::1]:0 is no registry"),
        ({"HALLMARK_MIRRORS": "https://a.b ftp://c"}, "HALLMARK_MIRRORS: ftp://c is no address"),
        ({"HALLMARK_MIRRORS": "https://[::1"}, "HALLMARK_MIRRORS: https://[::1 is no address"),
        ({"HALLMARK_MIRRORS": "https://a:b"}, "HALLMARK_MIRRORS: https://a:b is no address"),
        ({"HALLMARK_SIGNING_KEY": "/no/such/key"}, "HALLMARK_SIGNING_KEY: /no/such/key is not a file"),
        ({"HALLMARK_SIGNING": "key"}, "HALLMARK_SIGNING=key\n  next: write keyless, or leave it out"),
        ({"HALLMARK_SIGNING": "Keyless"}, "HALLMARK_SIGNING=Keyless\n"),
        (
            {"HALLMARK_SIGNING": "keyless", "HALLMARK_SIGNING_KEY": "/dev/null"},
            "HALLMARK_SIGNING=keyless, and HALLMARK_SIGNING_KEY has a key",
        ),
        ({"HALLMARK_SIGNING_TRUST": "/no/such/trust"}, "HALLMARK_SIGNING_TRUST: /no/such/trust is not a file"),
        ({"HALLMARK_SIGNING_TRUST": "/dev/null"}, "HALLMARK_SIGNING_TRUST is of signatures without a key"),
        ({"HALLMARK_WHEELS": "x" * 5000}, "is not a folder"),
        ({"HALLMARK_WHEELS": "/no/such/folder"}, "HALLMARK_WHEELS: /no/such/folder is not a folder"),
    ],
)
def test_a_variable_that_cannot_be_meant_is_refused(environment: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Site.from_environment(environment)
    assert text in str(caught.value)
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.problems[0].next_step


@pytest.mark.parametrize(
    "host", ["gpubox.lan", "ssh://me@gpubox:22/run/docker.sock", "tcp://[::1]:2376", "unix:///run/docker.sock"]
)
def test_an_engine_is_named_as_the_docker_cli_takes_it(host: str) -> None:
    assert Site.from_environment({"HALLMARK_GPU_HOST": host}).gpu_host == host


def test_all_that_is_wrong_is_told_at_once() -> None:
    signing = ("SIGNING", "SIGNING_KEY", "SIGNING_TRUST")
    names = ("BUILDER", "COMPRESSION", "ENGINE", "MIRRORS", "REGISTRY", *signing, "WHEELS", "WRONG")
    with pytest.raises(ConfigError) as caught:
        Site.from_environment({f"HALLMARK_{name}": "/no \n::error::" for name in names})
    said = str(caught.value)
    assert all(f"HALLMARK_{name}" in said for name in names) and "\n::" not in said
    assert all(problem.place == "environment" and problem.next_step for problem in caught.value.problems)


@given(
    st.from_regex(r"[a-z0-9.:/_\[\]-]{1,24}", fullmatch=True)
    | st.sampled_from(["localhost", "localhost:5000", "a.b", "A-1.b:99/x__y/z--z", "[::1]:5000/a", "x:5000", "a.b/"])
    | st.sampled_from(["a.b:65535", "a.b:65536/c", "x:0", "x-:1"])
)
def test_a_registry_is_one_where_an_image_in_it_is_one(text: str) -> None:
    try:
        registry = Site.from_environment({"HALLMARK_REGISTRY": text}).registry
    except ConfigError:
        registry = ""
    try:
        Repository.parse(f"{text.rstrip('/')}/image")
        known = bool(text.rstrip("/"))
    except ConfigError:
        known = False
    assert bool(registry) == known


def test_without_a_home_a_folder_for_the_cache_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    with pytest.raises(ConfigError, match="there is no folder for the cache\n  next: set HOME, or XDG_CACHE_HOME"):
        Site.from_environment({})
    assert Site.from_environment({"XDG_CACHE_HOME": "/c"}).cache == Path("/c/hallmark")


# --- what pip is set up with


def test_pip_is_asked_for_its_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    listing = f"""\
:env:.index-url='https://env.invalid/simple'
global.extra-index-url='\\nhttps://one.invalid/simple\\nhttps://two.invalid/simple'
global.find-links='{tmp_path} file://{tmp_path} https://links.invalid /no/such/folder'
global.index-url='https://global.invalid/simple'
global.timeout='60'
"""
    commands = print_from(monkeypatch, listing)
    settings = read_pip_settings()
    assert settings.index == "https://env.invalid/simple", "environment variables win, as in pip"
    assert settings.extra_indexes == ("https://one.invalid/simple", "https://two.invalid/simple")
    assert settings.folders == (tmp_path, tmp_path)
    assert commands[0][1:] == ["-m", "pip", "config", "list"]


@pytest.mark.parametrize(
    ("sections", "wins"), [(["global", "install"], "install"), (["global", "install", ":env:"], ":env:")]
)
def test_pips_settings_rank_as_in_pip_whatever_order_they_are_listed_in(
    sections: list[str], wins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for order in (sections, sections[::-1]):
        print_from(monkeypatch, "".join(f"{name}.index-url='https://{name}.invalid'\n" for name in order))
        assert read_pip_settings().index == f"https://{wins}.invalid"


@pytest.mark.parametrize("text", ["", "No module named pip\n", "freeze.index-url='https://other.invalid'\n"])
def test_without_settings_pips_defaults_hold(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    print_from(monkeypatch, text)
    assert read_pip_settings() == PipSettings()


def test_uv_gets_from_pips_settings_what_it_has_none_of_its_own_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX"):
        monkeypatch.delenv(name, raising=False)
    settings = PipSettings("https://index.invalid", ("https://a.invalid", "https://b.invalid"))
    environment = uv_environment(settings)
    assert environment["UV_DEFAULT_INDEX"] == "https://index.invalid"
    assert environment["UV_INDEX"] == "https://a.invalid https://b.invalid"
    assert not {"UV_DEFAULT_INDEX", "UV_INDEX"} & uv_environment(PipSettings()).keys()
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://own.invalid")
    assert uv_environment(settings)["UV_DEFAULT_INDEX"] == "https://own.invalid"


# --- what apt is set up with


def test_apt_is_asked_for_the_roots_of_its_suites(monkeypatch: pytest.MonkeyPatch) -> None:
    print_from(
        monkeypatch,
        "'http://mirror.invalid/debian/dists/stable/InRelease' mirror_InRelease 0 \n"
        "'http://mirror.invalid/debian//dists/stable-updates/InRelease' mirror_InRelease 0 \n"
        "'http://second.invalid/debian/dists/stable/InRelease' second_InRelease 0 \n"
        "'http://security.invalid/dists/stable-security/InRelease' security_InRelease 0 \n"
        "Reading package lists...\n",
    )
    assert read_apt_mirrors() == {
        "stable": "http://mirror.invalid/debian",
        "stable-updates": "http://mirror.invalid/debian",
        "stable-security": "http://security.invalid",
    }


def test_a_machine_without_apt_has_no_mirrors(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise FileNotFoundError("apt-get")

    monkeypatch.setattr(subprocess, "run", run)
    assert read_apt_mirrors() == {}
