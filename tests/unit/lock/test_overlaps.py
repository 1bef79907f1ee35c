from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.lock.overlaps import find_overlaps
from scripts.matrix import Overlap

ONE = {"a/x.py": "1", "a/y.py": "2", "one.py": "3"}
RULE = Overlap("a/*.py", "two", "why")


def problems(distributions: dict[str, dict[str, str]], *rules: Overlap) -> list[str]:
    return [" ".join(str(p).split()) for p in find_overlaps(distributions, rules, "image.toml").problems]


def test_distributions_that_share_no_path_or_the_same_bytes_are_fine() -> None:
    assert problems({"one": ONE, "two": {"a/z.py": "1", "one.py": "3"}, "three": {}}) == []
    assert problems({}) == []


def test_one_path_with_different_bytes_names_both_distributions_and_the_path() -> None:
    [problem] = problems({"two": {"a/x.py": "other"}, "one": ONE})
    assert problem == (
        "image.toml: one and two write one path with different bytes: a/x.py next: pin one of them, or add an "
        "[[overlap]] to image.toml that says which one is kept, and why"
    )


def test_many_paths_of_the_same_distributions_are_one_problem() -> None:
    paths = {f"p{number:02}": "1" for number in range(25)}
    [problem] = problems({"one": paths, "two": dict.fromkeys(paths, "2"), "three": dict.fromkeys(paths, "2")})
    assert "one, three and two write 25 paths with different bytes: p00, p01, p02, p03, p04 … and 20 more" in problem


def test_of_three_it_is_enough_that_one_differs() -> None:
    assert len(problems({"one": {"x": "1"}, "two": {"x": "1"}, "three": {"x": "2"}})) == 1


def test_a_rule_decides_which_bytes_are_kept() -> None:
    found = find_overlaps({"one": ONE, "two": {"a/x.py": "9", "a/y.py": "9"}}, [RULE])
    assert (found.kept, found.problems) == ({"a/x.py": "two", "a/y.py": "two"}, ())


def test_the_first_rule_that_matches_decides() -> None:
    rules = [Overlap("a/x.py", "one", "why"), RULE]
    found = find_overlaps({"one": ONE, "two": {"a/x.py": "9", "a/y.py": "9"}}, rules)
    assert found.kept == {"a/x.py": "one", "a/y.py": "two"}


def test_a_rule_leaves_other_paths_open() -> None:
    [problem] = problems({"one": ONE, "two": {"a/x.py": "9", "one.py": "9"}}, RULE)
    assert "one and two write one path with different bytes: one.py" in problem


@pytest.mark.parametrize("rule", [Overlap("b/*", "two", "why"), Overlap("one.py", "two", "why")])
def test_a_rule_that_decides_nothing_is_refused(rule: Overlap) -> None:
    [problem] = problems({"one": ONE, "two": {"one.py": "3"}}, rule)
    assert problem == f'image.toml: [[overlap]] path = "{rule.path}": decides nothing next: correct it, or delete it'


def test_a_rule_that_keeps_what_does_not_write_the_path_is_refused() -> None:
    [problem] = problems({"one": ONE, "two": {"a/x.py": "9"}}, Overlap("a/*", "tow", "why"))
    assert "keeps `tow`, but `a/x.py` is written by one and two next: name one of these" in problem


@pytest.mark.parametrize("path", ["a", "a/b"])
def test_a_file_where_another_has_a_folder_is_refused_whatever_the_rules(path: str) -> None:
    [problem, *_] = problems({"one": {path: "1"}, "two": {"a/b/c.py": "2"}}, Overlap("*", "two", "why"))
    assert f"one writes `{path}` as a file, and two as a folder" in problem


DISTRIBUTIONS = st.dictionaries(
    st.sampled_from(["one", "two", "three"]),
    st.dictionaries(st.sampled_from(["x", "y", "z"]), st.sampled_from(["1", "2"])),
)


@given(DISTRIBUTIONS)
def test_there_is_a_problem_exactly_where_some_path_has_two_contents(found: dict[str, dict[str, str]]) -> None:
    contents: dict[str, set[str]] = {}
    for paths in found.values():
        for path, content in paths.items():
            contents.setdefault(path, set()).add(content)
    assert bool(problems(found)) == any(len(each) > 1 for each in contents.values())
