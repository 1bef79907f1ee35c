"""Layers: every way in which a tar is packed, damaged or hostile; and what lies over what."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.audit import archive as archive_module
from scripts.audit import layers as layers_module
from scripts.audit import merge as merge_module
from scripts.audit.layers import Layer, Link, What, normalise, scan_layer
from scripts.audit.library import Library
from scripts.audit.merge import merge_layers
from scripts.errors import Undecided
from tests.unit.audit.archives import COMPRESSORS, HOST, PLAIN, SEVERAL, Entry, Trickle, library, make_tar, zstd

TAR = make_tar(("./usr/lib/", "folder", ""), ("./usr/lib/x.so", PLAIN), ("etc/hosts", b"127.0.0.1"), ("h.so", HOST))
ENTRIES: list[tuple[str, What]] = [
    ("usr/lib", "directory"),
    ("usr/lib/x.so", library("usr/lib/x.so")),
    ("etc/hosts", "file"),
    ("h.so", "file"),
]


def scan(data: bytes) -> list[tuple[str, What]]:
    return scan_layer(Trickle(data), "here").entries


def audit(*layers: Sequence[Entry]) -> list[Library]:
    """The libraries of an image of such layers, by way of real tars."""
    return merge_layers([scan_layer(Trickle(make_tar(*entries)), "here") for entries in layers])


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
    assert scan_layer(stream, "here").entries == ENTRIES
    assert stream.is_at_end, "whoever hashes the stream has seen all of it"
    assert stream.largest <= 1 << 20


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_tar_format_is_read(form: int) -> None:
    entries: list[Entry] = [("a" * 90 + "/" + "b" * 90, PLAIN), ("link", "link", "x" * 99), ("hard", "hard", "./link")]
    assert scan(make_tar(*entries, form=form)) == [
        ("a" * 90 + "/" + "b" * 90, library("a" * 90 + "/" + "b" * 90)),
        ("link", Link("x" * 99)),
        ("hard", Link("link", hard=True)),
    ]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names_are_read(form: int) -> None:
    long = "/".join(["part"] * 200)
    found = scan(make_tar((long, b""), ("l", "link", long), ("h", "hard", long), ("ünï", PLAIN), form=form))
    assert found == [(long, "file"), ("l", Link(long)), ("h", Link(long, hard=True)), ("ünï", library("ünï"))]


def test_a_name_that_is_not_utf_8_is_spelled_out() -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", encoding="latin-1", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("caf\xe9"))
    assert scan(stream.getvalue()) == [("caf\\xe9", "file")]


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
        ("x", library("x")),
    ]


def test_whiteouts_are_told_from_files() -> None:
    found = scan(
        make_tar(
            ("a/.wh.b", b""), ("a/.wh..wh..opq", b""), (".wh..wh..opq", b""), (".wh..wh.plnk/1.2", b"x"), (".wh.c", b"")
        )
    )
    assert found == [("a/b", "whiteout"), ("a", "opaque"), ("", "opaque"), ("c", "whiteout")]


def test_a_sparse_file_is_a_fault_and_what_follows_is_read() -> None:
    [(path, found), after] = scan(patched(make_tar(("x", b"1" * 600), ("y", PLAIN)), 156, b"S"))
    assert path == "x" and isinstance(found, Library) and "sparse" in found.fault
    assert after == ("y", library("y"))


def test_a_sparse_file_of_pax_is_one_too() -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("GNUSparseFile.0/x")
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.name": "real/x"}
        tar.addfile(info)
    [(path, found)] = scan(stream.getvalue())
    assert path == "real/x" and isinstance(found, Library) and "sparse" in found.fault


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
        (FILE[: 512 + len(PLAIN)], "cut short"),
        (FILE[:19456] + b"x" * 512, "no tar entry at byte 19456"),
        (patched(FILE, 124, b"x" * 11), "size is not a number"),
        (patched(FILE, 124, b"\xff" * 12), "size is not a number"),
        (patched(FILE, 124, b"\x80" + b"\x7f" * 11), "cut short"),
        (patched(FILE, 156, b"D"), "a type that no layer has"),
        (patched(PAX, 124, b"77777777777"), "attributes take 8589934591 bytes"),
        (PAX[:512] + b"1" + PAX[513:], "attributes cannot be read"),
        (PAX[:512] + b"0 path=x\n" + PAX[521:], "attributes cannot be read"),
        (PAX[:512] + b"9" * 30 + PAX[542:], "attributes cannot be read"),
        (make_tar(("y/" * 2500, b"")), "longer than any system takes"),
        (make_tar((".", b"")), "the root"),
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
        scan_layer(Trickle(data), "layer sha256:123")
    assert caught.value.problems[0].place == "layer sha256:123"


@pytest.mark.parametrize("data", [b"", gzip.compress(b""), FILE[: -(-len(FILE[: 512 + len(PLAIN)]) // 512) * 512]])
def test_an_archive_without_a_mark_is_fine_where_its_end_is_sure(data: bytes) -> None:
    assert [path for path, _ in scan(data)] == (["x.so"] if data.startswith(b"x.so") else [])


@pytest.mark.parametrize("packing", COMPRESSORS)
def test_a_bomb_ends(packing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "LARGEST_ARCHIVE", 1 << 22)
    bomb = COMPRESSORS[packing](TAR + b"\0" * (1 << 23))
    with pytest.raises(Undecided, match="more than this program reads"):
        scan(bomb)


def test_too_many_names_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers_module, "_MOST_NAMES", 1 << 14)
    with pytest.raises(Undecided, match="more files"):
        scan(make_tar(*[(f"f{number}", b"") for number in range(100)]))


def test_what_the_stream_raises_goes_through() -> None:
    class Broken:
        def read(self, size: int, /) -> bytes:
            raise Undecided("the connection has gone")

    with pytest.raises(Undecided, match="the connection has gone"):
        scan_layer(Broken(), "here")


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


# --- layers over each other


def paths(*layers: Sequence[Entry]) -> list[str]:
    return [found.path for found in audit(*layers)]


def test_libraries_come_sorted_and_complete() -> None:
    assert audit([("b.so", PLAIN), ("a.so", SEVERAL)], [("c", b""), ("a/x", PLAIN)]) == [
        library("a.so", SEVERAL),
        library("a/x"),
        library("b.so"),
    ]


@pytest.mark.parametrize(
    ("upper", "left"),
    [
        ([("d/x.so", b"text")], ["d/e/y.so", "z.so"]),
        ([("d/x.so", SEVERAL)], ["d/e/y.so", "d/x.so", "z.so"]),
        ([("d/x.so", "folder", "")], ["d/e/y.so", "z.so"]),
        ([("d", "folder", "")], ["d/e/y.so", "d/x.so", "z.so"]),
        ([("d", b"")], ["z.so"]),
        ([("d", "link", "elsewhere")], ["z.so"]),
        ([("d", PLAIN)], ["d", "z.so"]),
        ([("d/.wh.x.so", b"")], ["d/e/y.so", "z.so"]),
        ([("d/.wh.e", b"")], ["d/x.so", "z.so"]),
        ([(".wh.d", b"")], ["z.so"]),
        ([("d/.wh..wh..opq", b"")], ["z.so"]),
        ([(".wh..wh..opq", b"")], []),
        ([(".wh.nothing", b""), ("no/.wh.x", b"")], ["d/e/y.so", "d/x.so", "z.so"]),
        ([("d/new.so", PLAIN), ("d/.wh..wh..opq", b"")], ["d/new.so", "z.so"]),
        ([("d/.wh..wh..opq", b""), ("d/new.so", PLAIN)], ["d/new.so", "z.so"]),
        ([("d/x.so", PLAIN), (".wh.d", b"")], ["d/x.so", "z.so"]),
        ([("z.so", SEVERAL), (".wh.z.so", b"")], ["d/e/y.so", "d/x.so", "z.so"]),
        ([("h.so", "hard", "d/x.so"), ("d/.wh.x.so", b"")], ["d/e/y.so", "h.so", "z.so"]),
    ],
)
def test_an_upper_layer_hides_what_it_should_and_no_more(upper: list[Entry], left: list[str]) -> None:
    lower: list[Entry] = [("d/x.so", PLAIN), ("d/e/y.so", PLAIN), ("z.so", PLAIN)]
    assert paths(lower, upper) == left


def test_a_whiteout_hides_nothing_of_what_comes_later() -> None:
    assert paths([("x.so", PLAIN)], [(".wh.x.so", b"")], [("x.so", PLAIN)]) == ["x.so"]


def test_a_hard_link_is_a_library_of_its_own() -> None:
    assert audit([("a.so", SEVERAL), ("b.so", "hard", "a.so")], [("c.so", "hard", "/b.so"), (".wh.a.so", b"")]) == [
        library("b.so", SEVERAL),
        library("c.so", SEVERAL),
    ]


def test_a_hard_link_keeps_what_it_was_made_from() -> None:
    assert audit([("a.so", SEVERAL), ("b.so", "hard", "a.so"), ("a.so", b"text")]) == [library("b.so", SEVERAL)]


def test_a_symbolic_link_is_no_library_and_one_over_a_library_hides_it() -> None:
    assert paths([("a.so", PLAIN), ("b.so", "link", "a.so")], [("c.so", "link", "b.so")]) == ["a.so"]
    assert paths([("a.so", PLAIN), ("b.so", PLAIN)], [("b.so", "link", "a.so")]) == ["a.so"]
    assert paths([("b.so", "link", "a.so")], [("a.so", PLAIN), ("h.so", "hard", "b.so")]) == ["a.so"]


@pytest.mark.parametrize("target", ["usr/lib", "/usr/lib", "./usr/../usr//lib/", "../../usr/lib", "other"])
def test_a_layer_writes_through_its_own_links(target: str) -> None:
    lower: list[Entry] = [("usr/lib/a.so", PLAIN)]
    upper: list[Entry] = [("lib", "link", target), ("other", "link", "usr/lib")]
    assert paths(lower, [*upper, ("lib/b.so", PLAIN)]) == ["usr/lib/a.so", "usr/lib/b.so"]
    assert paths(lower, [*upper, ("lib/.wh.a.so", b"")]) == []
    assert paths(lower, [*upper, ("lib/.wh..wh..opq", b"")]) == []
    assert paths(lower, [*upper, ("lib/a.so", b"")]) == []
    assert paths(lower, [*upper, ("c.so", "hard", "lib/a.so")]) == ["c.so", "usr/lib/a.so"]


@pytest.mark.parametrize("written", [[], [("lib", "folder", "")], [("lib", "folder", ""), ("lib/.wh..wh..opq", b"")]])
def test_a_folder_in_place_of_a_lower_layer_s_link_is_a_folder(written: list[Entry]) -> None:
    merged: list[Entry] = [("usr/lib/a.so", PLAIN), ("lib", "link", "usr/lib")]
    assert paths(merged, [*written, ("lib/b.so", PLAIN)]) == ["lib/b.so", "usr/lib/a.so"]
    assert paths(merged, [*written, ("lib/a.so", b"")]) == ["usr/lib/a.so"]
    assert paths(merged, [*written, ("lib/.wh.a.so", b"")]) == ["usr/lib/a.so"]
    # The link is gone for the layers above, too.
    assert paths(merged, [*written, ("lib/x", b"")], [("lib/b.so", PLAIN)]) == ["lib/b.so", "usr/lib/a.so"]
    assert paths(merged, [("c.so", "hard", "lib/a.so")]) == ["c.so", "usr/lib/a.so"]


def test_links_in_a_circle_are_undecided() -> None:
    with pytest.raises(Undecided, match="in a circle") as caught:
        merge_layers([Layer([("a", Link("b")), ("b", Link("a")), ("a/x", library("a/x"))])], "the image")
    assert caught.value.problems[0].place == "the image"


def test_a_library_that_is_used_as_a_folder_is_undecided_and_a_lower_layer_s_gives_way() -> None:
    with pytest.raises(Undecided, match="used as a folder"):
        audit([("x.so", PLAIN), ("x.so/y.so", PLAIN)])
    assert paths([("x.so", PLAIN)], [("x.so/y.so", PLAIN)]) == ["x.so/y.so"]


def test_links_that_multiply_work_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_module, "_MOST_STEPS", 10_000)
    links: list[tuple[str, What]] = [("a", Link("./" * 2000))]
    with pytest.raises(Undecided, match="more steps"):
        merge_layers([Layer([*links, *[("a/f", "file")] * 100])])  # type: ignore[list-item]


def test_deep_folders_are_no_trouble() -> None:
    deep = "/".join("d" * 1800)
    assert paths([(f"{deep}/x.so", PLAIN)]) == [f"{deep}/x.so"]
    assert paths([(f"{deep}/x.so", PLAIN)], [(".wh.d", b"")]) == []


# --- the same as an engine that really unpacks


class CannotUnpack(Exception):
    """An engine would refuse this entry."""


@dataclass
class Disk:
    """A file system in a dict, unpacked to as an engine does it: path → (layer, kind, what is in it)."""

    nodes: dict[str, tuple[int, str, Any]] = field(default_factory=dict)

    def resolve(self, path: str, layer: int | None) -> str:
        """A folder to write into, which then is one; for no layer, just where it is."""
        done: list[str] = []
        left = path.split("/")
        for _ in range(500):
            while left and left[0] in ("", ".", ".."):
                if left.pop(0) == "..":
                    done = done[:-1]
            if not left:
                return "/".join(done)
            part = left.pop(0)
            here = "/".join([*done, part])
            by, kind, what = self.nodes.get(here, (0, "nothing", None))
            if kind == "link" and layer in (None, by):
                done = [] if what.startswith("/") else done
                left = what.split("/") + left
                continue
            if layer is not None and kind != "folder":
                if kind != "nothing" and by == layer:
                    raise CannotUnpack
                self.nodes[here] = layer, "folder", None
            done.append(part)
        raise CannotUnpack

    def locate(self, path: str, layer: int | None) -> str:
        above, _, base = path.rpartition("/")
        return "/".join(filter(None, [self.resolve(above, layer), base]))

    def remove(self, path: str, below: int, *, itself: bool = True) -> None:
        for name, (layer, _, _) in list(self.nodes.items()):
            if layer < below and (name.startswith(f"{path}/" if path else "") or (itself and name == path)):
                del self.nodes[name]
        # A folder that still holds something of this layer is still there.
        for name, (layer, _, _) in list(self.nodes.items()):
            self.make_folders(name, layer)

    def make_folders(self, path: str, layer: int) -> None:
        parts = path.split("/")[:-1]
        for length in range(1, len(parts) + 1):
            node = self.nodes.setdefault("/".join(parts[:length]), (layer, "folder", None))
            assert node[1] == "folder"

    def put(self, layer: int, path: str, kind: str, what: Any) -> None:
        if kind == "opaque":
            return self.remove(self.resolve(path, layer), layer, itself=False)
        real = self.locate(path, layer)
        if kind == "whiteout":
            return self.remove(real, layer)
        if kind == "hard":
            target = self.locate(what, None)
            if target == real or self.nodes.get(target, (0, "folder", None))[1] == "folder":
                raise CannotUnpack
            _, kind, what = self.nodes[target]
        there = self.nodes.get(real)
        if there and not there[1] == kind == "folder":
            self.remove(real, layer + 1)
        self.make_folders(real, layer)
        self.nodes[real] = layer, kind, what
        return None


NAMES = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
TARGETS = st.tuples(st.sampled_from(["", "/", "../", "./", "../../"]), NAMES).map("".join)
ENTRY = st.one_of(
    st.tuples(NAMES, st.just("library"), st.integers(0, 1000)),
    st.tuples(NAMES, st.just("link"), TARGETS),
    st.tuples(NAMES, st.just("hard"), NAMES),
    st.tuples(NAMES, st.sampled_from(["file", "folder", "whiteout"]), st.none()),
    st.tuples(st.one_of(NAMES, st.just("")), st.just("opaque"), st.none()),
)


def as_entry(path: str, kind: str, what: Any) -> tuple[str, What]:
    values: dict[str, Any] = {"link": lambda: Link(what), "hard": lambda: Link(what, hard=True)}
    values |= {"library": lambda: Library(path, (), str(what)), "folder": lambda: "directory"}
    return path, values.get(kind, lambda: kind)()


@given(st.lists(st.lists(ENTRY, max_size=7), min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_merging_is_unpacking(layers: list[list[tuple[str, str, Any]]]) -> None:
    disk = Disk()
    unpacked: list[Layer] = []
    for number, entries in enumerate(layers):
        unpacked.append(Layer())
        for entry in entries:
            before = dict(disk.nodes)
            try:
                disk.put(number, *entry)
                unpacked[-1].entries.append(as_entry(*entry))
            except CannotUnpack:
                disk.nodes = before
    expected = [(path, str(what)) for path, (_, kind, what) in disk.nodes.items() if kind == "library"]
    assert [(item.path, item.fault) for item in merge_layers(unpacked)] == sorted(expected)
