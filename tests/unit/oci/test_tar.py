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


@pytest.mark.parametrize(("offset", "name"), [(108, "uid"), (116, "gid")])
def test_no_owner_is_negative(offset: int, name: str) -> None:
    with pytest.raises(Undecided, match=f"an entry's {name} is not a number"):
        read(header_with(offset, b"\xff" * 8))


@pytest.mark.parametrize(("text", "mode"), [(b"\xff\xff00000\0", 0o000), (b"\xff" * 8, 0o7777), (b"1100644\0", 0o0644)])
def test_of_a_mode_only_the_permissions_count(text: bytes, mode: int) -> None:
    """Engines take one that is negative, and look at its last bits."""
    assert read(header_with(100, text)).mode == mode


@pytest.mark.parametrize("attributes", [{"uid": "-1"}, {"gid": "1.5"}, {"mtime": "now"}, {"mtime": "1e9"}])
def test_an_extended_attribute_that_is_no_number_is_refused(attributes: dict[str, str]) -> None:
    with pytest.raises(Undecided, match=f"an entry's {next(iter(attributes))} is not a number"):
        read(make(tarfile.PAX_FORMAT, pax_headers=attributes))


# --- what stands before an entry, by Go's rules: where two readers disagree, one of them does not see a library


def special(kind: bytes, data: bytes, name: str = "special") -> bytes:
    """An entry about those that follow: a pax header (`x`, `g`) or a GNU long name (`L`, `K`)."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512)


def record(key: str, value: str) -> bytes:
    body = f" {key}={value}\n".encode()
    length = len(body) + 2 if len(body) < 98 else len(body) + 3
    return f"{length:02}".encode() + body


def pax(**records: str) -> bytes:
    return special(b"x", b"".join(record(key, value) for key, value in records.items()))


def entry(name: str = "x", kind: bytes = b"0", content: bytes = b"", target: str = "", size: int = 0) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size or len(content), target
    return info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512)


def read_all(data: bytes) -> list[tuple[str, str, str, bytes]]:
    return [
        (member.name, member.kind, member.target, content.read(member.size))
        for member, content in TarReader(io.BytesIO(data + bytes(1024)), "here")
    ]


@pytest.mark.parametrize(
    ("before", "name"),
    [
        (pax(path="a"), "a"),
        (pax(path="a") + pax(mtime="1"), "x"),
        (pax(path="a") + pax(path="b"), "b"),
        (special(b"L", b"long\0") + pax(path="a"), "long"),
        (pax(path="a") + special(b"L", b"long\0"), "long"),
        (special(b"L", b"long\0") + special(b"L", b"\0"), "x"),
        (pax(path=""), "x"),
        (special(b"x", record("path", "a") + record("path", "b")), "b"),
    ],
)
def test_which_name_counts(before: bytes, name: str) -> None:
    assert read_all(before + entry() + entry("next")) == [(name, "file", "", b""), ("next", "file", "", b"")]


@pytest.mark.parametrize("before", [pax(path="a"), special(b"L", b"a\0"), special(b"K", b"a\0"), pax(size="3")])
def test_a_global_header_ends_what_was_pending_and_says_nothing_of_others(before: bytes) -> None:
    found = read_all(before + special(b"g", record("path", "g") + record("size", "7")) + entry("x", b"2", target="t"))
    assert found == [("g", "global", "", b""), ("x", "symlink", "t", b"")]


@pytest.mark.parametrize(
    "before", [pax(linkpath="a"), special(b"K", b"a\0"), special(b"K", b"a\0") + pax(linkpath="b")]
)
def test_which_target_counts(before: bytes) -> None:
    assert read_all(before + entry("x", b"2", target="t")) == [("x", "symlink", "a", b"")]
    assert read_all(pax(linkpath="") + entry("x", b"2", target="t")) == [("x", "symlink", "t", b"")]


@pytest.mark.parametrize(("kind", "name"), [(b"\0", "x/"), (b"5", "x/"), (b"1", "x"), (b"2", "x"), (b"6", "x")])
def test_what_has_no_content_has_none_whatever_its_size(kind: bytes, name: str) -> None:
    """A reader that skips content there skips the next entry."""
    assert [found[0] for found in read_all(entry(name, kind, size=512) + entry("y.so", content=b"1"))] == [name, "y.so"]


def test_an_old_sparse_file_whose_map_goes_on_is_read_from_where_its_content_begins() -> None:
    header = bytearray(make(tarfile.GNU_FORMAT, type=b"S", size=512)[:512])
    header[482] = 1
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    more, last = bytes(504) + b"\1" + bytes(7), bytes(512)
    decoy = entry("decoy.so")
    found = read_all(bytes(header) + more + last + decoy + entry("real.so"))
    assert [name for name, *_ in found] == ["x", "real.so"]


@pytest.mark.parametrize(
    ("records", "kind", "name"),
    [
        ({"major": "1", "minor": "0", "name": "s"}, "sparse", "s"),
        ({"major": "0", "minor": "1"}, "sparse", "x"),
        ({"map": "0,0"}, "sparse", "x"),
        ({"major": "2", "minor": "0", "name": "s"}, "file", "x"),
        ({"name": "s"}, "file", "x"),
        ({"map": "0,0", "major": "1"}, "file", "x"),
    ],
)
def test_which_files_are_sparse(records: dict[str, str], kind: str, name: str) -> None:
    before = pax(**{f"GNU.sparse.{key}": value for key, value in records.items()})
    assert read_all(before + entry(content=b"1"))[0][:2] == (name, kind)


@pytest.mark.parametrize(
    "data",
    [
        record("path", "a\0b"),
        record("", "a"),
        record("a\0b", "c"),
        b"4 a=\n",
        b"8 a=bc\n",
        b"7 a=bcd",
        b"6  a=b\n",
        record("GNU.sparse.numbytes", "1"),
        record("GNU.sparse.offset", "1,2"),
    ],
)
def test_records_that_go_refuses_are_refused(data: bytes) -> None:
    with pytest.raises(Undecided):
        read_all(special(b"x", data) + entry())


@pytest.mark.parametrize("records", [{"size": "x"}, {"uid": "1.0"}, {"mtime": "1e9"}, {"ctime": "x"}])
@pytest.mark.parametrize("kind", [b"x", b"g"])
def test_numbers_that_are_none_are_refused_wherever_they_stand(records: dict[str, str], kind: bytes) -> None:
    data = b"".join(record(key, value) for key, value in records.items())
    with pytest.raises(Undecided, match="is not a number"):
        read_all(special(kind, data) + entry())


@pytest.mark.parametrize("key", ["trusted.overlay.opaque", "trusted.overlay.redirect", "user.overlay.whiteout"])
def test_attributes_of_overlayfs_are_refused(key: str) -> None:
    """Engines set whatever attributes a layer names: by these, a folder hides or shows what no entry says."""
    with pytest.raises(Undecided, match="overlayfs hides and moves files"):
        read_all(pax(**{f"SCHILY.xattr.{key}": "y"}) + entry())
    assert read_all(pax(**{"SCHILY.xattr.user.x": "y"}) + entry())
