from __future__ import annotations

import dataclasses
import os
import stat
import tarfile
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from scripts.build import inputs as module
from scripts.build.inputs import Inputs, estimate_unpacked, lay_out, slim_step
from scripts.build.steps import INSTALLER, Step
from scripts.errors import Undecided
from scripts.fetch import Cache
from scripts.model import LockedFile
from scripts.slim.wheel.cached import SlimmedFile
from tests.unit.builders import EPOCH, lock_bytes, make_image, put_in_cache, write

from .debs import make_deb


def make_wheel(**members: str) -> bytes:
    data = BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "/").replace("uv_data", "uv-1.0.data"), text)
    return data.getvalue()


THING = make_wheel(thing__init="x" * 10_000)
OTHER = make_wheel(other__init="y")
UV = make_wheel(uv_data__scripts__uv="the program", uv_data__scripts__uvx="another", uv__init="")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    folder = tmp_path / "image"
    write(folder / "Dockerfile", "FROM parent\n")
    write(folder / "patches/one.patch", "text")
    write(folder / "setup", "#!/bin/sh\n").chmod(0o755)
    for name in ("image.toml", "smoke.py", "README.md", "lock/wheel-cpu.toml"):
        write(folder / name, "not for the build")
    return folder


def wheel_step(cache: Cache, image: Path) -> Step:
    files = (
        lock_bytes(OTHER, file="other-2.0-py3-none-any.whl", version="2.0"),
        lock_bytes(THING, file="thing-1.0-py3-none-any.whl"),
    )
    tools = (lock_bytes(UV, file="uv-1.0-py3-none-any.whl"),)
    for data in (THING, OTHER, UV):
        put_in_cache(cache, data)
    return Step("serve-cpu", make_image(image), None, files, tools, EPOCH, {}, "1" * 64)


def modes(made: Inputs) -> dict[str, int]:
    folder = made.context.parent
    return {
        path.relative_to(folder).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for top in (made.context, made.tools)
        for path in top.rglob("*")
        if path.is_file()
    }


def test_a_build_sees_the_images_files_its_inputs_and_the_tools(cache: Cache, image: Path, tmp_path: Path) -> None:
    made = lay_out(wheel_step(cache, image), cache, tmp_path / "work")
    assert sorted(modes(made)) == [
        "context/Dockerfile",
        "context/patches/one.patch",
        "context/setup",
        "tools/install-wheels",
        "tools/uv",
        "tools/uvx",
    ]
    assert sorted(path.name for path in made.inputs.iterdir()) == [
        "other-2.0-py3-none-any.whl",
        "requirements.txt",
        "thing-1.0-py3-none-any.whl",
    ]
    assert (made.inputs / "thing-1.0-py3-none-any.whl").read_bytes() == THING
    assert (made.tools / "uv").read_text() == "the program"
    assert (made.tools / "install-wheels").read_bytes() == INSTALLER.read_bytes()


def test_requirements_are_pinned_by_hash_in_the_locks_order(cache: Cache, image: Path, tmp_path: Path) -> None:
    step = wheel_step(cache, image)
    other, thing = step.files
    texts = {(lay_out(step, cache, tmp_path / name).inputs / "requirements.txt").read_text() for name in ("a", "b")}
    assert texts == {
        f"other==2.0 --hash=sha256:{other.sha256}\nthing==1.0 --hash=sha256:{thing.sha256}\n",
    }


def test_modes_do_not_depend_on_the_umask_or_the_checkouts_own(cache: Cache, image: Path, tmp_path: Path) -> None:
    step = wheel_step(cache, image)
    (image / "Dockerfile").chmod(0o664)
    found = []
    for mask in (0o022, 0o077, 0o002):
        before = os.umask(mask)
        try:
            found.append(modes(lay_out(step, cache, tmp_path / f"work{mask}")))
        finally:
            os.umask(before)
    assert found[0] == found[1] == found[2]
    executable = {name for name, mode in found[0].items() if mode == 0o755}
    assert executable == {"context/setup", "tools/install-wheels", "tools/uv", "tools/uvx"}
    assert set(found[0].values()) == {0o755, 0o644}


def test_directories_are_open_whatever_the_umask(cache: Cache, image: Path, tmp_path: Path) -> None:
    write(image / "patches/more/two.patch", "text")
    before = os.umask(0o077)
    try:
        made = lay_out(wheel_step(cache, image), cache, tmp_path / "work")
    finally:
        os.umask(before)
    for name in ("patches", "patches/more"):
        assert stat.S_IMODE((made.context / name).stat().st_mode) == 0o755


def test_inputs_are_not_copied(cache: Cache, image: Path, tmp_path: Path) -> None:
    made = lay_out(wheel_step(cache, image), cache, tmp_path / "work")
    name = "thing-1.0-py3-none-any.whl"
    assert (made.inputs / name).samefile(cache.path(lock_bytes(THING).sha256))


def test_packages_become_a_first_root_file_system(cache: Cache, image: Path, tmp_path: Path) -> None:
    data = make_deb(tmp_path / "a.deb", [("./bin/sh", b"shell")]).read_bytes()
    put_in_cache(cache, data)
    file = lock_bytes(data, file="dash_1_amd64.deb", kind="deb")
    step = Step("base", make_image(image, cells=False), None, (file,), (), EPOCH, {}, "1" * 64)
    made = lay_out(step, cache, tmp_path / "work")
    with tarfile.open(made.context / "stage1.tar") as tar:
        assert "usr/bin/sh" in tar.getnames()
    assert [path.name for path in made.inputs.iterdir()] == ["dash_1_amd64.deb"]
    assert list(made.tools.iterdir()) == [], "what needs no tools is given none"
    assert estimate_unpacked(step, cache) == 5 * len(data)


def test_wheels_are_measured_unpacked(cache: Cache, image: Path) -> None:
    assert estimate_unpacked(wheel_step(cache, image), cache) == 10_001


def test_a_full_disk_is_undecided(cache: Cache, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(source: object, destination: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("scripts.build.inputs.shutil.copyfile", fill)
    with pytest.raises(Undecided, match="the disk is full"):
        lay_out(wheel_step(cache, image), cache, tmp_path / "work")


def test_an_input_that_the_cache_lacks_is_no_silent_gap(cache: Cache, image: Path, tmp_path: Path) -> None:
    step = wheel_step(cache, image)
    missing: LockedFile = step.files[0]
    cache.path(missing.sha256).unlink()
    with pytest.raises(FileNotFoundError):
        lay_out(step, cache, tmp_path / "work")


# --- wheels cut down to a target


def test_a_step_that_keeps_its_wheels_is_itself(cache: Cache, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "slim_files", None)
    step = wheel_step(cache, image)
    assert slim_step(step, cache) is step


def test_a_step_for_a_gpu_installs_slimmed_wheels_and_keeps_its_id(
    cache: Cache, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_wheel(thing__init="x")
    put_in_cache(cache, data)
    small = lock_bytes(data, file="thing-1.0+sm120-py3-none-any.whl", version="1.0+sm120")
    asked: list[str] = []

    def slim_files(files: tuple[LockedFile, ...], compute: str, cache: Cache, update: object) -> list[SlimmedFile]:
        asked.append(compute)
        return [SlimmedFile(file, small if file.name == "thing" else file) for file in files]

    monkeypatch.setattr(module, "slim_files", slim_files)
    step = dataclasses.replace(wheel_step(cache, image), slim="12.0")
    slimmed = slim_step(step, cache)
    other, thing = step.files
    assert asked == ["12.0"] and slimmed.files == (other, small)
    assert slimmed.build_id == step.build_id, "the id was known before, from what goes in and how it is cut"
    assert slimmed.tools == step.tools, "the installer is not installed"
    before, after = other.size + thing.size, other.size + small.size
    assert f"{before} B of wheels became {after} B" in capsys.readouterr().err
    made = lay_out(slimmed, cache, tmp_path / "work")
    assert f"thing==1.0+sm120 --hash=sha256:{small.sha256}" in (made.inputs / "requirements.txt").read_text()
    assert not (made.inputs / thing.file).exists()
