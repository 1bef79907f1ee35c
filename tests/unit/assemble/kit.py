"""Distributions, compilers and builders made by hand, for the tests of what puts images together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from scripts.assemble.byte_compile import compile_folder
from scripts.assemble.layers import Distribution
from scripts.assemble.prepare import Wheel
from scripts.assemble.wheel import read_wheel
from scripts.files import sha256_file
from tests.unit.assemble import WHEEL, write_wheel
from tests.unit.buildkit.streams import FakeBuilder
from tests.unit.oci.made import MadeImage

MODULES = "opt/venv/lib/python3.11/site-packages"


def make_wheel(folder: Path, name: str, **files: bytes) -> Wheel:
    """A wheel of files; in their names `__` is a slash and `_py` the end of a module's."""
    members = {key.replace("__", "/").replace("_py", ".py"): data for key, data in files.items()}
    info = f"{name}-1.0.dist-info"
    members |= {f"{info}/METADATA": f"Name: {name}\nVersion: 1.0\n".encode(), f"{info}/WHEEL": WHEEL}
    file = f"{name}-1.0-py3-none-any.whl"
    path = write_wheel(folder, members, file, info=info)
    return Wheel(name, "1.0", file, sha256_file(path), path)


def make_distribution(folder: Path, name: str, **files: bytes) -> Distribution:
    wheel = make_wheel(folder, name, **files)
    return Distribution(wheel, read_wheel(wheel.path, "3.11", wheel.file))


@dataclasses.dataclass
class FakeCompiler:
    """Compiles in this process; `asked` are the wheels, by SHA-256, that it was given in each call."""

    asked: list[list[str]] = dataclasses.field(default_factory=list)
    before: Callable[[str], None] = lambda name: None

    def __call__(self, sources: Path, results: Path, prefix: str, done: Callable[[str], None]) -> None:
        names = sorted(folder.name for folder in sources.iterdir())
        self.asked.append(names)
        for name in names:
            self.before(name)
            compile_folder(str(sources / name), str(results / f"{name}.zip"), prefix)
            done(name)


class LayoutBuilder(FakeBuilder):
    """A builder whose builds come to an image of these layers; `spoil` is done to its folder at the end."""

    def __init__(self, layers: Sequence[bytes], spoil: Callable[[Path], None] = lambda folder: None) -> None:
        super().__init__()
        self.layers, self.spoil = layers, spoil

    def run(self, arguments: Sequence[str], on_line: Callable[[str], None]) -> int:
        output = arguments[list(arguments).index("--output") + 1]
        folder = Path(output.partition("dest=")[2])
        made = MadeImage()
        made.write(folder, made.add(self.layers))
        self.spoil(folder)
        return super().run(arguments, on_line)
