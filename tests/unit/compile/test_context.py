"""What a compile step finds: the shared program, the component's files, and a table of its sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.assemble.types import CompileStep, SourceTree, Step
from scripts.compile.context import lay_out, render_memory, render_source, render_variables
from scripts.errors import ConfigError
from scripts.fetch import Cache
from scripts.matrix import Component, Memory
from scripts.model import LockedTree
from tests.unit.builders import lock_bytes, make_image, put_in_cache

SDIST = lock_bytes(b"sources", file="thing-1.0.tar.gz", kind="sdist")
TREE = LockedTree("dep", "https://example.com/dep", "c" * 40)


def make_step(tmp_path: Path) -> CompileStep:
    folder = tmp_path / "images/x/components/thing"
    (folder / "patches/1.0").mkdir(parents=True)
    (folder / "build").write_text("#!/bin/sh\n")
    (folder / "patches/1.0/0002-b.patch").write_text("b")
    (folder / "patches/1.0/0001-a.patch").write_text("a")
    component = Component("thing", "1.0", folder, "thing", (), Memory(1.5, (("*fp4*", 10.0),)), (), {})
    environment = Step("environment", make_image(tmp_path), None, (), 0, {})
    sources = (SourceTree("thing", SDIST), SourceTree("dep", TREE, "include", "DEP_DIR"))
    return CompileStep("thing-1.0-cu130-sm120", component, environment, sources, {"COMPUTE": "12.0", "TEXT": "a 'b'"})


def test_everything_lies_where_the_program_looks(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    put_in_cache(cache, b"sources")
    tree = cache.tree(TREE)
    tree.parent.mkdir(parents=True)
    tree.write_bytes(b"tree")
    program = tmp_path / "program"
    program.mkdir()
    (program / "compile").write_text("run")
    made = lay_out(make_step(tmp_path), program, cache, tmp_path / "work", {"CCACHE_RECACHE": "1"})
    assert (made.program / "compile").read_text() == "run"
    assert sorted(path.name for path in (made.component / "patches").iterdir()) == ["0001-a.patch", "0002-b.patch"]
    assert (made.component / "build").stat().st_mode & 0o777 == 0o755
    assert (made.component / "units").read_text() == "10 *fp4*\n1.5 *\n"
    assert (made.component / "environment").read_text() == (
        "export CCACHE_RECACHE=1\nexport COMPUTE=12.0\nexport TEXT='a '\"'\"'b'\"'\"''\n"
    )
    assert (made.component / "sources").read_text().splitlines() == [
        "thing thing-1.0.tar.gz 1 - -",
        f"dep dep-{'c' * 40}.tar 0 include DEP_DIR",
    ]
    assert {path.name: path.read_bytes() for path in made.sources.iterdir()} == {
        "thing-1.0.tar.gz": b"sources",
        f"dep-{'c' * 40}.tar": b"tree",
    }


def test_a_field_with_a_space_is_refused() -> None:
    with pytest.raises(ConfigError, match="a space or nothing in the source's fields"):
        render_source(SourceTree("thing", SDIST, "a folder"), "thing.tar.gz")


def test_the_first_rule_that_matches_decides_and_the_last_matches_all() -> None:
    assert render_memory(Memory(2, (("*a*", 3.5), ("*b*", 4)))) == "3.5 *a*\n4 *b*\n2 *\n"


def test_variables_come_in_order_and_quoted() -> None:
    assert render_variables({"B": "$x", "A": ""}) == "export A=''\nexport B='$x'\n"
