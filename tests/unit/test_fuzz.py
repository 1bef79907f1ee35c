"""The fuzzer finds what it is for, and what it once found is found no more."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from scripts.console import show
from scripts.errors import ConfigError, Problem, Undecided
from scripts.files import parse_json
from scripts.oci.descriptor import describe as describe_blob
from scripts.oci.descriptor import digest_of
from tests.fuzz import subject as module
from tests.fuzz.mutate import mutate_json, mutate_value, write_toml
from tests.fuzz.parts import describe, dump, make_parts, mutate_parts, write_parts
from tests.fuzz.run import BATCH, Batch, first_of_each_kind, run_batch, show_table, split
from tests.fuzz.subject import CORPUS, Subject, make_input, try_input
from tests.fuzz.subjects import SUBJECTS

FOUND = sorted(CORPUS.glob("*/*"))
TRIED = 25  # inputs of each subject


def keep(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    return data + bytes([random.randrange(256)])


def subject_of(call: module.Call, *refusals: type[Exception]) -> Subject:
    return Subject("planted", 1, lambda: [b"seed"], keep, call, refusals)


# --- what the project reads


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_found_once_is_found_no_more(path: Path, tmp_path: Path) -> None:
    assert try_input(SUBJECTS[path.parent.name], path.read_bytes(), tmp_path) is None


def test_the_corpus_is_small_and_of_subjects_that_there_are() -> None:
    assert FOUND and {path.parent.name for path in FOUND} <= {*SUBJECTS}
    assert sum(path.stat().st_size for path in FOUND) < 64_000


@pytest.mark.parametrize("name", SUBJECTS)
def test_some_inputs_of_each_subject(name: str, tmp_path: Path) -> None:
    subject = SUBJECTS[name]
    corpus = subject.seeds()
    inputs = [*corpus, *(make_input(subject, corpus, 0, number) for number in range(TRIED))]
    assert [found for data in inputs if (found := try_input(subject, data, tmp_path))] == []


def test_a_million_inputs_are_shared_out() -> None:
    assert sum(subject.share for subject in SUBJECTS.values()) == 1_000_000


# --- what it finds


def test_an_exception_of_another_kind_is_a_finding(tmp_path: Path) -> None:
    def call(data: bytes, folder: Path) -> None:
        parse_json(b"{}")["key"]

    kind, told = try_input(subject_of(call), b"", tmp_path) or ("", "")
    assert kind.startswith("KeyError in ") and "KeyError: 'key'" in told
    assert try_input(subject_of(call, KeyError), b"", tmp_path) is None, "its callers are told to expect it"


@pytest.mark.parametrize("error", [ConfigError("cause", "place", "step"), Undecided("cause", "place", "step")])
def test_an_error_of_the_project_is_none(error: Exception, tmp_path: Path) -> None:
    def call(data: bytes, folder: Path) -> None:
        raise error

    assert try_input(subject_of(call), b"", tmp_path) is None


def test_an_error_of_no_problem_is_a_finding(tmp_path: Path) -> None:
    def call(data: bytes, folder: Path) -> None:
        raise ConfigError([])

    assert "without a problem" in str(try_input(subject_of(call), b"", tmp_path))


def test_an_endless_loop_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def call(data: bytes, folder: Path) -> None:
        while True:
            try:
                sum(range(1000))
            except Exception:  # what hides every exception does not hide this
                continue

    monkeypatch.setattr(module, "CPU_S", 0.05)
    assert (try_input(subject_of(call), b"", tmp_path) or ("",))[0] == "slow"


def test_much_memory_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def call(data: bytes, folder: Path) -> None:
        peak[0] += 2 << 20

    peak = [1 << 30]
    monkeypatch.setattr(module, "_peak", lambda: peak[0])
    assert try_input(subject_of(call), b"", tmp_path) is None
    monkeypatch.setattr(module, "GROWTH", 1 << 20)
    assert (try_input(subject_of(call), b"", tmp_path) or ("",))[0] == "memory"


def test_a_problem_without_a_next_step_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.unit.conftest._is_ours", lambda: True)
    planted = subject_of(lambda data, folder: Problem("cause", "place"))
    assert "it names no next step" in str(try_input(planted, b"", tmp_path))


def test_a_line_that_cannot_be_shown_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = subject_of(lambda data, folder: show(data.decode()))
    assert try_input(planted, b"\x1b[2J", tmp_path) is None, "it is escaped on its way out"
    monkeypatch.setattr("scripts.console.one_line", lambda line: line)
    assert "a letter cannot be printed" in str(try_input(planted, b"\x1b[2J", tmp_path))


def test_a_batch_names_the_inputs_that_were_findings(tmp_path: Path) -> None:
    def call(data: bytes, folder: Path) -> None:
        if data[-1] >= 128:
            raise KeyError(data[-1])

    planted, at = subject_of(call), list[int]()
    row = run_batch(Batch(planted, 10, 60), [b"seed"], 3, tmp_path, at.append, deadline=float("inf"))
    assert row.executions == 50 and at == [*range(10, 60)]
    wrong = [number for number in at if make_input(planted, [b"seed"], 3, number)[-1] >= 128]
    assert [finding.iteration for finding in row.findings] == wrong and 10 < len(wrong) < 40
    assert all(make_input(planted, [b"seed"], 3, each.iteration) == each.data for each in row.findings)
    [(first, count)] = first_of_each_kind({"planted": row})
    assert (first.iteration, count) == (wrong[0], len(wrong))
    assert show_table({"planted": row})[-1] == f"| all | 50 | 0 | {len(wrong)} |"


def test_no_input_is_begun_after_the_time_is_over(tmp_path: Path) -> None:
    planted = subject_of(lambda data, folder: None)
    assert run_batch(Batch(planted, 0, 10), [b""], 1, tmp_path, lambda at: None, deadline=0.0).executions == 0


def test_batches_are_all_inputs_once() -> None:
    batches = split([*SUBJECTS.values()], 100_000)
    for name, subject in SUBJECTS.items():
        own = sorted((batch.first, batch.end) for batch in batches if batch.subject.name == name)
        assert [first for first, _ in own[1:]] == [end for _, end in own[:-1]] and own[0][0] == 0
        assert own[-1][1] == subject.share // 10
        assert all(end - first <= BATCH for first, end in own)
    names = [batch.subject.name for batch in batches[: len(SUBJECTS)]]
    assert len({*names}) == len(SUBJECTS), "all subjects have their turn from the beginning"


# --- how inputs are made


@pytest.mark.parametrize("name", SUBJECTS)
def test_the_same_number_is_the_same_input(name: str) -> None:
    subject = SUBJECTS[name]
    corpus = subject.seeds()
    made = [make_input(subject, corpus, 5, number) for number in range(20)]
    assert made == [make_input(subject, corpus, 5, number) for number in range(20)]
    assert len({*made}) > 10 and made != [make_input(subject, corpus, 6, number) for number in range(20)]


def test_a_part_that_changes_is_named_as_it_is_then() -> None:
    manifest = dump({"layers": [describe("blob", "x/tar")]})
    for blob in (b"some \xff bytes", b"others"):
        parts = make_parts(write_parts({"blob": blob, "manifest": manifest}))
        assert parts["blob"] == blob
        assert json.loads(parts["manifest"])["layers"] == [describe_blob(blob, "x/tar").to_json()]


def test_parts_are_parts_again_once_they_are_changed() -> None:
    seed = write_parts({"blob": b"some \xff bytes", "manifest": dump({"layers": [describe("blob", "x/tar")]})})
    made = [make_parts(mutate_parts(Random(number), seed, [])) for number in range(200)]
    named = [parts for parts in made if digest_of(parts.get("blob", b"")).encode() in parts.get("manifest", b"")]
    assert len(named) > 100, "most of what names a part still names it"
    assert len({parts.get("blob") for parts in named}) > 20


def test_changed_values_can_be_written() -> None:
    for number in range(300):
        random = Random(number)
        value = mutate_value(random, {"a": [1, {"b": "c"}], "d": {"e": 1.5}})
        if isinstance(value, dict):
            assert write_toml(value).count("\n") >= len(value)
        assert isinstance(mutate_json(random, b'{"a": [1, 2]}'), bytes)
