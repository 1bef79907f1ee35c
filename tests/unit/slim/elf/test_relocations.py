from __future__ import annotations

import pytest

from scripts.gpucode import GpuCodeError
from tests.unit.slim.elf.cases import DYNAMIC_OFFSET, PLAIN, check_untouched, patched, slim, with_section
from tests.unit.slim.elf.made import DYNSYM, RELOCATIONS

UNTOUCHED: dict[str, tuple[bytes, str]] = {
    "REL": (patched(PLAIN, DYNAMIC_OFFSET + 48, "<QQ", 17, 0), "a kind that x86-64 Linux does not use"),
    "unmapped relocations": (patched(PLAIN, DYNAMIC_OFFSET, "<QQ", 7, 0x900000), "a relocation table at address"),
    "other symbols": (patched(PLAIN, DYNAMIC_OFFSET + 64, "<QQ", 6, DYNSYM + 8), "not where its sections say"),
    "two symbol tables": (with_section(PLAIN, ".symtab", 1, 11), "it has 2 symbol tables"),
}


@pytest.mark.parametrize("name", UNTOUCHED)
def test_relocations_that_are_not_understood_leave_it_alone(name: str) -> None:
    check_untouched(*UNTOUCHED[name])


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (patched(PLAIN, DYNAMIC_OFFSET + 16, "<QQ", 8, 25), "a relocation table of 25 bytes"),
        (patched(PLAIN, RELOCATIONS + 8, "<Q", 5 << 32 | 1), "names symbol 5 of 1"),
        (with_section(PLAIN, ".symtab", 5, 23), "a symbol table of 23 bytes"),
    ],
)
def test_what_contradicts_itself_is_refused(data: bytes, cause: str) -> None:
    with pytest.raises(GpuCodeError, match=cause):
        slim(data)
