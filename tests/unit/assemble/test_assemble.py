"""From a step to an image that was hashed: what lies on top, and what is refused before, on the way and at the end."""

from __future__ import annotations

import dataclasses
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from scripts.assemble import assemble as module
from scripts.assemble.assemble import Workshop
from scripts.assemble.types import Step
from scripts.errors import BuildFailed, ConfigError, Undecided
from scripts.fetch import Cache
from scripts.matrix import Link, Overlap
from scripts.model import LockedFile
from scripts.oci.layout import Layout
from tests.unit.assemble.kit import MODULES, FakeCompiler, LayoutBuilder, make_wheel
from tests.unit.builders import EPOCH, make_image, put_in_cache, write
from tests.unit.oci.made import MadeImage, make_tar

BASE = make_tar(("etc/base", b"base"))
KEEP_TWO = (Overlap("same.py", "two", "why"),)


class Lab:
    """A base, a server's step on it with two wheels, and a workshop whose builder adds one small layer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = Cache(folder / "cache")
        self.compiler = FakeCompiler()
        self.builder = LayoutBuilder([BASE, make_tar(("etc/shell", b"shell"))])
        self.builder.disk = folder
        made = MadeImage()
        self.parent = Layout.open(made.write(folder / "base", made.add([BASE])))
        write(folder / "image/Dockerfile", "FROM base\n")
        self.image = make_image(folder / "image")
        base = Step("base", self.image, None, (), EPOCH, {})
        files = (self.wheel("one", same_py=b"one = 1\n", one_py=b"a = 1\n"), self.wheel("two", two_py=b"b = 1\n"))
        self.step = Step("serve-cpu", self.image, base, files, EPOCH, {}, python="3.11.2", build_id="1" * 64)

    def wheel(self, name: str, **files: bytes) -> LockedFile:
        wheel = make_wheel(self.folder / "wheels", name, **files)
        put_in_cache(self.cache, wheel.path.read_bytes())
        return LockedFile("wheel", name, "1.0", wheel.file, wheel.sha256, wheel.path.stat().st_size)

    def assemble(self, work: str = "work", *, cached: bool = True, **changes: Any) -> Layout:
        step = dataclasses.replace(self.step, **changes)
        workshop = Workshop(self.builder, self.cache, lambda layout: self.compiler)
        folder = self.folder / work
        return workshop.assemble(step, self.parent, folder, folder / "build.log", cached=cached)

    def disputed(self) -> tuple[LockedFile, ...]:
        return (self.step.files[0], self.wheel("two", same_py=b"two = 2\n"))


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def read(layout: Layout, number: int) -> dict[str, str | bytes]:
    """A layer's files with their bytes, and its links with their targets."""
    data = layout.blob_path(layout.layers[number].digest).read_bytes()
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)) as reader:
        plain = reader.read()
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        return {
            member.name: member.linkname or tar.extractfile(member).read()  # type: ignore[union-attr]
            for member in tar
            if not member.isdir()
        }


def test_an_image_is_its_shell_its_distributions_and_its_environment(lab: Lab) -> None:
    made = lab.assemble(links=(Link("/opt/venv/lib/first", f"/{MODULES}/one.py", "why"),))
    made.verify()
    assert len(made.layers) == 4
    assert read(made, 2)[f"{MODULES}/one.py"] == b"a = 1\n"
    last = read(made, 3)
    assert last.pop("opt/venv/pyvenv.cfg") == (
        b"home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11.2\nexecutable = /usr/bin/python3.11\n"
    )
    assert last == {
        "opt/venv/bin/python": "python3",
        "opt/venv/bin/python3": "/usr/bin/python3",
        "opt/venv/bin/python3.11": "python3",
        "opt/venv/lib/first": f"/{MODULES}/one.py",
        "opt/venv/lib64": "lib",
    }
    history = [entry["created_by"] for entry in made.read_config()["history"]]
    assert history == [*["hallmark: Dockerfile"] * 2, "hallmark: one 1.0, two 1.0", "hallmark: environment"]


def test_two_runs_give_one_digest_with_the_cache_or_without(lab: Lab) -> None:
    first = lab.assemble("a")
    assert lab.assemble("b").digest == first.digest and len(lab.compiler.asked) == 1
    assert lab.assemble("c", cached=False).digest == first.digest
    assert len(lab.compiler.asked) == 2, "without the cache all of it is made again"
    assert "--no-cache" in lab.builder.ran[-1] and "--no-cache" not in lab.builder.ran[0]


def test_a_shell_stands_on_its_parent_by_digest(lab: Lab) -> None:
    lab.assemble()
    [command] = lab.builder.ran
    assert f"base=oci-layout://{lab.parent.folder}@{lab.parent.digest}" in command
    assert f"org.opencontainers.image.base.digest={lab.parent.digest}" in command
    assert f"SOURCE_DATE_EPOCH={EPOCH}" in command


def test_a_step_without_wheels_is_its_shell(lab: Lab) -> None:
    assert len(lab.assemble(files=()).layers) == 2
    assert lab.compiler.asked == []


def test_different_bytes_at_one_path_are_refused_and_both_are_named(lab: Lab) -> None:
    with pytest.raises(ConfigError, match=r"one and two write one path with different bytes: same\.py") as caught:
        lab.assemble(files=lab.disputed())
    assert caught.value.problems[0].place == "images/serve/image.toml"
    assert not list(lab.cache.root.glob("layers/*/*"))


def test_what_a_rule_keeps_lies_on_top_of_all_layers(lab: Lab) -> None:
    made = lab.assemble(files=lab.disputed(), overlaps=KEEP_TWO)
    assert read(made, 3)[f"{MODULES}/same.py"] == b"two = 2\n"
    assert read(made, 2)[f"{MODULES}/same.py"] == b"one = 1\n"


def test_a_rule_that_decides_nothing_is_refused(lab: Lab) -> None:
    with pytest.raises(ConfigError, match="decides nothing"):
        lab.assemble(overlaps=KEEP_TWO)


def cut(number: int) -> Callable[[Path], None]:
    """Damage to a layout's blob of this number, largest first: other bytes of the same length."""

    def spoil(folder: Path) -> None:
        blob = sorted((folder / "blobs/sha256").iterdir(), key=lambda path: (-path.stat().st_size, path.name))[number]
        blob.write_bytes(blob.read_bytes()[::-1])

    return spoil


def test_a_shell_whose_bytes_are_not_what_they_say_is_refused(lab: Lab) -> None:
    lab.builder.spoil = cut(0)
    with pytest.raises(BuildFailed, match="hashes to"):
        lab.assemble("a", files=())
    with pytest.raises(BuildFailed, match="hashes to"):
        lab.assemble("b")
    assert not (lab.folder / "b/layout").exists(), "nothing is laid on it"


def test_a_kept_layer_that_is_damaged_is_found_dropped_and_made_anew(lab: Lab) -> None:
    first = lab.assemble("a")
    [note] = lab.cache.root.glob("layers/*/*/layer.json")
    [blob] = (path for path in note.parent.iterdir() if path != note)
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[::-1])
    with pytest.raises(BuildFailed, match="hashes to"):
        lab.assemble("b")
    assert not note.parent.exists()
    again = lab.assemble("c")
    again.verify()
    assert again.digest == first.digest


def test_a_disk_that_is_too_small_stops_it_before_anything_begins(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    huge = tuple(LockedFile("wheel", f.name, f.version, f.file, f.sha256, 10**9) for f in lab.step.files)
    monkeypatch.setattr(module, "free_bytes", lambda place: 10**9)
    with pytest.raises(Undecided, match=r"building serve-cpu can take 2\.60 GB; 1\.00 GB are free"):
        lab.assemble(files=huge)
    assert lab.builder.pruned and not lab.builder.ran and not lab.compiler.asked


def test_a_disk_that_is_nearly_too_small_is_tidied_first(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    size = round(1.3 * sum(file.size for file in lab.step.files))
    monkeypatch.setattr(module, "free_bytes", lambda place: 2 * size)
    lab.assemble("a")
    assert not lab.builder.pruned
    monkeypatch.setattr(module, "free_bytes", lambda place: 2 * size - 1)
    lab.assemble("b")
    assert lab.builder.pruned


def test_an_interruption_ends_the_build_of_the_shell(lab: Lab) -> None:
    def interrupt(sources: Path, results: Path, prefix: str, done: Callable[[str], None]) -> None:
        raise KeyboardInterrupt

    workshop = Workshop(lab.builder, lab.cache, lambda layout: interrupt)
    with pytest.raises(KeyboardInterrupt):
        workshop.assemble(lab.step, lab.parent, lab.folder / "work", lab.folder / "build.log")
    assert lab.builder.stopped == 1
    assert lab.builder.ran and lab.assemble("again").layers, "the next run goes on"
