from __future__ import annotations

import io
import os
import struct
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts import zips as module
from scripts.errors import Undecided
from scripts.zips import ZipReader, ZipWriter

MOMENT = (2025, 3, 4, 5, 6, 8)


def make(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, mode: int = 0o100644) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as made:
        for name, body in members.items():
            info = zipfile.ZipInfo(name, MOMENT)
            info.compress_type, info.external_attr = method, mode << 16
            made.writestr(info, body)
    return stream.getvalue()


def test_a_wheel_that_lies_under_another_name_is_called_by_its_own(tmp_path: Path) -> None:
    path = tmp_path / "0123abcd"
    path.write_bytes(make({"../x": b""}))
    with pytest.raises(Undecided, match=r"^x-1\.0-py3-none-any\.whl: not a sound wheel"):
        ZipReader(path, "x-1.0-py3-none-any.whl")


def opened(tmp_path: Path, data: bytes) -> ZipReader:
    path = tmp_path / "x.whl"
    path.write_bytes(data)
    return ZipReader(path)


def refusal(tmp_path: Path, data: bytes) -> str:
    with pytest.raises(Undecided) as caught:
        found = opened(tmp_path, data)
        for member in found.members.values():
            found.read(member)
    return str(caught.value)


MEMBERS = {"a/b.txt": b"text " * 999, "empty": b"", "a/é.txt": b"x"}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_read_and_passed_on_as_they_are(tmp_path: Path, method: int) -> None:
    found = opened(tmp_path, make(MEMBERS, method, 0o100755))
    assert {name: bytes(found.read(member)) for name, member in found.members.items()} == MEMBERS
    stream = io.BytesIO()
    writer = ZipWriter(stream)
    for name, member in found.members.items():
        writer.copy(member, name, found.packed(member))
    writer.store(found.members["empty"], "new", [b"pieces ", b"of it"])
    writer.finish()
    with zipfile.ZipFile(stream) as made:
        assert made.testzip() is None
        assert made.namelist() == [*MEMBERS, "new"]
        assert {name: made.read(name) for name in MEMBERS} == MEMBERS
        assert made.read("new") == b"pieces of it"
        infos = made.infolist()
    assert [info.compress_type for info in infos] == [method] * 3 + [zipfile.ZIP_STORED]
    assert {info.external_attr >> 16 for info in infos} == {0o100755}
    assert {info.date_time for info in infos} == {MOMENT}


def test_what_a_stream_wrote_without_knowing_sizes_gets_them(tmp_path: Path) -> None:
    class Pipe(io.RawIOBase):  # cannot seek, so that zipfile puts the sizes behind the data
        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override]
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("x", b"y" * 99)
    found = opened(tmp_path, pipe.data)
    assert found.members["x"].info.flag_bits & 8
    stream = io.BytesIO()
    writer = ZipWriter(stream)
    writer.copy(found.members["x"], "x", found.packed(found.members["x"]))
    writer.finish()
    with zipfile.ZipFile(stream) as again:
        assert again.read("x") == b"y" * 99
        assert not again.infolist()[0].flag_bits & 8


def test_what_is_too_large_for_old_zips_is_written_the_new_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FULL_32", 50)
    monkeypatch.setattr(module, "_FULL_16", 3)
    found = opened(tmp_path, make(MEMBERS, zipfile.ZIP_STORED))
    stream = io.BytesIO()
    writer = ZipWriter(stream)
    for name, member in found.members.items():
        writer.copy(member, name, found.packed(member))
    writer.finish()
    data = stream.getvalue()
    assert b"PK\x06\x06" in data and b"PK\x06\x07" in data
    # A reader believes the wide fields only where the narrow ones are full, so make them that.
    full = data.replace(struct.pack("<I", 50), struct.pack("<I", 0xFFFFFFFF))
    end = full.rindex(b"PK\x05\x06")
    full = full[: end + 8] + b"\xff" * 12 + full[end + 20 :]
    with zipfile.ZipFile(io.BytesIO(full)) as made:
        assert {name: made.read(name) for name in MEMBERS} == MEMBERS


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "a\\b", "."])
def test_no_member_leaves_the_archive(tmp_path: Path, name: str) -> None:
    assert "is not a path inside it" in refusal(tmp_path, make({name: b"x"}))


@pytest.mark.parametrize("name", ["a\n::error::x", "a\rb", "\x1b[2J"])
def test_no_member_can_break_a_line(tmp_path: Path, name: str) -> None:
    assert "has a control character" in refusal(tmp_path, make({name: b"x"}))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_no_name_is_there_twice(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr("x", b"1")
        made.writestr("x", b"2")
    assert "has `x` twice" in refusal(tmp_path, stream.getvalue())


def test_other_ways_of_packing_are_refused(tmp_path: Path) -> None:
    assert "packed in a way that wheels are not" in refusal(tmp_path, make({"x": b"x"}, zipfile.ZIP_BZIP2))
    data = bytearray(make({"x": b"x"}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert "packed in a way that wheels are not" in refusal(tmp_path, bytes(data))


@pytest.mark.parametrize("bit", range(16))
def test_a_flag_that_nobody_knows_is_not_passed_on(tmp_path: Path, bit: int) -> None:
    data = bytearray(make({"x": b"x"}))
    for at in (data.index(b"PK\x01\x02") + 8, data.index(b"PK\x03\x04") + 6):
        data[at : at + 2] = (int.from_bytes(data[at : at + 2], "little") | 1 << bit).to_bytes(2, "little")
    if bit in (1, 2, 3, 11):
        assert opened(tmp_path, bytes(data)).members
    else:
        assert "not a sound wheel" in refusal(tmp_path, bytes(data))


def test_an_offset_that_no_file_could_have_is_damage_and_no_fault_of_the_machine(tmp_path: Path) -> None:
    start = BODY.index(b"PK\x01\x02")
    end = BODY.index(b"PK\x05\x06")
    for offset in (1 << 63, (1 << 64) - 1, 1 << 62):
        wide = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, end - start, offset)
        locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
        tail = BODY[end : end + 8] + b"\xff" * 12 + BODY[end + 20 :]
        assert "not a sound wheel" in refusal(tmp_path, BODY[:end] + wide + locator + tail)


@pytest.mark.parametrize("data", [b"", b"PK", b"no zip at all", make({"x": b"x"})[:-30]])
def test_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    message = refusal(tmp_path, data)
    assert "x.whl: not a sound wheel" in message
    assert "next: fetch it again" in message


def central(data: bytes, offset: int, value: int) -> bytes:
    """With another number of 32 bits in the directory's only header."""
    at = data.index(b"PK\x01\x02") + offset
    return data[:at] + struct.pack("<I", value) + data[at + 4 :]


DATA = bytes(range(256)) * 9
BODY = make({"x": DATA})


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (central(BODY, 16, 1), "`x` is not what its checksum says"),
        (central(BODY, 20, 1 << 30), "lists more than it has"),
        (central(BODY, 24, 1 << 31), "`x` claims to have 2147483648 bytes"),
        (central(BODY, 24, 2305), "`x` is not what its checksum says"),
        (central(BODY, 24, 2303), "`x` cannot be unpacked"),
        (central(BODY, 42, 1 << 30), "`x` lies past its end"),
        (BODY[:-6] + struct.pack("<I", 1 << 16) + BODY[-2:], "`x` lies past its end"),
        (central(BODY, 42, 1), "`x` is not where the directory says"),
        (BODY[:30] + b"y" + BODY[31:], "`x` is not where the directory says"),
        (BODY[:40] + b"\xff" * 20 + BODY[60:], "`x` cannot be unpacked"),
    ],
)
def test_the_directory_is_not_believed(tmp_path: Path, data: bytes, cause: str) -> None:
    before = time.perf_counter()
    assert cause in refusal(tmp_path, data)
    assert time.perf_counter() - before < 1


def test_a_member_is_checked_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 100)
    body = {"x": bytes(range(256)) * 9, "zeros": bytes(5000), "empty": b""}
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        found = opened(tmp_path, make(body, method))
        for member in found.members.values():
            found.check(member)
    for data, cause in (
        (central(BODY, 16, 1), "is not what its checksum says"),
        (central(BODY, 24, 2305), "is not what its checksum says"),
        (BODY[:40] + b"\xff" * 20 + BODY[60:], "cannot be unpacked"),
    ):
        found = opened(tmp_path, data)
        with pytest.raises(Undecided, match=f"`x` {cause}"):
            found.check(found.members["x"])


def deflated(data: bytes, spoil: Callable[[bytes], bytes]) -> bytes:
    """An archive of one member `x`, whose stream is not what it was made as; sizes and checksum are of the data."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = spoil(packer.compress(data) + packer.flush())
    common = (20, 0, 8, 0, 0x21, zlib.crc32(data), len(packed), len(data), 1)
    local = struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", *common, 0) + b"x" + packed
    directory = struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", 20, *common, 0, 0, 0, 0, 0o644 << 16, 0) + b"x"
    return local + directory + struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1, 1, len(directory), len(local), 0)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("chunk", [100, 1 << 20])
def test_a_stream_that_ends_before_its_member_does_is_not_read_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    found = opened(tmp_path, deflated(bytes(3 << 20), lambda packed: packed + b"more" * 400))
    member = found.members["x"]
    assert found.read(member) == bytes(3 << 20)
    found.check(member)
    assert found.read_start(member, 4 << 20) == bytes(3 << 20)


def test_a_stream_without_an_end_is_damage_however_it_is_read(tmp_path: Path) -> None:
    data = bytes(range(256)) * 9
    found = opened(tmp_path, deflated(data, lambda packed: b"\x00" + struct.pack("<HH", 2304, 2304 ^ 0xFFFF) + data))
    member = found.members["x"]
    for read in (found.read, found.check, lambda member: found.read_start(member, 9000)):
        with pytest.raises(Undecided, match="`x` cannot be unpacked"):
            read(member)


def test_what_a_member_has_beyond_its_size_is_not_unpacked(tmp_path: Path) -> None:
    """A megabyte can hold a gigabyte."""
    found = opened(tmp_path, central(deflated(bytes(64 << 20), bytes), 24, 10))
    tracemalloc.start()
    with pytest.raises(Undecided, match="is not what its checksum says"):
        found.check(found.members["x"])
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("size", [0, 1, 2303, 2305])
def test_what_is_left_of_a_member_is_read_and_checked(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library of which the directory says that it has no byte would otherwise be none."""
    monkeypatch.setattr(module, "CHUNK", 100)
    found = opened(tmp_path, BODY)
    with found.open(found.members["x"]) as stream:
        assert [stream.read(250), stream.read(0), stream.read(6)] == [DATA[:250], b"", DATA[250:256]]
    with found.open(found.members["x"]) as stream:
        assert [stream.read(3000), stream.read(1)] == [DATA, b""]
    found = opened(tmp_path, central(BODY, 24, size))
    with (
        pytest.raises(Undecided, match="`x` is not what its checksum says"),
        found.open(found.members["x"]) as stream,
    ):
        stream.read(min(size, 6))


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_changed_archive_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, draw: st.DataObject) -> None:
    data = bytearray(make(MEMBERS))
    for _ in range(draw.draw(st.integers(1, 3))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    data = data[: draw.draw(st.sampled_from((len(data), len(data) // 2, len(data) - 1)))]
    try:
        found = opened(tmp_path_factory.getbasetemp(), bytes(data))
        for member in found.members.values():
            found.read(member)
    except Undecided:
        pass


@pytest.mark.parametrize(("place", "cause"), [(0, "`b.so` is not where the directory says"), (34, "share bytes")])
def test_no_byte_is_of_two_members(place: int, cause: str, tmp_path: Path) -> None:
    """What is unpacked once for each name costs as many times what it takes in the file."""
    within = make({"b.so": b"x" * 100}, zipfile.ZIP_STORED)[: 34 + 100]  # as it would lie in an archive of its own
    data = bytearray(make({"a.so": within, "b.so": b"x" * 100}, zipfile.ZIP_STORED))
    entry = data.rindex(b"PK\1\2")
    assert data[entry + 46 : entry + 50] == b"b.so"
    struct.pack_into("<I", data, entry + 42, place)
    assert cause in refusal(tmp_path, bytes(data))


def test_a_directory_is_bounded_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make({f"{number:03}": b"" for number in range(200)})
    opened(tmp_path, data)
    read: list[object] = []
    monkeypatch.setattr(zipfile, "ZipFile", read.append)
    with monkeypatch.context() as patched:
        patched.setattr(module, "MAX_MEMBERS", 199)
        assert "more than 199 members" in refusal(tmp_path, data)
    monkeypatch.setattr(module, "LARGEST_DIRECTORY", 1000)
    assert "its directory has 9800 bytes" in refusal(tmp_path, data)
    assert read == []


def test_a_directory_behind_which_another_archive_begins_is_bounded_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end that counts is the one that `zipfile` takes: by a comment, and by zip64's own record."""
    many = make({f"{number:03}": b"" for number in range(200)})
    end = many.rindex(b"PK\5\6")
    start, size = struct.unpack_from("<I", many, end + 16)[0], struct.unpack_from("<I", many, end + 12)[0]
    commented = many[:-2] + struct.pack("<H", 50) + make({"a": b""})[:50]
    end_64 = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 200, 200, size, start)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
    wide = many[:end] + end_64 + locator + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, 0, 0, 0)
    for data in (commented, wide):
        assert len(opened(tmp_path, data).members) == 200
    monkeypatch.setattr(module, "MAX_MEMBERS", 199)
    for data in (commented, wide):
        assert "more than 199 members" in refusal(tmp_path, data)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_start_of_a_member_is_read_alone(tmp_path: Path, method: int) -> None:
    found = opened(tmp_path, make(MEMBERS, method))
    member = found.members["a/b.txt"]
    assert found.read_start(member, 10) == MEMBERS["a/b.txt"][:10]
    assert found.read_start(found.members["empty"], 10) == b""


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.whl")
    with pytest.raises(OSError, match="not a plain file"):
        ZipReader(tmp_path / "x.whl")
