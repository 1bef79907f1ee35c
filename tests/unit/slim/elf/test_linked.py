from __future__ import annotations

import pytest

from scripts.slim.elf.linked import find_linked_in
from scripts.slim.elf.shared_object import read_shared_object
from tests.unit.slim.elf.cases import MIXED, check_untouched
from tests.unit.slim.elf.made import INDEX, Library

RODATA = INDEX[".rodata"]


def linked_in(*symbols: tuple[str, int]) -> str:
    """What is found in a library with functions of these names in these sections (0: somebody else's)."""
    made = Library(MIXED, symbols=[(name, index, 0x10, 8) for name, index in symbols])
    return find_linked_in(read_shared_object(made.build(), "lib.so"))


def test_functions_tell_which_of_nvidias_libraries_are_linked_in() -> None:
    assert linked_in(("cublasLtCreate", RODATA), ("main", RODATA)) == "cublasLt"
    assert linked_in(("nvshmem_init", RODATA), ("cudnnCreate", RODATA), ("cudnnDestroy", RODATA)) == "cudnn, nvshmem"


@pytest.mark.parametrize("name", ["cublas_side_const", "my_cublasCreate", "curandom", "CUDNNCreate"])
def test_other_functions_tell_nothing(name: str) -> None:
    assert linked_in((name, RODATA)) == ""


def test_what_is_only_called_is_not_linked_in() -> None:
    assert linked_in(("cublasLtCreate", 0)) == ""


def test_a_library_with_nvidias_code_is_left_alone() -> None:
    library = Library(MIXED, symbols=[("cublasLtCreate", RODATA, 0x10, 8)])
    check_untouched(library.build(), "it has NVIDIA's cublasLt linked into it")
