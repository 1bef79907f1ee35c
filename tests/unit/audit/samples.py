"""Real libraries from tests/data/gpucode, and what is to be found of them."""

from __future__ import annotations

from scripts.audit.library import Library, parse_library
from tests.unit.builders import DATA

PLAIN = (DATA / "gpucode/plain.so").read_bytes()
SEVERAL = (DATA / "gpucode/several.so").read_bytes()
HOST = (DATA / "gpucode/host.so").read_bytes()


def library(path: str, data: bytes = PLAIN) -> Library:
    """What is to be found of a file of these bytes."""
    found = parse_library(path, data)
    assert found
    return found
