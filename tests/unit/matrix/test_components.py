"""What people write into images/*/components/*/*.toml: every mistake is named with its place, all of them at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.matrix import Memory, Source, load_matrix
from scripts.matrix.components import ComponentLine
from tests.unit.builders import edit, write, write_component
from tests.unit.matrix.serve import problems_of

TOML = "images/serve/components/kernels/1.0.toml"
SERVE_TOML = "images/serve/image.toml"
PLACE = f"{TOML}: "


@pytest.fixture
def root(root: Path) -> Path:
    return write_component(root)


# --- what was written is what is read


def test_a_component_is_read_with_all_that_it_says(root: Path) -> None:
    component = load_matrix(root).components["kernels-1.0"]
    assert (component.name, component.version, component.distribution) == ("kernels", "1.0", "serve-kernels")
    assert (component.image, component.place, component.script) == (
        "serve",
        TOML,
        root / "images/serve/components/kernels/build",
    )
    assert component.memory == Memory(1.5, (("*fp4*", 11.0),))
    assert component.arguments == {"SWITCH": "1"}
    assert component.lines == {"12.8": ComponentLine(("torch==2.0",), ("cuda-bindings",), {"MODE": "old"})}
    assert (component.units, component.cpu_minutes) == (110, 80)
    assert component.requirements_for("12.8") == ("cmake>=3.26,<4", "torch==2.0")
    assert component.absent_for("12.8") == ("triton", "cuda-bindings")
    main, tree, archive, other = component.sources
    assert main == Source("kernels", sdist="serve-kernels==1.0")
    assert tree == Source(
        "attention",
        repository="https://example.com/attention",
        commit="1" * 40,
        pin="cmake/attention.cmake",
        submodules=("csrc/cutlass",),
        variable="ATTENTION_DIR",
    )
    assert (archive.sha256, archive.size, archive.submodules) == ("a" * 64, 0, None)
    assert (other.lines, other.folder) == (("13.0",), "3rdparty/cutlass")


def test_sources_are_those_of_a_line(root: Path) -> None:
    component = load_matrix(root).components["kernels-1.0"]
    assert [source.name for source in component.sources_for("12.8")] == ["kernels", "attention", "kit"]
    assert [source.name for source in component.sources_for("13.0")] == ["kernels", "attention", "kit", "cutlass"]


def test_patches_are_this_versions_in_order(root: Path) -> None:
    folder = root / "images/serve/components/kernels/patches"
    for name in ("1.0/0002-b.patch", "1.0/0001-a.patch", "1.0/note.txt", "2.0/0001-c.patch"):
        write(folder / name, "")
    found = load_matrix(root).components["kernels-1.0"].patches()
    assert [path.name for path in found] == ["0001-a.patch", "0002-b.patch"]


def test_no_submodules_is_not_the_same_as_all(root: Path) -> None:
    edit(root / TOML, 'submodules = ["csrc/cutlass"]', "submodules = []")
    assert load_matrix(root).components["kernels-1.0"].sources[1].submodules == ()
    edit(root / TOML, "submodules = []\n", "")
    assert load_matrix(root).components["kernels-1.0"].sources[1].submodules is None


# --- mistakes


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # --- keys
        ("distribution =", "distributions =", "unknown key `distributions` next: did you mean `distribution`?"),
        ('distribution = "serve-kernels"\n', "", "missing key `distribution`"),
        ("cpu_minutes", "cpu_hours", "[cost]: unknown key `cpu_hours`"),
        ("unit = 1.5", "units = 1.5", "[memory]: unknown key `units` next: did you mean `unit`?"),
        ("gib = 11", "gb = 11", "[memory.heavy.1]: unknown key `gb`"),
        (
            'sdist = "serve-kernels==1.0"',
            'sdst = "x"',
            "[source.1]: expected one of sdist, url, repository, found none",
        ),
        ("variable =", "variables =", "[source.2]: unknown key `variables` next: did you mean `variable`?"),
        # --- values
        ("unit = 1.5", "unit = 0", "[memory.unit]: must be more than 0"),
        ("*fp4*", "*fp4 *", "[memory.heavy.1.units]: expected a pattern without spaces"),
        ('"serve-kernels"', '"Serve_Kernels"', "[distribution]: `Serve_Kernels` is spelled `serve-kernels`"),
        ("cmake>=3.26,<4", "cmake=>3", "[requirements]: `cmake=>3`: "),
        ("torch==2.0", "torch==", '[lines."12.8".requirements]: `torch==`: '),
        ("SWITCH", "switch", "[arguments.switch]: `switch` is not a variable's name"),
        ('[lines."12.8"]', '[lines."12.7"]', "[lines]: unknown CUDA line `12.7` next: one of: 12.8, 13.0"),
        (
            "serve-kernels==1.0",
            "serve-kernels>=1.0",
            "[source.1.sdist]: `serve-kernels>=1.0`: expected `name==version`",
        ),
        ("1" * 40, "1" * 39, "[source.2.commit]: "),
        (
            '"https://example.com/attention"',
            '"git@example.com:x"',
            "[source.2.repository]: `git@example.com:x`: expected",
        ),
        ("https://example.com/kit", "http://example.com/kit", "[source.3.url]: "),
        ("a" * 64, "A" * 64, "[source.3.sha256]: "),
        ("ATTENTION_DIR", "attention-dir", "[source.2.variable]: "),
        ("3rdparty/cutlass", "../cutlass", "[source.4.folder]: `../cutlass` leads out of the source"),
        ("cmake/attention.cmake", "/etc/passwd", "[source.2.pin]: `/etc/passwd` leads out of the source"),
        ('name = "kit"', 'name = "a b"', "[source.3.name]: `a b`: expected a name"),
        ('lines = ["13.0"]', 'lines = ["13.1"]', "[source.4.lines]: unknown CUDA line `13.1`"),
        # --- what does not go together
        ('name = "kit"', 'name = "kernels"', "[source]: `kernels` stands twice for CUDA 12.8"),
        ('name = "kernels"', 'name = "kernels"\nlines = ["12.8"]', "[source]: the first source is the main one"),
        ('name = "kernels"', 'name = "kernels"\npin = "x"', "[source.1.pin]: an sdist is what its version says"),
        ('name = "kit"', 'name = "kit"\ntag = "v1"', "[source.3.tag]: is said of a git repository alone"),
        (
            'name = "kit"',
            'name = "kit"\nsdist = "kit==1"',
            "[source.3]: expected one of sdist, url, repository, found sdist",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(old: str, new: str, expected: str, root: Path) -> None:
    edit(root / TOML, old, new)
    assert any(problem.startswith(PLACE) and expected in problem for problem in problems_of(root)), problems_of(root)


def test_a_repository_needs_a_commit_or_a_pin(root: Path) -> None:
    edit(root / TOML, f'commit = "{"1" * 40}"\n', "")
    load_matrix(root)
    edit(root / TOML, 'pin = "cmake/attention.cmake"\n', "")
    cause = "missing key `commit`, or `pin`: the file in which upstream's build names it"
    assert problems_of(root) == [f"{TOML}: [source.2]: {cause} next: write one of them"]


def test_all_mistakes_are_said_at_once(root: Path) -> None:
    edit(root / TOML, "unit = 1.5", "unit = 0")
    edit(root / TOML, "1" * 40, "1")
    edit(root / SERVE_TOML, "licenses", "licences")
    assert len(problems_of(root)) >= 3


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("images/serve/components/other/1.0.toml", None, "there is no build script beside it"),
        ("images/serve/components/Bad Name/1.0.toml", None, "the folder's name `Bad Name` cannot be part of a name"),
        ("images/serve/components/kernels/next.toml", None, "the file's name `next` is not a version"),
        ("images/train/components/kernels/1.0.toml", None, "`kernels-1.0` is also images/serve's"),
        ("images/serve/components/kernels/2.0.toml", None, "no recipe compiles it"),
        ("images/serve/components/kernels/2.0.toml", "x =", "2.0.toml: Invalid value"),
    ],
)
def test_files_that_cannot_be_meant_are_refused(file: str, text: str | None, expected: str, root: Path) -> None:
    write(root / file, (root / TOML).read_text() if text is None else text)
    assert any(expected in problem for problem in problems_of(root)), problems_of(root)


@pytest.mark.parametrize(
    ("compile_list", "expected"),
    [
        ('["kernels-1.1"]', "[recipe.source.12.8.compile]: unknown component `kernels-1.1` next: one of: kernels-1.0"),
        ('["kernels-1.0", "kernels-1.0"]', "`kernels-1.0` stands twice"),
        ("[]", "expected a list of strings, with at least one"),
    ],
)
def test_a_recipe_compiles_what_is_there_once(compile_list: str, expected: str, root: Path) -> None:
    edit(root / SERVE_TOML, 'compile = ["kernels-1.0"]', f"compile = {compile_list}")
    assert any(expected in problem for problem in problems_of(root)), problems_of(root)


def test_two_versions_of_one_thing_are_not_compiled_together(root: Path) -> None:
    text = (root / TOML).read_text()
    write(root / "images/serve/components/kernels/2.0.toml", text)
    edit(root / SERVE_TOML, '["kernels-1.0"]', '["kernels-1.0", "kernels-2.0"]')
    assert any("`serve-kernels` would be compiled twice" in problem for problem in problems_of(root))


def test_a_component_is_compiled_for_its_own_lines_alone(root: Path) -> None:
    edit(root / TOML, '[lines."12.8"]', '[lines."13.0"]')
    assert any(f'kernels-1.0 is not for CUDA 12.8 next: add [lines."12.8"] to {TOML}' in p for p in problems_of(root))


# --- what else recipes say about what they are solved from


def test_requirements_that_count_instead_of_others_are_read(root: Path) -> None:
    edit(root / SERVE_TOML, 'absent = ["triton"]', 'absent = ["triton"]\noverride = ["cuda-python>=12,<13"]')
    assert load_matrix(root).images["serve"].recipes["wheel", "cpu"].override == ("cuda-python>=12,<13",)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ('["x =="]', "[recipe.wheel.cpu.override]: `x ==`: "),
        ('["Triton>=3"]', "[recipe.wheel.cpu.override]: `triton` stands twice, or in `absent` as well"),
        ('["a_b>1", "a-b[x]<3"]', "`a-b` stands twice, or in `absent` as well next: leave one of them"),
    ],
)
def test_an_override_that_cannot_be_followed_is_refused(override: str, expected: str, root: Path) -> None:
    edit(root / SERVE_TOML, 'absent = ["triton"]', f'absent = ["triton"]\noverride = {override}')
    assert any(expected in problem for problem in problems_of(root)), problems_of(root)


def test_archives_of_a_recipe_are_read_and_checked(root: Path) -> None:
    archive = '[[recipe.source."12.8".archives]]\nfile = "nvcc-linux-12.8-archive.tar.xz"\nsize = 5\n'
    archive += f'sha256 = "{"b" * 64}"\nurl = "https://example.com/nvcc.tar.xz"\n'
    edit(root / SERVE_TOML, "[[scenario]]", f"{archive}[[scenario]]")
    [found] = load_matrix(root).images["serve"].recipes["source", "12.8"].archives
    assert (found.file, found.size) == ("nvcc-linux-12.8-archive.tar.xz", 5)
    edit(root / SERVE_TOML, "https://example.com/nvcc", "http://example.com/nvcc")
    edit(root / SERVE_TOML, "b" * 64, "b" * 63)
    assert len(problems_of(root)) == 2
