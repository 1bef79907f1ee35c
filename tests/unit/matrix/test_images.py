"""What an image's own file says: audit rules, omissions, arguments, and which cells each is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.matrix import AuditRule, Omission, Scope, Suite, load_matrix
from scripts.model import Coverage
from tests.unit.builders import REPOSITORY_ROOT, edit
from tests.unit.matrix.serve import SERVE_TOML, append, problems_of

NATIVE = '[[audit]]\naccept = "native"\nlibraries = ["a.so", "b/*.so"]\n'
MISSING = '[[audit]]\naccept = "missing"\nlibraries = ["c.so"]\nreason = "not called"\n'
OMIT = '[[omit]]\ndistributions = ["big-thing"]\nreason = "not needed"\n'


# --- what was written is what is read


def test_an_image_without_rules_has_none(root: Path) -> None:
    image = load_matrix(root).images["serve"]
    assert (image.audit, image.omissions, image.recipes["wheel", "cpu"].arguments) == ((), (), ())


def test_rules_are_read_in_their_order(root: Path) -> None:
    append(root, NATIVE + MISSING + 'cuda = "12.8"\ncompute = "12.0"\nrecipe = "wheel"\n' + OMIT + 'cuda = "13.0"\n')
    image = load_matrix(root).images["serve"]
    assert image.audit == (
        AuditRule(Coverage.NATIVE, ("a.so", "b/*.so")),
        AuditRule(Coverage.MISSING, ("c.so",), "not called", Scope("12.8", "12.0", "wheel")),
    )
    assert image.omissions == (Omission(("big-thing",), "not needed", Scope("13.0")),)


@pytest.mark.parametrize("grade", ["native", "jit", "partly missing", "missing"])
def test_a_rule_accepts_one_of_four_grades(grade: str, root: Path) -> None:
    append(root, NATIVE.replace("native", grade) + 'reason = "why"\n')
    assert load_matrix(root).images["serve"].audit[0].accept == grade


def test_arguments_are_read_in_their_order(root: Path) -> None:
    edit(root / SERVE_TOML, 'absent = ["triton"]', 'absent = ["triton"]\narguments = ["--backend", "a b", "--eager"]')
    assert load_matrix(root).images["serve"].recipes["wheel", "cpu"].arguments == ("--backend", "a b", "--eager")


def test_wheels_are_slimmed_unless_the_matrix_says_otherwise(root: Path) -> None:
    assert load_matrix(root).slim is True
    edit(root / "matrix.toml", "version = 1\n", "version = 1\nslim = false\n")
    assert load_matrix(root).slim is False


def test_the_repositorys_own_rules_give_each_reason() -> None:
    matrix = load_matrix(REPOSITORY_ROOT)
    rules = [rule for image in matrix.images.values() for rule in image.audit]
    assert rules and all(rule.reason for rule in rules if rule.accept is not Coverage.NATIVE)
    assert all(rule.reason for image in matrix.images.values() for rule in image.omissions)


# --- mistakes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            NATIVE.replace("native", "good"),
            f"{SERVE_TOML}: [audit.1.accept]: `good` is not a grade next: one of: native, jit, partly missing, missing",
        ),
        (NATIVE.replace("native", "unreadable"), "[audit.1.accept]: `unreadable` is not a grade"),
        (NATIVE.replace('"native"', "1"), "[audit.1.accept]: expected a string, found a whole number"),
        (NATIVE.replace('accept = "native"\n', ""), "[audit.1]: missing key `accept`"),
        (NATIVE.replace('"a.so", "b/*.so"', ""), "[audit.1.libraries]: expected a list of strings, with at least one"),
        (NATIVE.replace("b/*.so", "a.so"), "[audit.1.libraries]: `a.so` stands twice"),
        (NATIVE.replace("libraries", "library"), "[audit.1]: unknown key `library` next: did you mean `libraries`?"),
        (NATIVE + MISSING.replace('reason = "not called"\n', ""), "[audit.2]: missing key `reason`"),
        (NATIVE + MISSING.replace("not called", ""), "[audit.2.reason]: must not be empty"),
        (NATIVE + 'reason = ""\n', "[audit.1.reason]: must not be empty"),
        (NATIVE + "reason = 3\n", "[audit.1.reason]: expected a string"),
        (OMIT.replace('reason = "not needed"\n', ""), "[omit.1]: missing key `reason`"),
        (OMIT.replace('"big-thing"', ""), "[omit.1.distributions]: expected a list of strings"),
        (OMIT.replace('"big-thing"', '"a", "a"'), "[omit.1.distributions]: `a` stands twice"),
        (OMIT + 'image = "serve"\n', "[omit.1]: unknown key `image`"),
        ("[audit]\n", "[audit]: expected a list, found a table"),
        ("omit = 3\n", "[scenario.1]: unknown key `omit`"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, expected: str, root: Path) -> None:
    append(root, text)
    found = problems_of(root)
    assert any(expected in problem for problem in found), found


@pytest.mark.parametrize(
    "text",
    [
        NATIVE.replace("native", "good"),
        MISSING.replace('reason = "not called"\n', ""),
        MISSING.replace("not called", ""),
        MISSING.replace('"not called"', "3"),
        OMIT.replace("not needed", ""),
    ],
)
def test_one_mistake_is_reported_once(text: str, root: Path) -> None:
    assert len(problems_of(append(root, text))) == 1


@pytest.mark.parametrize(
    ("value", "expected"), [('"--eager"', "expected a list"), ("[]", "at least one"), ('["-a", 1]', "list of strings")]
)
def test_arguments_that_are_none_are_refused(value: str, expected: str, root: Path) -> None:
    edit(root / SERVE_TOML, 'absent = ["triton"]', f"arguments = {value}")
    assert any("[recipe.wheel.cpu.arguments]" in problem and expected in problem for problem in problems_of(root))


def test_slim_is_true_or_false(root: Path) -> None:
    edit(root / "matrix.toml", "version = 1\n", 'version = 1\nslim = "no"\n')
    assert any("matrix.toml: [slim]: expected true or false" in problem for problem in problems_of(root))


@pytest.mark.parametrize("line", ['cuda = "12.7"', 'compute = "12.1"', 'recipe = "weel"'])
@pytest.mark.parametrize(("text", "place"), [(NATIVE, "audit.1"), (OMIT, "omit.1")])
def test_a_rule_that_applies_to_no_cell_is_reported(line: str, text: str, place: str, root: Path) -> None:
    append(root, f"{text}{line}\n")
    assert problems_of(root) == [
        f"{SERVE_TOML}: [{place}]: applies to no cell of this image next: correct its fields",
    ]


def test_fields_that_no_cell_has_together_are_reported(root: Path) -> None:
    append(root, NATIVE + 'cuda = "13.0"\nrecipe = "source"\n')
    assert len(problems_of(root)) == 1


@pytest.mark.parametrize("line", ['compute = "cpu"', 'cuda = "cpu"'])
def test_a_rule_about_gpu_code_for_the_cpu_is_reported(line: str, root: Path) -> None:
    append(root, f"{NATIVE}{line}\n")
    assert "applies to no cell" in problems_of(root)[0]


def test_an_image_that_is_in_no_cells_has_no_rules(root: Path) -> None:
    with (root / "images/base/image.toml").open("a") as stream:
        stream.write(NATIVE)
    assert "images/base/image.toml: [audit.1]: applies to no cell" in problems_of(root)[0]


def test_an_idle_rule_is_not_reported_while_the_cells_are_unknown(root: Path) -> None:
    append(root, NATIVE + 'compute = "12.1"\n')
    edit(root / SERVE_TOML, 'parent = "base"', 'parent = "bass"')
    assert len(problems_of(root)) == 1


# --- upstream's tests

SUITE = '[recipe.wheel.cpu.suite]\nsdist = "serve==1.2.0"\nfolder = "tests"\nrequirements = ["pytest==9.0"]\n'


def test_a_recipe_has_a_suite_or_none(root: Path) -> None:
    assert load_matrix(root).images["serve"].recipes["wheel", "cpu"].suite is None
    edit(root / SERVE_TOML, "[[scenario]]", f"{SUITE}[[scenario]]")
    suite = Suite("serve==1.2.0", "tests", ("pytest==9.0",))
    assert load_matrix(root).images["serve"].recipes["wheel", "cpu"].suite == suite


def test_a_suite_without_a_version_is_refused(root: Path) -> None:
    edit(root / SERVE_TOML, "[[scenario]]", f"{SUITE.replace('serve==1.2.0', 'serve')}[[scenario]]")
    assert any("`serve`: expected `name==version`" in problem for problem in problems_of(root))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("serve==1.2.0", "serve==1.2.1", "`serve==1.2.1` has the tests of another version than 1.2.0"),
        ("pytest==9.0", "pytest>=9", "`pytest>=9`: expected `name==version`"),
        ('"tests"', '"../tests"', "`../tests` cannot be a package in the sdist"),
        ('folder = "tests"\n', "", "missing key `folder`"),
    ],
)
def test_what_is_wrong_with_a_suite_is_told(old: str, new: str, said: str, root: Path) -> None:
    edit(root / SERVE_TOML, "[[scenario]]", f"{SUITE.replace(old, new)}[[scenario]]")
    [problem] = problems_of(root)
    assert said in problem and "recipe.wheel.cpu.suite" in problem
