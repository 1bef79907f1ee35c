from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.gpucode import Entry, Kind, runs_on
from scripts.slim.elf.choose import choose_entries


def entries(*names: str) -> list[Entry]:
    """`sass 120a`, `ptx 90 400`: a kind, an architecture, and perhaps a size in bytes."""
    made = []
    for name in names:
        kind, arch, *size = name.split()
        kinds: dict[str, Kind] = {"sass": "sass", "ptx": "ptx", "other": "other"}
        made.append(Entry(kinds[kind], arch, "none", int(*size or ("100",)), 100))
    return made


@pytest.mark.parametrize(
    ("compute", "names", "kept"),
    [
        ("12.0", ["sass 80", "sass 90", "sass 120", "ptx 120"], ["sass 120"]),
        ("12.0", ["sass 90a", "sass 100a", "sass 120a", "ptx 90"], ["sass 120a"]),
        ("12.0", ["sass 120", "sass 120a", "sass 120f", "ptx 120"], ["sass 120", "sass 120a", "sass 120f"]),
        ("12.1", ["sass 120", "sass 120f", "sass 121", "sass 121a"], ["sass 121", "sass 121a"]),
        ("12.1", ["sass 120", "sass 120a", "ptx 121"], ["sass 120"]),
        ("9.0", ["sass 80", "sass 90", "sass 90a", "ptx 90a"], ["sass 90", "sass 90a"]),
        ("8.9", ["sass 75", "sass 80", "sass 86", "sass 90"], ["sass 86"]),
        ("8.9", ["sass 80 400", "sass 80 100", "ptx 80"], ["sass 80", "sass 80"]),
        ("12.0", ["sass 80", "ptx 80", "ptx 90", "ptx 121"], ["ptx 90"]),
        ("9.0", ["sass 80", "ptx 80", "ptx 90", "ptx 90a"], ["ptx 90", "ptx 90a"]),
        ("12.0", ["sass 90a 300", "sass 100a 200", "ptx 100a 50"], ["sass 100a"]),
        ("12.0", ["ptx 90a 300", "ptx 100a 200"], ["ptx 100a"]),
        ("12.0", ["sass 90 300", "other 90", "sass 120"], ["other 90", "sass 120"]),
        ("12.0", ["other 90"], ["other 90"]),
        ("12.0", [], []),
    ],
)
def test_what_is_kept(compute: str, names: list[str], kept: list[str]) -> None:
    given_entries = entries(*names)
    chosen = [given_entries[index] for index in choose_entries(given_entries, compute)]
    assert [f"{entry.kind} {entry.arch}" for entry in chosen] == kept


def test_no_compute_capability_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a compute capability"):
        choose_entries(entries("sass 120"), "120")


_ENTRY = st.builds(
    Entry,
    kind=st.sampled_from(("sass", "ptx", "other")),
    arch=st.sampled_from(("75", "80", "86", "89", "90", "90a", "100", "100f", "120", "120a", "120f", "121")),
    compression=st.just("none"),
    stored_size=st.integers(1, 9),  # without a byte there is nothing to be used
    size=st.just(1),
)


@given(st.lists(_ENTRY, max_size=8), st.sampled_from(("8.0", "8.9", "9.0", "10.0", "12.0", "12.1")))
def test_choosing_again_changes_nothing_and_nothing_usable_is_lost(made: list[Entry], compute: str) -> None:
    kept = [made[index] for index in choose_entries(made, compute)]
    assert choose_entries(kept, compute) == list(range(len(kept)))

    def best(of: list[Entry]) -> tuple[str, ...]:
        return tuple({runs_on(entry.arch, entry.kind, compute) for entry in of} & {"native"}) or tuple(
            {runs_on(entry.arch, entry.kind, compute) for entry in of} & {"jit"}
        )

    assert best(kept) == best(made)
    assert bool(kept) == bool(made)
