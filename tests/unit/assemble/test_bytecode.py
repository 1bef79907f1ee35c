from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.assemble.bytecode import ByteCode, SandboxCompiler
from scripts.assemble.layers import Distribution, LayerPress
from scripts.assemble.prepare import Wheel
from scripts.assemble.wheel import read_wheel
from scripts.errors import Undecided
from scripts.oci.layout import Layout
from tests.unit.assemble import FILE, write_wheel
from tests.unit.assemble.kit import MODULES, FakeCompiler, make_distribution
from tests.unit.fake_docker import FakeContainer, FakeDocker
from tests.unit.oci.made import MadeImage, make_tar


@pytest.fixture
def item(tmp_path: Path) -> Distribution:
    return make_distribution(tmp_path / "w", "one", one_py=b"x = 1\n", template_py=b"{{ x }} y\n", data=b"d")


def make(kept: Path, item: Distribution, compiler: FakeCompiler, work: Path) -> ByteCode:
    made = ByteCode(kept, "3.11", "3.11.2")
    told: list[str] = []
    made.make({item.wheel.sha256: item.files}, work, compiler, told.append)
    assert told == [item.wheel.sha256]
    return made


def test_byte_code_is_made_once_and_kept(tmp_path: Path, item: Distribution) -> None:
    compiler = FakeCompiler()
    for number in range(2):
        made = make(tmp_path / "kept", item, compiler, tmp_path / str(number))
    assert compiler.asked == [[item.wheel.sha256]]
    [entry] = made.read(item.wheel.sha256, item.files)
    assert (entry.path, entry.mode) == (f"{MODULES}/__pycache__/one.cpython-311.pyc", 0o644)


def test_a_wheel_without_modules_needs_no_compiler(tmp_path: Path) -> None:
    item, compiler = make_distribution(tmp_path / "w", "data", blob=b"d"), FakeCompiler()
    made = make(tmp_path / "kept", item, compiler, tmp_path / "work")
    assert compiler.asked == [] and made.read(item.wheel.sha256, item.files) == []


def test_byte_code_of_what_the_wheel_does_not_have_is_refused(tmp_path: Path, item: Distribution) -> None:
    made = make(tmp_path / "kept", item, FakeCompiler(), tmp_path / "work")
    [archive] = (tmp_path / "kept").glob("*/*.zip")
    with zipfile.ZipFile(archive, "a") as found:
        found.writestr("__pycache__/stranger.cpython-311.pyc", b"")
    with pytest.raises(Undecided, match="nothing that one has"):
        made.read(item.wheel.sha256, item.files)


# --- the container


class Bench:
    def __init__(self, folder: Path, **state: object) -> None:
        made = MadeImage()
        self.layout = Layout.open(made.write(folder / "base", made.add([make_tar(("a", b"a"))])))
        self.docker, self.folder, self.done = FakeDocker(), folder, list[str]()
        self.docker.tags[self.layout.digest] = set()

        def behave(container: FakeContainer) -> None:
            for name, value in state.items():
                assert hasattr(container, name), name
                setattr(container, name, value)

        self.docker.behave = behave

    def run(self) -> None:
        compiler = SandboxCompiler(self.docker.engine(), self.layout)
        compiler(self.folder / "sources", self.folder / "results", f"/{MODULES}", self.done.append)


def test_it_is_compiled_by_the_images_own_python_and_nothing_else_of_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path, stdout=b"done aa\nfailed bb\n")
    bench.run()
    assert bench.done == ["aa"]
    [(image, options)] = bench.docker.created
    assert image == bench.layout.digest
    assert options["entrypoint"][:5] == ["python3", "-S", "-s", "-P", "-B"]
    assert options["environment"] == {"PYTHONHASHSEED": "0"}
    assert [mount["Target"] for mount in options["mounts"] if not mount["ReadOnly"]] == ["/results"]


@pytest.mark.parametrize(
    ("state", "cause"), [({"code": 1}, "ended with 1"), ({"code": 137, "oom_killed": True}, "ended for memory")]
)
def test_a_container_that_fails_is_undecided(tmp_path: Path, state: dict[str, object], cause: str) -> None:
    bench = Bench(tmp_path, stderr=b"SomeError: why", **state)
    with pytest.raises(Undecided, match=cause) as caught:
        bench.run()
    assert "SomeError: why" in str(caught.value)


def tell_nothing(sources: Path, results: Path, prefix: str, done: Callable[[str], None]) -> None:
    """A container that ended well, and whose lines were lost."""


def test_byte_code_that_nobody_was_told_of_is_undecided(tmp_path: Path) -> None:
    files = read_wheel(write_wheel(tmp_path), "3.11")
    with pytest.raises(Undecided, match="no byte code came of odd-tools"):
        ByteCode(tmp_path / "kept", "3.11", "3.11.2").make({"aa": files}, tmp_path / "work", tell_nothing, print)


@pytest.mark.timeout(20)
def test_no_layer_waits_for_it(tmp_path: Path) -> None:
    path = write_wheel(tmp_path)
    item = Distribution(Wheel("odd-tools", "1.0", FILE, "aa", path), read_wheel(path, "3.11"))
    press = LayerPress(tmp_path / "kept", "3.11", "3.11.2", "zstd")
    with pytest.raises(Undecided, match="no byte code came of odd-tools"):
        press.press([item], tmp_path / "work", tell_nothing, lambda text: None)
