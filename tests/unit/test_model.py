from __future__ import annotations

import dataclasses
import json

import pytest

from scripts.model import Cell, CudaLine, Outcome, Result, Target, Verdict

RTX = Target("5090", "RTX 5090", "source", compute="12.0", driver="570", memory=32)
H200 = Target("h200", "H200", "source", compute="9.0", driver="535", memory=141)
CPU = Target("cpu", "any processor", "wheel")
CUDA = CudaLine("12.8", "12.8.1", "570.124.06")


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (Cell("vllm", RTX, CUDA, "source"), "vllm-cu128-5090"),
        (Cell("vllm", RTX, CUDA, "wheel"), "vllm-cu128-5090-wheel"),
        (Cell("vllm", CPU, None, "wheel"), "vllm-cpu"),
        (Cell("pytorch", CPU, None, "source"), "pytorch-cpu-source"),
        (Cell("vllm", RTX, CudaLine("13.0", "13.0.2", "580"), "source"), "vllm-cu130-5090"),
    ],
)
def test_an_id_says_what_the_default_recipe_leaves_unsaid(cell: Cell, expected: str) -> None:
    assert cell.id == expected
    assert f"{cell.image}-{cell.variant}" == expected


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (Cell("vllm", RTX, CUDA, "source"), "vllm-cu128-sm120"),
        (Cell("vllm", RTX, CUDA, "wheel"), "vllm-cu128-sm120-wheel"),
        (Cell("vllm", H200, CudaLine("13.0", "13.0.2", "580"), "wheel"), "vllm-cu130-sm90-wheel"),
        (Cell("vllm", CPU, None, "wheel"), "vllm-cpu"),
        (Cell("pytorch", CPU, None, "source"), "pytorch-cpu-source"),
    ],
)
def test_a_candidate_is_for_a_compute_capability_and_names_no_target(cell: Cell, expected: str) -> None:
    assert cell.candidate == expected
    other = dataclasses.replace(cell.target, name="another", memory=1)
    assert dataclasses.replace(cell, target=other).candidate == expected


def test_a_cell_without_cuda_is_of_the_line_cpu() -> None:
    assert (Cell("vllm", CPU, None, "wheel").line, Cell("vllm", RTX, CUDA, "source").line) == ("cpu", "12.8")


def test_a_target_has_a_gpu_where_it_has_a_compute_capability() -> None:
    assert RTX.has_gpu and not CPU.has_gpu


def test_outcomes_and_verdicts_are_written_as_words() -> None:
    result = Result("load", Outcome.PASSED, measured={"seconds": 1.5})
    assert json.loads(json.dumps(dataclasses.asdict(result)))["outcome"] == "passed"
    assert json.dumps(Verdict.ACCEPTED) == '"accepted"'


@pytest.mark.parametrize("noun", [RTX, CUDA, Result("load", Outcome.PASSED)])
def test_nouns_do_not_change(noun: object) -> None:
    name = dataclasses.fields(noun)[0].name  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(noun, name, "other")
