"""Layers: every way in which a tar is packed, damaged or hostile."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
import time
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.errors import Undecided
from scripts.oci import decompress as decompress_module
from scripts.oci import layer as layer_module
from scripts.oci import tar as tar_module
from scripts.oci.layer import Found, Layer, Link, Names, What, normalise, scan_layer
from scripts.oci.tar import spell
from tests.unit.oci.made import (
    COMPRESSORS,
    HOST,
    PLAIN,
    Entry,
    Thing,
    Trickle,
    keep_thing,
    make_tar,
    zstd,
)

TAR = make_tar(("./usr/lib/", "folder", ""), ("./usr/lib/x.so", PLAIN), ("etc/hosts", b"127.0.0.1"), ("h.so", HOST))
ENTRIES: list[tuple[str, What[Thing]]] = [
    ("usr/lib", "directory"),
    ("usr/lib/x.so", Found(Thing("usr/lib/x.so"))),
    ("etc/hosts", "file"),
    ("h.so", "file"),
]


def scan(data: bytes) -> list[tuple[str, What[Thing]]]:
    return scan_layer(Trickle(data), "here", keep_thing).entries


def found(path: str) -> Found[Thing]:
    return Found(Thing(path))


# --- how a layer is packed


SKIPPABLE = b"\x50\x2a\x4d\x18" + struct.pack("<I", 5) + b"hello"


@pytest.mark.parametrize(
    "data",
    [
        TAR,
        gzip.compress(TAR),
        zstd(TAR),
        gzip.compress(TAR[:777]) + gzip.compress(b"") + gzip.compress(TAR[777:]),
        zstd(TAR[:777]) + zstd(b"") + zstd(TAR[777:]),
        SKIPPABLE + zstd(TAR) + SKIPPABLE,
        gzip.compress(TAR) + b"\0" * 1000,
        TAR + b"what comes behind the end is nobody's",
    ],
    ids=["plain", "gzip", "zstd", "gzip members", "zstd frames", "zstd skippable", "gzip padded", "trailing"],
)
def test_every_packing_gives_the_same_and_is_read_to_its_end(data: bytes) -> None:
    stream = Trickle(data)
    assert scan_layer(stream, "here", keep_thing).entries == ENTRIES
    assert stream.is_at_end, "whoever hashes the stream has seen all of it"
    assert stream.largest <= 1 << 20


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_tar_format_is_read(form: int) -> None:
    entries: list[Entry] = [("a" * 90 + "/" + "b" * 90, PLAIN), ("link", "link", "x" * 99), ("hard", "hard", "./link")]
    assert scan(make_tar(*entries, form=form)) == [
        ("a" * 90 + "/" + "b" * 90, found("a" * 90 + "/" + "b" * 90)),
        ("link", Link("x" * 99)),
        ("hard", Link("./link", hard=True)),
    ]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names_are_read(form: int) -> None:
    long = "/".join(["part"] * 200)
    entries = scan(make_tar((long, b""), ("l", "link", long), ("h", "hard", long), ("ünï", PLAIN), form=form))
    assert entries == [(long, "file"), ("l", Link(long)), ("h", Link(long, hard=True)), ("ünï", found("ünï"))]


def test_a_name_that_is_not_utf_8_is_another_than_the_same_spelled_out() -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", encoding="latin-1", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("caf\xe9"))
        tar.addfile(tarfile.TarInfo("caf\\xe9"))
    (first, _), (second, _) = scan(stream.getvalue())
    assert first != second and spell(first) == spell(second) == "caf\\xe9"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("./a/b", "a/b"),
        ("/a//b/", "a/b"),
        ("//a", "a"),
        ("../../a", "a"),
        ("a/../../b/./c", "b/c"),
        (".", ""),
        ("/", ""),
        ("..", ""),
    ],
)
def test_names_are_cleaned_and_do_not_lead_out(name: str, path: str) -> None:
    assert normalise(name) == path


def test_a_pipe_is_a_file_without_content_and_the_root_is_nothing() -> None:
    assert scan(make_tar(("./", "folder", ""), ("p", "pipe", ""), ("x", PLAIN))) == [
        ("p", "file"),
        ("x", found("x")),
    ]


def test_whiteouts_are_told_from_files() -> None:
    entries = scan(
        make_tar(
            ("a/.wh.b", b""), ("a/.wh..wh..opq", b""), (".wh..wh..opq", b""), (".wh..wh.plnk", b""), (".wh.c", b"")
        )
    )
    assert entries == [
        ("a/b", "whiteout"),
        ("a", "opaque"),
        ("", "opaque"),
        (".wh.plnk", "whiteout"),
        ("c", "whiteout"),
    ]


@pytest.mark.parametrize("folder", [".wh..wh.plnk", "a/.wh..wh.plnk", ".wh.a", "a/.wh..wh..opq"])
def test_a_folder_with_the_name_of_a_mark_hides_nothing(folder: str) -> None:
    """Engines look at an entry's last part alone: what lies in such a folder is there for every process."""
    assert scan(make_tar((f"{folder}/x.so", PLAIN))) == [(f"{folder}/x.so", found(f"{folder}/x.so"))]


def test_a_sparse_file_is_a_fault_and_what_follows_is_read() -> None:
    tar = make_tar(("x", b"1" * 600), ("y", PLAIN), form=tarfile.GNU_FORMAT)
    [(path, kept), after] = scan(patched(tar, 156, b"S"))
    assert path == "x" and kept == Found(Thing(path, b"sparse"))
    assert after == ("y", found("y"))


def test_a_sparse_file_of_pax_is_one_too() -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("GNUSparseFile.0/x")
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "real/x"}
        tar.addfile(info)
    [(path, kept)] = scan(stream.getvalue())
    assert path == "real/x" and kept == Found(Thing(path, b"sparse"))


@pytest.mark.parametrize("packing", COMPRESSORS)
def test_a_layer_is_known_by_its_plain_bytes(packing: str) -> None:
    tar = TAR + b"\0" * 700 + b"rest"
    layer = scan_layer(Trickle(COMPRESSORS[packing](tar)), "here", keep_thing)
    assert layer.diff_id == f"sha256:{hashlib.sha256(tar).hexdigest()}"


def test_what_nobody_keeps_is_a_file() -> None:
    layer: Layer[Thing] = scan_layer(Trickle(TAR), "here", lambda path, member, content: None)
    assert [what for _, what in layer.entries] == ["directory", "file", "file", "file"]


# --- damage


def patched(tar: bytes, offset: int, data: bytes, header: int = 0) -> bytes:
    """A tar with other bytes in one of its headers, and the sum that goes with them."""
    block = bytearray(tar[header : header + 512])
    block[offset : offset + len(data)] = data
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return tar[:header] + bytes(block) + tar[header + 512 :]


FILE = make_tar(("x.so", PLAIN))
PAX = make_tar(("y" * 300, b""))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"neither a tar nor packed", "cut short after 24 bytes"),
        (b"x" * 4096, "no tar entry at byte 0"),
        (FILE[:700], "cut short after 700 bytes"),
        (FILE[: 511 + len(PLAIN)], "cut short"),
        (FILE[:19456] + b"x" * 512, "no tar entry at byte 19456"),
        (patched(FILE, 124, b"x" * 11), "size is not a number"),
        (patched(FILE, 124, b"\xff" * 12), "size is not a number"),
        (patched(FILE, 124, b"\x80" + b"\x7f" * 11), "size is not a number"),
        (patched(FILE, 124, b"0o77\0"), "size is not a number"),
        (patched(FILE, 156, b"S"), "sparse file of a form that no engine unpacks"),
        (FILE[:19456] + bytes(512) + b"x" * 512, "behind half of the mark"),
        (patched(FILE, 156, b"D"), "a type that no layer has"),
        (patched(PAX, 124, b"77777777777"), "attributes take 8589934591 bytes"),
        (PAX[:512] + b"1" + PAX[513:], "attributes cannot be read"),
        (PAX[:512] + b"0 path=x\n" + PAX[521:], "attributes cannot be read"),
        (PAX[:512] + b"9" * 30 + PAX[542:], "attributes cannot be read"),
        (make_tar(("y/" * 2500, b"")), "longer than any system takes"),
        (make_tar(("a/.wh.", b"")), "a whiteout of nothing"),
        (make_tar(("a/.wh...", b"")), "a whiteout of nothing"),
        (gzip.compress(FILE)[:-1], "ended before the end-of-stream marker"),
        (gzip.compress(FILE)[:-8] + b"12345678", "CRC"),
        (gzip.compress(FILE) + b"rest", "Not a gzipped file"),
        (zstd(FILE)[:30], "ends without a mark"),
        (zstd(FILE) + b"rest", "zstd"),
        (zstd(FILE[: 512 + len(PLAIN) + -len(PLAIN) % 512]), "ends without a mark"),
        (zstd(b""), "ends without a mark"),
        (b"\x28\xb5\x2f\xfd" + b"\xff" * 100, "zstd"),
    ],
)
def test_what_no_engine_would_unpack_is_undecided_and_says_where(data: bytes, words: str) -> None:
    with pytest.raises(Undecided, match=words) as caught:
        scan_layer(Trickle(data), "layer sha256:123", keep_thing)
    assert caught.value.problems[0].place == "layer sha256:123"


WHOLE = 512 + len(PLAIN)


@pytest.mark.parametrize("data", [b"", gzip.compress(b"", mtime=0), FILE[: -(-WHOLE // 512) * 512], FILE[:WHOLE]])
def test_an_archive_without_a_mark_is_fine_where_its_end_is_sure(data: bytes) -> None:
    assert [path for path, _ in scan(data)] == (["x.so"] if data.startswith(b"x.so") else [])


@pytest.mark.parametrize("packing", COMPRESSORS)
def test_a_bomb_ends(packing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_module, "LARGEST_ARCHIVE", 1 << 22)
    bomb = COMPRESSORS[packing](TAR + b"\0" * (1 << 23))
    with pytest.raises(Undecided, match="more than this program reads"):
        scan(bomb)


def test_too_many_names_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_module, "MOST_NAMES", 1 << 14)
    entries: list[Entry] = [("f", b""), ("link", "link", "target"), (".", b""), ("../.wh.x", b"")]
    for entry in entries:
        scan(make_tar(*[entry] * 50))
        with pytest.raises(Undecided, match="more files"):
            scan(make_tar(*[entry] * 100))


def test_names_are_counted_for_all_layers_of_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_module, "MOST_NAMES", 1 << 14)
    names = Names()
    scan_layer(Trickle(make_tar(*[("f", b"")] * 50)), "here", keep_thing, names)
    with pytest.raises(Undecided, match="more files"):
        scan_layer(Trickle(make_tar(*[("f", b"")] * 50)), "here", keep_thing, names)


def test_a_tail_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_module, "MOST_BEHIND", 1 << 20)
    scan(gzip.compress(TAR + bytes(1 << 19)))
    with pytest.raises(Undecided, match="behind the mark"):
        scan(gzip.compress(TAR + bytes(1 << 21)))


def test_attributes_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_module, "MOST_EXTENSIONS", 4000)
    tar = make_tar(("y" * 300, b""), ("z" * 300, b""))
    scan(tar)
    with pytest.raises(Undecided, match="attributes take more than 4000 bytes"):
        scan(make_tar(*[("y" * 300, b"")] * 20))


def test_a_header_of_many_attributes_takes_no_longer_for_each_of_them() -> None:
    """150,000 records in one header: where each costs a copy of the rest, they take a minute."""
    record = b"7 a=bc\n"
    data = record * ((1 << 20) // len(record))
    with tarfile.open(fileobj=(stream := io.BytesIO()), mode="w", format=tarfile.USTAR_FORMAT) as tar:
        info = tarfile.TarInfo("x")
        info.size, info.type = len(data), tarfile.XHDTYPE
        tar.addfile(info, io.BytesIO(data))
        tar.addfile(tarfile.TarInfo("y"))
    started = time.process_time()
    assert scan(stream.getvalue()) == [("y", "file")]
    assert time.process_time() - started < 5


def test_what_the_stream_raises_goes_through() -> None:
    class Broken:
        def read(self, size: int, /) -> bytes:
            raise Undecided("the connection has gone")

    with pytest.raises(Undecided, match="the connection has gone"):
        scan_layer(Broken(), "here", keep_thing)


@given(st.binary(max_size=600), st.integers(0, len(TAR)), st.sampled_from(sorted(COMPRESSORS)))
@settings(max_examples=50, deadline=None)
def test_no_bytes_break_it_in_another_way(noise: bytes, place: int, packing: str) -> None:
    for data in (TAR[:place] + noise + TAR[place + len(noise) :], TAR[:place] + noise):
        packed = COMPRESSORS[packing](data)
        cut = place * len(packed) // len(TAR)
        for damaged in (packed, packed[:cut] + noise + packed[cut + len(noise) :]):
            try:
                scan(damaged)
            except Undecided as error:
                assert error.problems[0].place == "here"


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
def test_a_layer_that_is_thin_and_large_is_a_bomb_and_a_dense_one_is_not(
    packing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decompress_module, "LARGEST_THIN", 1 << 20)
    zeros, noise = bytes(1 << 22), Random(1).randbytes(1 << 21)
    scan(COMPRESSORS[packing](make_tar(("noise", noise))))
    with pytest.raises(Undecided, match="200 times what it is packed in") as caught:
        scan(COMPRESSORS[packing](make_tar(("zeros", zeros))))
    assert caught.value.problems[0].place == "here"
