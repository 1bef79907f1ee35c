"""Layers are made once: their bytes depend on their wheels alone, and nothing half-made is ever taken for one."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard

from scripts.assemble import groups, layers
from scripts.assemble.layer import write_layer
from scripts.assemble.layers import Distribution, KeptLayer, LayerPress
from scripts.errors import Undecided
from scripts.model import Compression
from tests.unit.assemble.kit import MODULES, FakeCompiler, make_distribution


@pytest.fixture(autouse=True)
def _small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    real = groups.group
    monkeypatch.setattr(layers, "group", lambda sizes: real(sizes, large=2000))


@pytest.fixture
def three(tmp_path: Path) -> list[Distribution]:
    """A large distribution with a module, a large one without, and two small ones."""
    return [
        make_distribution(tmp_path / "w", "large", large_py=b"x = 1\n" + b"#" * 3000),
        make_distribution(tmp_path / "w", "data", data__blob=b"d" * 3000),
        make_distribution(tmp_path / "w", "one", one_py=b"one = 1\n", shared_py=b"same = 1\n"),
        make_distribution(tmp_path / "w", "two", two_py=b"two = 2\n", shared_py=b"same = 1\n"),
    ]


def press(
    folder: Path,
    distributions: Sequence[Distribution],
    compiler: FakeCompiler | None = None,
    *,
    compression: Compression = "zstd",
    build: str = "3.11.2",
    work: str = "work",
) -> list[KeptLayer]:
    made = LayerPress(folder / "kept", "3.11", build, compression)
    return made.press(distributions, folder / work, compiler or FakeCompiler(), lambda text: None)


def digests(made: Sequence[KeptLayer]) -> dict[tuple[str, ...], str]:
    return {layer.names: layer.packed.digest for layer in made}


def contents(layer: KeptLayer) -> dict[str, bytes]:
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(layer.blob.read_bytes())) as reader:
        data = reader.read()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isreg()}  # type: ignore[union-attr]


def test_a_layer_has_its_files_their_byte_code_and_a_record_of_both(tmp_path: Path, three: list[Distribution]) -> None:
    made = press(tmp_path, three)
    assert [layer.names for layer in made] == [("data",), ("large",), ("one", "two")]
    found = contents(made[2])
    assert found[f"{MODULES}/shared.py"] == b"same = 1\n", "once, though two have it"
    assert f"{MODULES}/__pycache__/two.cpython-311.pyc" in found
    for name in ("one", "two"):
        record = found[f"{MODULES}/{name}-1.0.dist-info/RECORD"].decode()
        assert f"__pycache__/{name}.cpython-311.pyc," in record
    assert made[0].blob.stat().st_mode & 0o777 == 0o444


def test_bytes_depend_on_the_wheels_of_a_layer_alone(
    tmp_path: Path, three: list[Distribution], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = digests(press(tmp_path / "a", three))
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert digests(press(tmp_path / "b", three[::-1])) == first, "another order, folder and number of threads"
    other = make_distribution(tmp_path / "o", "other", other_py=b"y = 2\n" + b"#" * 3000)
    cell = digests(press(tmp_path / "c", [three[0], other]))
    assert cell[("large",)] == first[("large",)], "another cell's wheels are no part of it"


def test_another_python_or_packer_is_another_layer(tmp_path: Path, three: list[Distribution]) -> None:
    compiler = FakeCompiler()
    press(tmp_path, three, compiler)
    press(tmp_path, three, compiler, build="3.11.9", work="b")
    assert len(compiler.asked) == 2
    press(tmp_path, three, compiler, compression="gzip", work="c")
    assert len(compiler.asked) == 2, "byte code has nothing to do with packing"
    assert len(list((tmp_path / "kept/layers").glob("*/*/layer.json"))) == 9


def test_what_was_made_once_is_neither_packed_nor_compiled_again(
    tmp_path: Path, three: list[Distribution], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, compiler = press(tmp_path, three), FakeCompiler()
    monkeypatch.setattr(layers, "write_layer", None)
    assert press(tmp_path, three, compiler, work="again") == first
    assert compiler.asked == []


def test_a_layer_cut_short_is_made_again(tmp_path: Path, three: list[Distribution]) -> None:
    first = press(tmp_path, three)
    first[0].blob.chmod(0o644)
    first[0].blob.write_bytes(b"")
    assert press(tmp_path, three, work="again") == first
    assert first[0].blob.stat().st_size == first[0].packed.size


def test_a_damaged_layer_of_the_same_size_is_dropped_and_made_anew(tmp_path: Path, three: list[Distribution]) -> None:
    first = press(tmp_path, three)
    sound, blob = first[1].blob.read_bytes(), first[1].blob
    blob.chmod(0o644)
    blob.write_bytes(sound[::-1])
    made = LayerPress(tmp_path / "kept", "3.11", "3.11.2", "zstd")
    made.drop_damaged(first)
    assert [layer.blob.exists() for layer in first] == [True, False, True]
    assert press(tmp_path, three, work="again") == first and blob.read_bytes() == sound


@pytest.mark.parametrize("error", [Undecided("no engine"), KeyboardInterrupt()])
def test_a_compiler_that_fails_ends_those_that_wait_for_it(
    tmp_path: Path, three: list[Distribution], error: BaseException
) -> None:
    def fail(name: str) -> None:
        raise error

    with pytest.raises(type(error)):
        press(tmp_path, three, FakeCompiler(before=fail))
    kept = tmp_path / "kept"
    assert not list(kept.glob("bytecode/*/*")), "nothing half-made"
    assert {path.parent.name for path in kept.glob("layers/*/*/*")} == {
        path.parent.name for path in kept.glob("layers/*/*/layer.json")
    }
    assert len(press(tmp_path, three, work="again")) == 3


def test_a_packer_that_fails_leaves_nothing_half_made(
    tmp_path: Path, three: list[Distribution], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(entries: Any, folder: Path, *arguments: Any) -> Any:
        write_layer(entries, folder, *arguments)
        raise Undecided("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(layers, "write_layer", fail)
        with pytest.raises(Undecided, match="full"):
            press(tmp_path, three)
    assert not list((tmp_path / "kept/layers").glob("*/*"))
    compiler = FakeCompiler()
    assert len(press(tmp_path, three, compiler, work="again")) == 3
    assert compiler.asked == [], "the byte code was complete"
