"""Laying a step's inputs out as BuildKit's contexts: the image's own files, its locked inputs, and the tools."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

from scripts.build.rootfs import write_rootfs
from scripts.build.steps import INSTALLER, Step, is_executable, list_context
from scripts.console import note
from scripts.console import step as announce
from scripts.fetch import Cache
from scripts.files import format_size, link_or_copy, naming_disk_full
from scripts.slim.wheel.cached import slim_files

# How much larger Debian packages are once installed, measured on images/base; a disk check needs no more than that.
_DEB_RATIO = 5


@dataclass(frozen=True)
class Inputs:
    """Three folders: `context` is the build's own, `inputs` and `tools` are bind-mounted under those names."""

    context: Path
    inputs: Path
    tools: Path


def lay_out(step: Step, cache: Cache, folder: Path) -> Inputs:
    """Make the contexts of a step under a folder. The cache's files get a second name there, not a second copy."""
    made = Inputs(folder / "context", folder / "inputs", folder / "tools")
    for path in (made.context, made.inputs, made.tools):
        path.mkdir(parents=True)
    for path in list_context(step.image):
        _copy(path, made.context / path.relative_to(step.image.folder), executable=is_executable(path))
    for directory in (path for path in made.context.rglob("*") if path.is_dir()):
        directory.chmod(0o755)
    for file in step.files:
        link_or_copy(cache.path(file.sha256), made.inputs / file.file)
    if all(file.kind == "deb" for file in step.files):
        write_rootfs([cache.path(file.sha256) for file in step.files], made.context / "stage1.tar")
    else:
        pins = (f"{file.name}=={file.version} --hash=sha256:{file.sha256}\n" for file in step.files)
        (made.inputs / "requirements.txt").write_text("".join(pins))
    if step.tools:
        _copy(INSTALLER, made.tools / "install-wheels", executable=True)
        for file in step.tools:
            _extract_programs(cache.path(file.sha256), made.tools)
    return made


def slim_step(step: Step, cache: Cache) -> Step:
    """The step with its wheels as they will be installed: cut down to the target's code, where it asks for that."""
    if not step.slim:
        return step
    with announce(step.name, "slim") as update:
        slimmed = slim_files(step.files, step.slim, cache, update)
    before, after = sum(file.source.size for file in slimmed), sum(file.used.size for file in slimmed)
    note(f"{step.name}: {format_size(before)} of wheels became {format_size(after)}")
    return replace(step, files=tuple(file.used for file in slimmed))


def estimate_unpacked(step: Step, cache: Cache) -> int:
    """Bytes that a step's own layer will take unpacked: read off the wheels, a multiple of the packages."""
    return sum(
        _wheel_size(cache.path(file.sha256)) if file.kind == "wheel" else _DEB_RATIO * file.size for file in step.files
    )


def _wheel_size(path: Path) -> int:
    with zipfile.ZipFile(path) as archive:
        return sum(member.file_size for member in archive.infolist())


def _copy(source: Path, destination: Path, *, executable: bool) -> None:
    # Modes are set, not taken over: a checkout's depend on the umask of whoever cloned it.
    destination.parent.mkdir(parents=True, exist_ok=True)
    with naming_disk_full(destination):
        shutil.copyfile(source, destination)
    destination.chmod(0o755 if executable else 0o644)


def _extract_programs(wheel: Path, folder: Path) -> None:
    """The programs that a wheel would install: uv's is one static binary, so it runs in any image."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            if ".data/scripts/" in member.filename and not member.is_dir():
                path = folder / Path(member.filename).name
                path.write_bytes(archive.read(member))
                path.chmod(0o755)
