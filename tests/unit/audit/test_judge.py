"""What one GPU makes of a library, and a policy of that. A gate that never rejects is none: each is shown rejecting."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scripts.audit import judge as module
from scripts.audit.coverage import LibraryAudit, judge_library
from scripts.audit.judge import Audit, find_losses, judge, judge_unknown, matches
from scripts.audit.library import Library, parse_library
from scripts.gpucode import Entry
from scripts.gpucode.fatbin import Container
from scripts.model import Coverage
from tests.unit.audit.made import library, rule
from tests.unit.builders import DATA

NATIVE, JIT, PARTLY, MISSING, UNREADABLE = Coverage
PACKAGES = "usr/lib/python3.11/site-packages"
BROKEN = Library("lib/broken.so", (), "at byte 0x40: cut short")
# One library of each grade on a GPU of compute capability 12.0.
OF_GRADE = {
    NATIVE: library("lib/x.so", "120+90", "120f"),
    JIT: library("lib/x.so", "120", "90+ptx90"),
    PARTLY: library("lib/x.so", "120", "90"),
    MISSING: library("lib/x.so", "90", "100+ptx90a"),
    UNREADABLE: BROKEN,
}


def causes(audit: Audit) -> list[str]:
    return [f"{problem.place}: {problem.cause}" for problem in audit.problems]


# --- what a GPU finds in a library


@pytest.mark.parametrize("grade", list(Coverage))
def test_a_library_has_one_of_five_grades(grade: Coverage) -> None:
    row = judge_library(OF_GRADE[grade], "12.0")
    assert row.coverage is grade
    assert bool(row.fault) is (grade is UNREADABLE)


@pytest.mark.parametrize(
    ("containers", "counts"),
    [
        (("120",), (1, 0, 0)),
        (("120", "120+ptx120", "ptx90+90"), (2, 1, 0)),
        (("ptx90", "90", "100", ""), (0, 1, 3)),
        (("other120",), (0, 0, 1)),
    ],
)
def test_containers_are_counted_by_what_the_gpu_finds_there(
    containers: tuple[str, ...], counts: tuple[int, int, int]
) -> None:
    row = judge_library(library("x", *containers), "12.0")
    assert (row.native, row.jit, row.missing) == counts


@pytest.mark.parametrize(
    ("name", "compute", "grade", "architectures"),
    [
        ("plain.so", "12.0", NATIVE, ("compute_90", "compute_120", "sm_90", "sm_120")),
        ("plain.so", "10.0", JIT, ("compute_90", "compute_120", "sm_90", "sm_120")),
        ("several.so", "12.0", JIT, ("compute_120", "sm_80")),
        ("several.so", "9.0", MISSING, ("compute_120", "sm_80")),
        ("specific.so", "12.1", MISSING, ("compute_90a", "compute_120a", "sm_90a", "sm_120a")),
        ("linked.so", "12.0", MISSING, ("sm_90",)),
        ("linked.so", "9.0", NATIVE, ("sm_90",)),
        ("family.so", "12.1", NATIVE, ("compute_120f", "sm_100f", "sm_120f")),
    ],
)
def test_real_libraries_are_judged(name: str, compute: str, grade: Coverage, architectures: tuple[str, ...]) -> None:
    found = parse_library(name, (DATA / "gpucode" / name).read_bytes())
    assert found
    row = judge_library(found, compute)
    assert (row.coverage, row.architectures) == (grade, architectures)
    assert 0 <= row.usable <= row.size


def test_machine_code_is_taken_before_ptx_and_the_newest_before_others() -> None:
    parts = {"120": 1, "120f": 2, "90": 4, "ptx120": 8, "other120": 16, "100": 32}
    entries = [entry for text, size in parts.items() for entry in library("x", text, size=size).containers[0].entries]
    row = judge_library(Library("x", (Container(".nv_fatbin", 0, tuple(entries)),)), "12.0")
    assert (row.size, row.usable) == (63, 3), "both forms of the newest machine code, and nothing else"
    older = judge_library(Library("x", (Container(".nv_fatbin", 0, tuple(entries)),)), "9.0")
    assert older.usable == 4


def test_the_best_ptx_is_what_would_be_compiled() -> None:
    row = judge_library(library("x", "ptx80+ptx90+ptx100a+90", "ptx120+ptx70", size=10), "12.0")
    assert row.jit_from == ("compute_90", "compute_120")
    assert (row.size, row.usable) == (60, 20)


def test_what_only_the_device_linker_reads_is_left_out() -> None:
    row = judge_library(library("x", "120", "~90", "~ptx90", size=10), "12.0")
    assert (row.coverage, row.native, row.missing, row.size) == (NATIVE, 1, 0, 10)
    assert row.architectures == ("sm_120",)
    assert judge_library(library("x", "~120"), "12.0").coverage is MISSING, "it does not run as it is"


def test_a_fault_outweighs_whatever_else_was_found() -> None:
    found = Library("x", library("x", "120").containers, "cut short")
    assert judge_library(found, "12.0").coverage is UNREADABLE


# --- the driver that JIT needs


@pytest.mark.parametrize(
    ("version", "driver"), [("8.7", "570.26"), ("9.0", "580.65.06"), ("7.8", "520.61.05"), ("99.9", "unknown")]
)
def test_ptx_needs_a_driver_as_new_as_its_version(version: str, driver: str) -> None:
    row = judge_library(library("x", "ptx90", ptx_version=version), "12.0")
    assert row.driver == driver


def test_what_is_native_needs_no_driver_for_its_ptx() -> None:
    assert judge_library(library("x", "120+ptx90"), "12.0").driver == ""
    assert judge_unknown([library("x", "120+ptx90")], "12.0").driver == ""


def test_the_newest_driver_of_all_is_what_counts_and_one_unknown_is_newer_than_any() -> None:
    old, new = (library(name, "ptx90", ptx_version=version) for name, version in (("a", "7.8"), ("b", "12.0")))
    known = [library(str(index), "ptx90", ptx_version=version) for index, version in enumerate(("9.0", "7.8", "8.0"))]
    assert judge_unknown([old, *known], "12.0").driver == "580.65.06", "as numbers: 580 is more than 90"
    assert judge_unknown([*known, new], "12.0").driver == "unknown"


# --- without a policy


@pytest.mark.parametrize("grade", [NATIVE, JIT, PARTLY])
def test_without_rules_a_library_with_anything_for_the_gpu_passes(grade: Coverage) -> None:
    audit = judge_unknown([OF_GRADE[grade]], "12.0")
    assert audit.passed and audit.problems == ()


@pytest.mark.parametrize("grade", [MISSING, UNREADABLE])
def test_without_rules_a_library_with_nothing_for_the_gpu_fails(grade: Coverage) -> None:
    audit = judge_unknown([library("ok.so", "120"), OF_GRADE[grade]], "12.0")
    assert not audit.passed and len(audit.problems) == 1
    assert audit.problems[0].place == OF_GRADE[grade].path and audit.problems[0].next_step


@pytest.mark.parametrize("audit", [judge_unknown([], "12.0"), judge([], "12.0", [])])
def test_no_gpu_code_at_all_fails(audit: Audit) -> None:
    assert not audit.passed and causes(audit) == ["the whole of it: there is no GPU code at all"]


def test_the_libraries_come_in_the_order_of_their_paths() -> None:
    audit = judge_unknown([library("b", "120"), library("a", "120")], "12.0")
    assert [row.path for row in audit.libraries] == ["a", "b"]


# --- with one


@pytest.mark.parametrize("accept", [grade for grade in Coverage if grade is not UNREADABLE])
@pytest.mark.parametrize("grade", list(Coverage))
def test_a_rule_rejects_what_is_worse_than_it_accepts(accept: Coverage, grade: Coverage) -> None:
    audit = judge([OF_GRADE[grade]], "12.0", [rule(accept, "lib/*.so")])
    order = list(Coverage)
    assert audit.passed is (order.index(grade) <= order.index(accept))


def test_what_cannot_be_read_is_accepted_by_no_rule() -> None:
    for accept in Coverage:
        audit = judge([BROKEN], "12.0", [rule(accept, "*")])
        assert audit.passed is (accept is UNREADABLE), "and image.toml cannot name that grade"


def test_the_first_rule_that_matches_decides() -> None:
    libraries = [library("a/x.so", "90"), library("b/x.so", "120")]
    strict_first = [rule(NATIVE, "a/*.so"), rule(MISSING, "*.so", reason="not called")]
    assert [problem.place for problem in judge(libraries, "12.0", strict_first).problems] == ["a/x.so"]
    loose_first = [rule(MISSING, "a/*.so", reason="not called"), rule(NATIVE, "*.so")]
    audit = judge(libraries, "12.0", loose_first)
    assert audit.passed
    assert [row.reason for row in audit.libraries] == ["not called", ""]


def test_a_library_that_no_rule_names_fails_even_if_it_is_native() -> None:
    audit = judge([library("a.so", "120"), library("b.so", "120")], "12.0", [rule(NATIVE, "a.so")])
    [problem] = audit.problems
    assert problem.place == "b.so"
    assert problem.cause == "carries GPU code (native on 12.0), and no rule names it"
    assert "[[audit]]" in problem.next_step


@pytest.mark.parametrize(
    ("rules", "idle"),
    [
        ([rule(NATIVE, "a.so", "gone.so")], "gone.so"),
        ([rule(NATIVE, "*.so"), rule(MISSING, "a.so", reason="hidden by the one before")], "a.so"),
        ([rule(NATIVE, "*.so", "a.so")], "a.so"),
        ([rule(NATIVE, "a.so"), rule(NATIVE, "a.so")], "a.so"),
    ],
)
def test_a_pattern_that_decides_nothing_fails(rules: list[object], idle: str) -> None:
    audit = judge([library("a.so", "120")], "12.0", rules)  # type: ignore[arg-type]
    assert causes(audit) == [f"[[audit]]: the pattern `{idle}` decides nothing"]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    libraries = [BROKEN, library("a.so", "90"), library("b.so", "120")]
    audit = judge(libraries, "12.0", [rule(NATIVE, "a.so", "gone.so"), rule(JIT, "lib/broken.so", reason="why")])
    assert [problem.place for problem in audit.problems] == ["a.so", "b.so", "lib/broken.so", "[[audit]]"]


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("torch/lib/a.so", "torch/lib/*.so", True),
        ("other/torch/lib/a.so", "torch/lib/*.so", False),
        ("mytorch/lib/a.so", "torch/lib/*.so", False),
        ("torch/lib/a.so.1", "torch/lib/*.so", False),
        ("torch/lib/a.so", "*.so", True),
        ("torch/LIB/a.so", "torch/lib/*.so", False),
    ],
)
def test_a_pattern_is_about_a_place_from_its_beginning(path: str, pattern: str, expected: bool) -> None:
    assert matches(path, pattern) is expected


# --- what a problem says


def test_a_missing_library_is_told_with_what_it_has_and_what_to_take() -> None:
    [problem] = judge_unknown([OF_GRADE[MISSING]], "12.0").problems
    has = "compute_90a, sm_90, sm_100"
    assert problem.cause == f"no code that compute capability 12.0 could run (it has {has})"
    assert "`no kernel image is available`" in problem.next_step
    assert "take a build for CUDA 12.8 or newer that includes sm_120" in problem.next_step
    assert "image.toml" not in problem.next_step, "without a policy there is none to change"


def test_a_library_that_is_not_good_enough_is_told_with_its_counts() -> None:
    [problem] = judge([OF_GRADE[PARTLY]], "12.0", [rule(NATIVE, "*")]).problems
    assert problem.cause.startswith("partly missing on 12.0, and native is required: of 2 containers 1 are native, ")
    assert "0 need JIT, 1 have nothing usable (it has sm_90, sm_120)" in problem.cause
    assert "accept it in image.toml with the reason" in problem.next_step


def test_a_library_of_nothing_but_linkers_input_says_so() -> None:
    [problem] = judge_unknown([library("x.o", "~90")], "12.0").problems
    assert problem.cause.endswith("(it has nothing that is linked)")


def test_a_gpu_newer_than_the_table_still_gets_advice() -> None:
    [problem] = judge_unknown([library("x", "90")], "13.0").problems
    assert "take a build for CUDA of its time or newer that includes sm_130" in problem.next_step


def test_what_cannot_be_read_is_told_with_the_fault() -> None:
    [problem] = judge_unknown([BROKEN], "12.0").problems
    assert problem.cause == "cannot be read: at byte 0x40: cut short"
    assert problem.next_step.startswith("get the file again")


# --- between the wheels and the image


def losses(before: Library, *after: Library) -> list[str]:
    found = find_losses(judge_unknown([before], "12.0"), judge_unknown(after, "12.0"))
    assert all(problem.next_step for problem in found)
    return [f"{problem.place}: {problem.cause}" for problem in found]


def test_an_image_with_all_that_its_wheels_had_lost_nothing() -> None:
    wheel = library("torch/a.so", "120", "90")
    assert losses(wheel, library(f"{PACKAGES}/torch/a.so", "120", "90"), library("other.so", "90")) == []
    assert losses(wheel, wheel) == []


def test_what_slimming_took_away_is_no_loss() -> None:
    assert losses(library("torch/a.so", "120+90+80", "80+90"), library(f"{PACKAGES}/torch/a.so", "120", "90")) == []


def test_a_library_that_is_not_in_the_image_is_a_loss() -> None:
    assert losses(library("torch/a.so", "120"), library(f"{PACKAGES}/torch/b.so", "120")) == [
        "torch/a.so: was in its wheel, and is not in the image"
    ]


def test_a_library_of_nearly_the_same_path_is_another() -> None:
    assert len(losses(library("torch/a.so", "120"), library(f"{PACKAGES}/mytorch/a.so", "120"))) == 1


@pytest.mark.parametrize("after", [("120",), ("120", "90"), ("120", "ptx90"), ("120", "120", "120")])
def test_other_counts_are_a_loss(after: tuple[str, ...]) -> None:
    [loss] = losses(library("torch/a.so", "120", "120"), library(f"{PACKAGES}/torch/a.so", *after))
    assert loss.startswith(f"{PACKAGES}/torch/a.so: was 2 native, 0 by JIT, 0 missing in its wheel, and is ")


def test_each_copy_in_the_image_must_be_as_good() -> None:
    wheel = library("torch/a.so", "120")
    [loss] = losses(wheel, library(f"{PACKAGES}/torch/a.so", "120"), library(f"two/{PACKAGES}/torch/a.so", "90"))
    assert loss.startswith(f"two/{PACKAGES}/torch/a.so: ")


def test_a_library_that_became_unreadable_is_a_loss() -> None:
    assert losses(library("torch/a.so", "120"), Library(f"{PACKAGES}/torch/a.so", (), "cut short"))


def test_an_entry_of_no_known_kind_is_named_and_counts_for_nothing() -> None:
    row = judge_library(Library("x", (Container(".nv_fatbin", 0, (Entry("other", "120", "none", 5, 5),)),)), "12.0")
    assert (row.architectures, row.size, row.usable, row.coverage) == (("other_120",), 5, 0, MISSING)


# --- libraries that nobody wrote a policy for, and what is known of them elsewhere


def test_what_is_known_excuses_a_library_for_its_reason() -> None:
    known = [rule(MISSING, "lib/fa3.so", reason="for Hopper alone")]
    audit = judge_unknown(
        [library(f"{PACKAGES}/lib/fa3.so", "90a"), library(f"{PACKAGES}/lib/torch.so", "120")], "12.0", known
    )
    assert audit.passed
    assert [row.reason for row in audit.libraries] == ["for Hopper alone", ""]


@pytest.mark.parametrize("path", ["x/lib/fa3.so", f"{PACKAGES}/x/lib/fa3.so", f"x/{PACKAGES}/x/lib/fa3.so"])
def test_the_end_of_a_path_excuses_no_library_of_another_distribution(path: str) -> None:
    known = [rule(MISSING, "lib/fa3.so", reason="for Hopper alone")]
    audit = judge_unknown([library(path, "90a"), library(f"{PACKAGES}/lib/torch.so", "120")], "12.0", known)
    assert [problem.place for problem in audit.problems] == [path]
    audit = judge([library(path, "90a"), library(f"{PACKAGES}/lib/fa3.so", "90a")], "12.0", known)
    assert [problem.place for problem in audit.problems] == [path]


@pytest.mark.parametrize("path", ["x/torch/a.so", f"{PACKAGES}/x/torch/a.so"])
def test_another_file_of_that_name_is_not_the_library_that_was_lost(path: str) -> None:
    [loss] = losses(library("torch/a.so", "120"), library(path, "120"))
    assert loss == "torch/a.so: was in its wheel, and is not in the image"


def test_what_has_many_names_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[str] = []

    def count(one: Library, compute: str) -> LibraryAudit:
        judged.append(one.path)
        return judge_library(one, compute)

    monkeypatch.setattr(module, "judge_library", count)
    dense = library("a", "120", "90")
    audit = judge_unknown([replace(dense, path=f"{number:03}") for number in range(500)], "12.0")
    assert len(audit.libraries) == 500 and len({row.path for row in audit.libraries}) == 500
    assert judged == ["000"]


def test_what_is_known_demands_nothing() -> None:
    known = [rule(NATIVE, "lib/torch.so", "lib/gone.so")]
    assert judge_unknown([library("lib/torch.so", "90+ptx90")], "12.0", known).passed


def test_what_is_known_of_others_excuses_nothing_else() -> None:
    known = [rule(MISSING, "lib/fa3.so", reason="for Hopper alone"), rule(NATIVE, "lib/torch.so")]
    audit = judge_unknown([library("lib/torch.so", "90"), library("lib/fa3.so", "90a")], "12.0", known)
    assert [problem.place for problem in audit.problems] == ["lib/torch.so"]


def test_nothing_excuses_what_cannot_be_read() -> None:
    assert not judge_unknown([BROKEN], "12.0", [rule(MISSING, "*", reason="whatever")]).passed


@pytest.mark.parametrize("size", [0, 64])
def test_an_entry_without_bytes_is_no_code_for_any_gpu(size: int) -> None:
    """A header costs 64 bytes; one that says "sm_120", and nothing behind it, made a library pass as native."""
    for empty in (Entry("sass", "120", "none", 0, size), Entry("ptx", "90", "zstd", size, 0, "8.7")):
        row = judge_library(Library("x", (Container(".nv_fatbin", 0, (empty,)),)), "12.0")
        assert (row.coverage, row.native, row.jit, row.missing) == (MISSING, 0, 0, 1)
    real = Entry("sass", "90", "none", 100, 100)
    found = Library("x", (Container(".nv_fatbin", 0, (Entry("sass", "120", "none", 0, 0), real)),))
    assert judge_library(found, "9.0").usable == 100
