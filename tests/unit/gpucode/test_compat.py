from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.gpucode import Kind, Support, jit_driver_floor, runs_on, toolkit_of_capability, toolkit_of_ptx
from scripts.matrix import load_matrix
from tests.unit.builders import REPOSITORY_ROOT

CAPABILITIES = ("7.5", "8.0", "8.6", "8.7", "8.9", "9.0", "10.0", "10.1", "10.3", "11.0", "12.0", "12.1")


def runs_where(arch: str, kind: Kind) -> tuple[str, ...]:
    return tuple(capability for capability in CAPABILITIES if runs_on(arch, kind, capability) != "none")


@pytest.mark.parametrize(
    ("arch", "on"),
    [
        ("75", ("7.5",)),
        ("80", ("8.0", "8.6", "8.7", "8.9")),
        ("86", ("8.6", "8.7", "8.9")),
        ("89", ("8.9",)),
        ("90", ("9.0",)),
        ("100", ("10.0", "10.1", "10.3")),
        ("120", ("12.0", "12.1")),
        ("121", ("12.1",)),
        ("90a", ("9.0",)),
        ("120a", ("12.0",)),
        ("100f", ("10.0", "10.3")),
        ("101f", ("10.1",)),
        ("103f", ("10.3",)),
        ("120f", ("12.0", "12.1")),
        ("121f", ("12.1",)),
    ],
)
def test_where_machine_code_runs(arch: str, on: tuple[str, ...]) -> None:
    assert runs_where(arch, "sass") == on
    assert {runs_on(arch, "sass", capability) for capability in on} == {"native"}


@pytest.mark.parametrize(
    ("arch", "on"),
    [
        ("75", CAPABILITIES),
        ("80", CAPABILITIES[1:]),
        ("100", ("10.0", "10.1", "10.3", "11.0", "12.0", "12.1")),
        ("120", ("12.0", "12.1")),
        ("121", ("12.1",)),
        ("90a", ("9.0",)),
        ("100a", ("10.0",)),
        ("120a", ("12.0",)),
        ("100f", ("10.0", "10.3")),
        ("120f", ("12.0", "12.1")),
        ("121f", ("12.1",)),
    ],
)
def test_where_ptx_can_be_compiled(arch: str, on: tuple[str, ...]) -> None:
    assert runs_where(arch, "ptx") == on
    assert {runs_on(arch, "ptx", capability) for capability in on} == {"jit"}


@pytest.mark.parametrize(
    ("arch", "kind", "expected"),
    [
        # What a 5090 meets in wheels: the cases that the images are audited for.
        ("120", "sass", "native"),
        ("120a", "sass", "native"),
        ("120f", "sass", "native"),
        ("80", "ptx", "jit"),
        ("90", "ptx", "jit"),
        ("90", "sass", "none"),
        ("100", "sass", "none"),
        ("90a", "ptx", "none"),
        ("100a", "ptx", "none"),
        ("100f", "ptx", "none"),
        ("121", "sass", "none"),
        ("121", "ptx", "none"),
        ("120", "other", "none"),
    ],
)
def test_what_a_5090_runs(arch: str, kind: Kind, expected: Support) -> None:
    assert runs_on(arch, kind, "12.0") == expected


@given(st.integers(1, 30), st.integers(0, 9), st.sampled_from(("", "a", "f")))
def test_code_runs_on_the_very_gpu_it_was_made_for(major: int, minor: int, suffix: str) -> None:
    assert runs_on(f"{major}{minor}{suffix}", "sass", f"{major}.{minor}") == "native"
    assert runs_on(f"{major}{minor}{suffix}", "ptx", f"{major}.{minor}") == "jit"


@given(st.sampled_from(CAPABILITIES), st.sampled_from(CAPABILITIES), st.sampled_from(("sass", "ptx")))
def test_a_suffix_never_makes_code_run_in_more_places(made_for: str, present: str, kind: Kind) -> None:
    arch = made_for.replace(".", "")
    support = {suffix: runs_on(arch + suffix, kind, present) != "none" for suffix in ("", "a", "f")}
    assert support["a"] <= support["f"] <= support[""]


@pytest.mark.parametrize(
    ("arch", "capability", "named"),
    [("sm_120", "12.0", "sm_120"), ("120b", "12.0", "120b"), ("", "12.0", "``"), ("9", "12.0", "`9`")]
    + [("12.0", "12.0", "not an architecture"), ("120\n", "12.0", "not an arch"), ("１20", "12.0", "not an arch")]
    + [("120", capability, "not a compute capability") for capability in ("120", "", "12", "12.0a", "a.b", "12.10")],
)
def test_what_is_no_architecture_or_capability_is_refused(arch: str, capability: str, named: str) -> None:
    kinds: tuple[Kind, ...] = ("sass", "ptx", "other")
    for kind in kinds:
        with pytest.raises(ValueError, match=named):
            runs_on(arch, kind, capability)


@pytest.mark.parametrize(
    ("toolkit", "driver"),
    [
        ("12.8", "570.26"),
        ("12.8.0", "570.26"),
        ("12.8.1", "570.124.06"),
        ("12.9", "575.51.03"),
        ("12.9.1", "575.57.08"),
        ("13.0", "580.65.06"),
        ("13.0.0", "580.65.06"),
        ("13.0.1", "580.82.07"),
        ("13.0.2", "580.95.05"),
        ("13.1", "590.44.01"),
        ("13.2", "595.45.04"),
    ],
)
def test_the_driver_that_came_with_a_toolkit_compiles_its_ptx(toolkit: str, driver: str) -> None:
    assert jit_driver_floor(toolkit) == driver


@pytest.mark.parametrize("toolkit", ["10.2", "13.9", "13", "", "12.8.9"])
def test_no_driver_is_guessed(toolkit: str) -> None:
    with pytest.raises(ValueError, match=r"no driver floor is known.*known: 11\.0, "):
        jit_driver_floor(toolkit)


@pytest.mark.parametrize(("version", "toolkit"), [("8.7", "12.8"), ("8.8", "12.9"), ("9.0", "13.0"), ("9.1", "13.1")])
def test_ptx_is_known_by_its_version(version: str, toolkit: str) -> None:
    assert toolkit_of_ptx(version) == toolkit
    assert jit_driver_floor(toolkit)


def test_no_toolkit_is_guessed() -> None:
    with pytest.raises(ValueError, match=r"no toolkit is known for PTX 99\.0; known: 7\.0, "):
        toolkit_of_ptx("99.0")


@pytest.mark.parametrize(
    ("toolkit", "driver"),
    [
        ("11.0", "450.36.06"),
        ("11.4", "470.42.01"),
        ("11.8", "520.61.05"),
        ("11.8.0", "520.61.05"),
        ("12.0", "525.60.13"),
        ("12.4", "550.54.14"),
        ("12.6", "560.28.03"),
    ],
)
def test_older_toolkits_have_their_drivers_too(toolkit: str, driver: str) -> None:
    assert jit_driver_floor(toolkit) == driver


def numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


PTX_VERSIONS = [*(f"7.{minor}" for minor in range(9)), "8.0", "8.1", "8.2", "8.3", "8.4", "8.5", "8.7", "8.8"]
PTX_VERSIONS += ["9.0", "9.1", "9.2"]


def test_newer_ptx_never_needs_an_older_toolkit_or_driver() -> None:
    toolkits = [toolkit_of_ptx(version) for version in PTX_VERSIONS]
    assert [numbers(toolkit) for toolkit in toolkits] == sorted(numbers(toolkit) for toolkit in toolkits)
    floors = [numbers(jit_driver_floor(toolkit)) for toolkit in toolkits]
    assert floors == sorted(floors) and len(set(map(tuple, floors))) == len(floors)


@pytest.mark.parametrize(
    ("version", "toolkit"),
    [("7.0", "11.0"), ("7.8", "11.8"), ("8.0", "12.0"), ("8.5", "12.5"), ("8.7", "12.8"), ("9.2", "13.2")],
)
def test_ptx_of_older_toolkits_is_known(version: str, toolkit: str) -> None:
    assert toolkit_of_ptx(version) == toolkit


@pytest.mark.parametrize(
    ("compute", "toolkit"),
    [("8.9", "11.8"), ("9.0", "11.8"), ("10.0", "12.8"), ("10.3", "12.9"), ("12.0", "12.8"), ("12.1", "12.9")],
)
def test_the_first_toolkit_for_a_gpu(compute: str, toolkit: str) -> None:
    assert toolkit_of_capability(compute) == toolkit
    assert jit_driver_floor(toolkit)


@pytest.mark.parametrize("compute", ["", "12", "120", "7.5", "99.0", "sm_120"])
def test_no_first_toolkit_is_guessed(compute: str) -> None:
    with pytest.raises(ValueError, match=r"no toolkit is known for compute capability.*known: 8\.9, 9\.0, 10\.0"):
        toolkit_of_capability(compute)


def test_every_gpu_of_the_matrix_has_a_first_toolkit_that_its_cuda_lines_reach() -> None:
    for cell in load_matrix(REPOSITORY_ROOT).cells:
        if cell.cuda:
            assert numbers(toolkit_of_capability(cell.target.compute)) <= numbers(cell.cuda.id), cell.id
