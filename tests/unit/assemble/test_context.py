from __future__ import annotations

import os
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest

from scripts.assemble.context import Contexts, describe_context, lay_out, list_context
from scripts.assemble.types import Step
from scripts.errors import ConfigError, Undecided
from scripts.fetch import Cache
from scripts.matrix import Image
from tests.unit.builders import EPOCH, lock_bytes, make_image, put_in_cache, write
from tests.unit.debs import make_deb


@pytest.fixture
def image(tmp_path: Path) -> Image:
    folder = tmp_path / "image"
    write(folder / "Dockerfile", "FROM base\n")
    write(folder / "context/patches/one.patch", "text")
    write(folder / "context/setup", "#!/bin/sh\n").chmod(0o755)
    write(folder / "context/__pycache__/a.pyc", "x")
    for name in ("image.toml", "smoke.py", "README.md", "lock/wheel-cpu.toml", "notes.txt"):
        write(folder / name, "not for the build")
    return make_image(folder)


def lay(image: Image, folder: Path, *files: tuple[str, str, bytes], parent: Step | None = None) -> Contexts:
    """The contexts of an image with these inputs: each by its kind, its file name and its bytes."""
    cache = Cache(folder / "cache")
    for _, _, data in files:
        put_in_cache(cache, data)
    locked = tuple(lock_bytes(data, file=file, kind=kind) for kind, file, data in files)
    return lay_out(Step(image.name, image, parent, locked, EPOCH, {}), cache, folder / "work")


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}


def test_a_build_sees_its_dockerfile_and_its_context_and_nothing_beside_them(image: Image, tmp_path: Path) -> None:
    assert list(list_context(image)) == ["Dockerfile", "patches/one.patch", "setup"] == list(describe_context(image))
    made = lay(image, tmp_path)
    expected = {"Dockerfile": 0o644, "patches": 0o755, "patches/one.patch": 0o644, "setup": 0o755}
    assert modes(made.context) == expected
    assert list(made.inputs.iterdir()) == []


def test_modes_do_not_depend_on_the_umask_or_the_checkouts_own(image: Image, tmp_path: Path) -> None:
    (image.folder / "Dockerfile").chmod(0o664)
    found = []
    for mask in (0o022, 0o077, 0o002):
        before = os.umask(mask)
        try:
            found.append(modes(lay(image, tmp_path / str(mask)).context))
        finally:
            os.umask(before)
    assert found[0] == found[1] == found[2]


def test_a_link_in_the_context_is_refused(image: Image) -> None:
    (image.folder / "context/link").symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match="images/serve/context/link: a link in a build's context"):
        list_context(image)


def test_a_pipe_in_the_context_is_refused(image: Image) -> None:
    os.mkfifo(image.folder / "context/pipe")
    with pytest.raises(ConfigError, match="images/serve/context/pipe: is no ordinary file"):
        list_context(image)


def test_a_context_that_leads_nowhere_is_not_an_empty_one(image: Image) -> None:
    (image.folder / "context").rename(image.folder / "away")
    (image.folder / "context").symlink_to("nowhere")
    with pytest.raises(ConfigError, match="a build's context cannot be read"):
        list_context(image)


@pytest.mark.parametrize("name", ["Dockerfile", "setup"])
def test_a_file_that_cannot_be_read_is_refused(name: str, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != name)  # root can read everything
    with pytest.raises(ConfigError, match=f"images/serve/.*{name}: cannot be read"):
        list_context(image)


def test_an_image_without_a_dockerfile_is_refused(image: Image) -> None:
    (image.folder / "Dockerfile").unlink()
    with pytest.raises(ConfigError, match="there is no Dockerfile"):
        list_context(image)


def test_packages_are_linked_and_become_a_first_root_file_system(image: Image, tmp_path: Path) -> None:
    package = make_deb(tmp_path / "kept", [("./bin/sh", b"shell")]).read_bytes()
    made = lay(image, tmp_path, ("deb", "dash_1_amd64.deb", package))
    cached = Cache(tmp_path / "cache").path(lock_bytes(package).sha256)
    assert (made.inputs / "dash_1_amd64.deb").samefile(cached)
    with tarfile.open(made.context / "stage1.tar") as tar:
        assert "usr/bin/sh" in tar.getnames()


def test_an_image_on_another_has_packages_and_archives_as_they_are_and_no_wheel_among_them(
    image: Image, tmp_path: Path
) -> None:
    base = Step("base", image, None, (), EPOCH, {})
    package = make_deb(tmp_path / "kept", [("./bin/sh", b"shell")]).read_bytes()
    files = (("deb", "dash_1_amd64.deb", package), ("archive", "nvcc.tar.xz", b"archive"), ("wheel", "a.whl", b"wheel"))
    made = lay(image, tmp_path, *files, parent=base)
    assert sorted(path.name for path in made.inputs.iterdir()) == ["dash_1_amd64.deb", "nvcc.tar.xz"]
    assert (made.inputs / "nvcc.tar.xz").read_bytes() == b"archive"
    assert not (made.context / "stage1.tar").exists()


def test_a_full_disk_is_undecided(image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(source: object, destination: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("scripts.assemble.context.shutil.copyfile", fill)
    with pytest.raises(Undecided, match="the disk is full"):
        lay(image, tmp_path)


def test_a_folder_that_cannot_be_read_is_no_empty_folder(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in it would be in no build and no build id."""
    scan = os.scandir

    def refuse(path: str) -> Any:
        if str(path).endswith("patches"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ConfigError, match=r"patches: a build's context cannot be read: Permission denied"):
        list_context(image)
