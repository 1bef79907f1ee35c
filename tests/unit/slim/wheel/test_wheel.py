from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import struct
import time
import zipfile
from pathlib import Path

import pytest

from scripts.audit.files import read_wheel
from scripts.errors import ConfigError, Undecided
from scripts.slim.elf.library import slim_bytes
from scripts.slim.wheel import wheel as module
from scripts.slim.wheel.wheel import WheelReport, slim_wheel
from scripts.zips import MAX_MEMBER, ZipMember, ZipReader
from tests.unit.gpucode import make_container, make_entry
from tests.unit.slim.elf.made import Library, fatbin, ptx, sass

LIBRARY = Library([fatbin(sass("80"), sass("90"), sass("120")), fatbin(sass("90a"), ptx("90"))]).build()
USED = Library([fatbin(sass("120"))]).build()
MOMENT = (2024, 1, 2, 3, 4, 6)
Members = dict[str, bytes]


def digest(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def members(version: str = "1.0", licence: str = "License-Expression: MIT") -> Members:
    info = f"big_kernels-{version}.dist-info"
    return {
        "big/__init__.py": b"import big._C\n",
        "big/_C.abi3.so": LIBRARY,
        "big/used.so.1": USED,
        "big/libcublas.so.12": LIBRARY,
        "big/script.so.txt": b"\x7fELF",
        f"big_kernels-{version}.data/scripts/big": b"#!python\n",
        f"{info}/METADATA": f"Metadata-Version: 2.4\nName: big-kernels\nVersion: {version}\n{licence}\n\n"
        f"Version: {version} is in the text, too\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nTag: cp311-cp311-linux_x86_64\n",
    }


def write(folder: Path, body: Members, file: str = "big_kernels-1.0-cp311-cp311-linux_x86_64.whl") -> Path:
    info = next(name.split("/")[0] for name in body if ".dist-info/" in name)
    if f"{info}/RECORD" not in body:
        rows = [(name, digest(data), str(len(data))) for name, data in body.items() if "RECORD." not in name]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([*rows, (f"{info}/RECORD", "", "")])
        body = {**body, f"{info}/RECORD": text.getvalue().encode()}
    path = folder / file
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in body.items():
            member = zipfile.ZipInfo(name, MOMENT)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = (0o100755 if name.endswith(("so", "scripts/big")) else 0o100644) << 16
            made.writestr(member, data)
    return path


def slim(tmp_path: Path, body: Members | None = None, compute: str = "12.0") -> tuple[WheelReport, Members]:
    report = slim_wheel(write(tmp_path, body or members()), tmp_path / "out", compute)
    assert report.wheel
    with zipfile.ZipFile(report.wheel) as made:
        assert made.testzip() is None
        return report, {name: made.read(name) for name in made.namelist()}


def check_record(found: Members) -> None:
    [record] = [name for name in found if name.endswith(".dist-info/RECORD")]
    rows = list(csv.reader(io.StringIO(found[record].decode())))
    assert [row[0] for row in rows if row[0] == record] == [record]
    assert sorted(row[0] for row in rows) == sorted(found)
    for name, claimed, size in rows:
        assert (claimed, size) == (("", "") if name == record else (digest(found[name]), str(len(found[name]))))


def test_a_slimmed_wheel_is_a_wheel_of_another_version(tmp_path: Path) -> None:
    report, found = slim(tmp_path)
    assert report.wheel == tmp_path / "out/big_kernels-1.0+sm120-cp311-cp311-linux_x86_64.whl"
    info = "big_kernels-1.0+sm120.dist-info"
    assert list(found) == [
        "big/__init__.py",
        "big/_C.abi3.so",
        "big/used.so.1",
        "big/libcublas.so.12",
        "big/script.so.txt",
        "big_kernels-1.0+sm120.data/scripts/big",
        f"{info}/METADATA",
        f"{info}/WHEEL",
        f"{info}/hallmark-slim.json",
        f"{info}/RECORD",
    ]
    head, _, text = found[f"{info}/METADATA"].partition(b"\n\n")
    assert b"\nVersion: 1.0+sm120\n" in head
    assert text == b"Version: 1.0 is in the text, too\n"
    check_record(found)
    assert found["big/_C.abi3.so"] == b"".join(slim_bytes(LIBRARY, "x", "12.0")[0])
    assert (found["big/used.so.1"], found["big/libcublas.so.12"]) == (USED, LIBRARY)
    assert report.before == (tmp_path / "big_kernels-1.0-cp311-cp311-linux_x86_64.whl").stat().st_size
    assert report.after == report.wheel.stat().st_size


def test_the_wheel_says_what_was_done_to_it(tmp_path: Path) -> None:
    report, found = slim(tmp_path)
    evidence = json.loads(found["big_kernels-1.0+sm120.dist-info/hallmark-slim.json"])
    source = tmp_path / "big_kernels-1.0-cp311-cp311-linux_x86_64.whl"
    libraries = evidence.pop("libraries")
    assert evidence == {
        "format": 1,
        "slimmer": 1,
        "compute": "12.0",
        "source": {"file": source.name, "sha256": hashlib.sha256(source.read_bytes()).hexdigest()},
    }
    assert list(report.libraries) == ["big/_C.abi3.so", "big/used.so.1", "big/libcublas.so.12"]
    assert libraries["big/_C.abi3.so"] == {
        "before": len(LIBRARY),
        "after": len(found["big/_C.abi3.so"]),
        "containers": 2,
        "entries": 5,
        "removed": 3,
        "untouched": "",
    }
    assert libraries["big/libcublas.so.12"]["untouched"] == "it is a library of NVIDIA's, which may not be modified"
    assert libraries["big/used.so.1"]["untouched"] == "it has nothing that the target cannot use"


def test_members_keep_their_bytes_times_and_modes(tmp_path: Path) -> None:
    report, _ = slim(tmp_path)
    assert report.wheel
    with zipfile.ZipFile(report.source) as old, zipfile.ZipFile(report.wheel) as new:
        infos = {info.filename: info for info in new.infolist()}
        before = old.getinfo("big/__init__.py")
        assert infos["big/__init__.py"].compress_size == before.compress_size
        assert {info.date_time for info in infos.values()} == {MOMENT}
        assert infos["big/_C.abi3.so"].external_attr >> 16 == 0o100755
        assert infos["big_kernels-1.0+sm120.data/scripts/big"].external_attr >> 16 == 0o100755
        assert infos["big/_C.abi3.so"].compress_type == zipfile.ZIP_STORED
        assert infos["big/libcublas.so.12"].compress_type == zipfile.ZIP_DEFLATED


def test_what_is_passed_on_is_checked_first(tmp_path: Path) -> None:
    wheel = write(tmp_path, members())
    with zipfile.ZipFile(wheel) as archive:
        start = archive.getinfo("big/__init__.py").header_offset + 30 + len("big/__init__.py")
    data = bytearray(wheel.read_bytes())
    data[start + 3] ^= 0xFF
    wheel.write_bytes(data)
    with pytest.raises(Undecided, match=r"`big/__init__\.py` (cannot be unpacked|is not what its checksum says)"):
        slim_wheel(wheel, tmp_path / "out", "12.0", "0" * 64)


@pytest.mark.parametrize("slims", [True, False])
@pytest.mark.parametrize("member", ["big/__init__.py", "big/used.so.1", "big_kernels-1.0.dist-info/WHEEL"])
@pytest.mark.parametrize(
    ("offset", "value"),
    [(8, 0x20), (10, 12), (16, 1), (24, 0), (24, 5), (24, 1 << 20), (42, 1), (42, 1 << 31)],
    ids=["flag", "method", "checksum", "no-size", "size", "larger", "offset", "end"],
)
def test_what_is_damage_to_the_audit_is_damage_to_the_slimmer(
    offset: int, value: int, member: str, slims: bool, tmp_path: Path
) -> None:
    """Numbers of the directory, of 16 bits up to the method and of 32 behind it."""
    body = members()
    if not slims:
        del body["big/_C.abi3.so"]
    wheel = write(tmp_path, body)
    data = bytearray(wheel.read_bytes())
    at = data.rindex(member.encode(), 0, data.rindex(b"PK\x05\x06")) - 46
    assert data[at : at + 4] == b"PK\x01\x02"
    struct.pack_into("<H" if offset < 16 else "<I", data, at + offset, value)
    wheel.write_bytes(data)
    for read in (read_wheel, lambda wheel: slim_wheel(wheel, tmp_path / "out", "12.0")):
        with pytest.raises(Undecided, match="not a sound wheel"):
            read(wheel)


def test_the_same_wheel_comes_out_each_time(tmp_path: Path) -> None:
    first, _ = slim(tmp_path)
    assert first.wheel
    data = first.wheel.read_bytes()
    sha256 = hashlib.sha256(first.source.read_bytes()).hexdigest()
    second = slim_wheel(first.source, tmp_path / "other", "12.0", sha256)
    assert second.wheel
    assert second.wheel.read_bytes() == data
    assert second.wheel.stat().st_mode & 0o777 == 0o644


def test_targets_differ(tmp_path: Path) -> None:
    report, found = slim(tmp_path, compute="9.0")
    assert report.wheel
    assert report.wheel.name == "big_kernels-1.0+sm90-cp311-cp311-linux_x86_64.whl"
    assert found["big/_C.abi3.so"] == b"".join(slim_bytes(LIBRARY, "x", "9.0")[0])


def test_a_local_version_and_a_build_number_stay(tmp_path: Path) -> None:
    wheel = write(tmp_path, members("1.0+cu130"), "big_kernels-1.0+cu130-3-cp311-cp311-linux_x86_64.whl")
    report = slim_wheel(wheel, tmp_path, "12.0")
    assert report.wheel
    assert report.wheel.name == "big_kernels-1.0+cu130.sm120-3-cp311-cp311-linux_x86_64.whl"
    with zipfile.ZipFile(report.wheel) as made:
        check_record({name: made.read(name) for name in made.namelist()})
        assert b"Version: 1.0+cu130.sm120\n" in made.read("big_kernels-1.0+cu130.sm120.dist-info/METADATA")


def test_signatures_of_the_old_record_go(tmp_path: Path) -> None:
    body = members()
    body |= {f"big_kernels-1.0.dist-info/{name}": b"signed" for name in ("RECORD.jws", "RECORD.p7s")}
    _, found = slim(tmp_path, body)
    assert not [name for name in found if "RECORD." in name]
    check_record(found)


def test_a_broken_library_is_passed_on_with_the_reason(tmp_path: Path) -> None:
    report, found = slim(tmp_path, {**members(), "big/cut.so": LIBRARY[:-100]})
    assert found["big/cut.so"] == LIBRARY[:-100]
    assert report.libraries["big/cut.so"].untouched.startswith("it cannot be read: big/cut.so at byte 0x")


# --- where the source stays


def unslimmed(tmp_path: Path, body: Members) -> WheelReport:
    report = slim_wheel(write(tmp_path, body), tmp_path / "out", "12.0")
    assert (report.wheel, report.after) == (None, 0)
    assert not (tmp_path / "out").exists()
    return report


def test_nothing_to_remove_writes_nothing(tmp_path: Path) -> None:
    body = members()
    del body["big/_C.abi3.so"]
    report = unslimmed(tmp_path, body)
    assert report.reason == "no library has GPU code that it could do without"
    assert set(report.libraries) == {"big/used.so.1", "big/libcublas.so.12"}
    assert report.refusal is None


def test_a_licence_that_forbids_it_is_a_refusal(tmp_path: Path) -> None:
    report = unslimmed(tmp_path, members(licence="License: NVIDIA Proprietary Software"))
    assert report.refusal
    assert "`License: NVIDIA Proprietary Software`" in report.refusal.cause
    assert report.refusal.place == "big-kernels 1.0"
    assert report.refusal.next_step
    assert report.reason == report.refusal.cause


@pytest.mark.parametrize("name", ["License.txt", "licenses/LICENSE", "licenses/third/EULA.md", "terms"])
def test_licence_files_count(tmp_path: Path, name: str) -> None:
    text = b"End User License Agreement\n\nThe Software License Agreement governs the use of NVIDIA software.\n"
    body = {**members(licence="License-File: terms"), f"big_kernels-1.0.dist-info/{name}": text}
    report = unslimmed(tmp_path, body)
    assert report.refusal
    assert f"`{name}` is an agreement with NVIDIA" in report.refusal.cause


def test_a_slimmed_wheel_is_not_slimmed_again(tmp_path: Path) -> None:
    first, _ = slim(tmp_path)
    assert first.wheel
    again = slim_wheel(first.wheel, tmp_path / "again", "9.0")
    assert (again.wheel, again.reason) == (None, "it was slimmed before")


# --- what is no wheel


def refusal(tmp_path: Path, body: Members, file: str = "big_kernels-1.0-cp311-cp311-linux_x86_64.whl") -> str:
    with pytest.raises(Undecided) as caught:
        slim_wheel(write(tmp_path, body, file), tmp_path / "out", "12.0")
    assert not list((tmp_path / "out").glob("*")), "something half-written is left"
    return str(caught.value)


def test_what_is_no_sound_wheel_is_refused(tmp_path: Path) -> None:
    info = "big_kernels-1.0.dist-info"
    body = members()
    assert "Invalid wheel filename" in refusal(tmp_path, body, "big.whl")
    assert "not one .dist-info" in refusal(tmp_path, {**body, "other-1.dist-info/METADATA": b""})
    assert f"it has no {info}/METADATA" in refusal(
        tmp_path, {name: data for name, data in body.items() if "METADATA" not in name}
    )
    record = f"{info}/RECORD"
    assert "RECORD is not a table of three columns" in refusal(tmp_path, {**body, record: b"a,b\n"})
    assert "not a sound wheel" in refusal(tmp_path, {**body, record: b"\xff\xff"})
    assert "METADATA has not one version" in refusal(
        tmp_path, {**body, f"{info}/METADATA": b"Name: big-kernels\nLicense: MIT\n\n"}
    )


def test_too_little_memory_is_undecided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(self: ZipReader, member: ZipMember, limit: int = 1 << 30) -> bytes | bytearray:
        if member.name.endswith(".so"):
            raise MemoryError
        return whole(self, member, limit)

    whole = ZipReader.read
    monkeypatch.setattr(ZipReader, "read", read)
    message = refusal(tmp_path, members())
    assert (
        "big_kernels-1.0-cp311-cp311-linux_x86_64.whl: there is not enough memory to slim `big/_C.abi3.so`" in message
    )
    assert "next: free some memory" in message


def test_no_gpu_is_a_mistake_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a compute capability"):
        slim_wheel(write(tmp_path, members()), tmp_path, "")


def test_of_a_licence_file_the_beginning_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty megabytes of one take seven kilobytes in a wheel, and a wheel can have a thousand."""
    large = b"Permission is hereby granted, free of charge" + b" " * (1 << 22)
    read: list[str] = []
    whole = ZipReader.read

    def count(self: ZipReader, member: ZipMember, limit: int = MAX_MEMBER) -> bytes | bytearray:
        read.append(member.name)
        return whole(self, member, limit)

    monkeypatch.setattr(ZipReader, "read", count)
    body = members(licence="License: UNKNOWN") | {"big_kernels-1.0.dist-info/LICENSE": large}
    slim(tmp_path, body)
    assert not any("LICENSE" in name for name in read) and any("METADATA" in name for name in read)


@pytest.mark.parametrize("name", ["METADATA", "RECORD"])
def test_a_text_that_is_larger_than_any_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, f"LARGEST_{name}", 100)
    with pytest.raises(Undecided, match=f"{name}` claims to have"):
        slim(tmp_path)


def test_a_thousand_licence_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LICENCES", 5)
    licences = {f"big_kernels-1.0.dist-info/licenses/LICENSE.{number}": b"" for number in range(6)}
    with pytest.raises(Undecided, match="more than 5 licence files"):
        slim(tmp_path, members() | licences)


def test_slimmed_libraries_that_wait_to_be_written_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SLIMMED", 1000)
    with pytest.raises(Undecided, match="more than 1000 bytes, slimmed"):
        slim(tmp_path)


def test_a_library_of_very_many_entries_takes_no_longer_for_each_of_them(tmp_path: Path) -> None:
    """Of 80,000 entries in one container 40,000 stay: where each is looked for in a list, that takes half a minute."""
    entries = [make_entry(sass("120", 1)), make_entry(sass("80", 64))] * 40_000
    dense = Library([make_container(entries)]).build()
    started = time.process_time()
    report, _ = slim(tmp_path, members() | {"big/_C.abi3.so": dense})
    assert report.libraries["big/_C.abi3.so"].removed == 40_000
    assert time.process_time() - started < 10
