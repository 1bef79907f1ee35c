"""An entry's attributes, in every form that they are written in. What else is read of a tar: test_layer.py."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest

from scripts.errors import Undecided
from scripts.oci.tar import TarMember, TarReader

FORMS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def make(form: int, **fields: Any) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        info = tarfile.TarInfo("x")
        for name, value in fields.items():
            setattr(info, name, value)
        tar.addfile(info)
    return stream.getvalue()


def read(data: bytes) -> TarMember:
    [(member, _)] = TarReader(io.BytesIO(data), "here")
    return member


@pytest.mark.parametrize("form", FORMS)
def test_mode_owner_and_time_are_read(form: int) -> None:
    member = read(make(form, mode=0o4755, uid=1000, gid=100, mtime=1_700_000_000))
    assert (member.mode, member.uid, member.gid, member.mtime) == (0o4755, 1000, 100, 1_700_000_000)


@pytest.mark.parametrize("form", FORMS[1:])
@pytest.mark.parametrize("mtime", [-1, -10_000_000_000, 1 << 40])
def test_large_owners_and_times_before_1970_are_read(form: int, mtime: int) -> None:
    member = read(make(form, uid=1 << 31, gid=1 << 30, mtime=mtime))
    assert (member.uid, member.gid, member.mtime) == (1 << 31, 1 << 30, mtime)


def test_a_part_of_a_second_is_kept() -> None:
    assert read(make(tarfile.PAX_FORMAT, mtime=1000.25)).mtime == 1000.25


def header_with(offset: int, text: bytes) -> bytes:
    block = bytearray(make(tarfile.USTAR_FORMAT)[:512])
    block[offset : offset + len(text)] = text
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(1024)


@pytest.mark.parametrize(("offset", "name"), [(100, "mode"), (108, "uid"), (116, "gid"), (136, "mtime")])
def test_an_attribute_that_is_no_number_is_refused(offset: int, name: str) -> None:
    with pytest.raises(Undecided, match=f"an entry's {name} is not a number"):
        read(header_with(offset, b"what"))


@pytest.mark.parametrize(("offset", "name"), [(100, "mode"), (108, "uid"), (116, "gid")])
def test_only_a_time_is_negative(offset: int, name: str) -> None:
    with pytest.raises(Undecided, match=f"an entry's {name} is not a number"):
        read(header_with(offset, b"\xff" * 8))


@pytest.mark.parametrize("attributes", [{"uid": "-1"}, {"gid": "1.5"}, {"mtime": "now"}, {"mtime": "1e9"}])
def test_an_extended_attribute_that_is_no_number_is_refused(attributes: dict[str, str]) -> None:
    with pytest.raises(Undecided, match=f"an entry's {next(iter(attributes))} is not a number"):
        read(make(tarfile.PAX_FORMAT, pax_headers=attributes))
