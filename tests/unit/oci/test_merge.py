"""Layers over each other: what is left of what they hold, compared with a file system that is really unpacked to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.errors import Undecided
from scripts.oci import merge as merge_module
from scripts.oci.layer import Found, Layer, Link, What, scan_layer
from scripts.oci.merge import merge_layers
from tests.unit.oci.made import PLAIN, SEVERAL, Entry, Thing, Trickle, keep_thing, make_tar, rename_thing


def merge(*layers: Sequence[Entry]) -> list[Thing]:
    """The things of an image of such layers, by way of real tars."""
    scanned = [scan_layer(Trickle(make_tar(*entries)), "here", keep_thing) for entries in layers]
    return merge_layers(scanned, "image", rename_thing)


def paths(*layers: Sequence[Entry]) -> list[str]:
    return [found.path for found in merge(*layers)]


def test_libraries_come_sorted_and_complete() -> None:
    assert merge([("b.so", PLAIN), ("a.so", SEVERAL)], [("c", b""), ("a/x", PLAIN)]) == [
        Thing("a.so", SEVERAL),
        Thing("a/x"),
        Thing("b.so"),
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
        ([(".wh..wh..opq", b"")], ["d/e/y.so", "d/x.so", "z.so"]),  # overlayfs asks no root whether it is opaque
        ([("d", b""), ("d", "folder", "")], ["d/e/y.so", "d/x.so", "z.so"]),  # a folder shows what is beneath it
        ([(".wh.d", b""), ("d", "folder", "")], ["d/e/y.so", "d/x.so", "z.so"]),
        ([("d/.wh..wh..opq", b""), ("d", b""), ("d", "folder", "")], ["d/e/y.so", "d/x.so", "z.so"]),
        ([(".wh.d", b""), ("d/new.so", PLAIN)], ["d/new.so", "z.so"]),
        ([("d/.wh..wh..opq", b""), ("d", "folder", "")], ["z.so"]),
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
    assert merge([("a.so", SEVERAL), ("b.so", "hard", "a.so")], [("c.so", "hard", "/b.so"), (".wh.a.so", b"")]) == [
        Thing("b.so", SEVERAL),
        Thing("c.so", SEVERAL),
    ]


def test_a_hard_link_keeps_what_it_was_made_from() -> None:
    assert merge([("a.so", SEVERAL), ("b.so", "hard", "a.so"), ("a.so", b"text")]) == [Thing("b.so", SEVERAL)]


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
        merge_layers(
            [Layer([("a", Link("b")), ("b", Link("a")), ("a/x", Found(Thing("a/x")))])], "the image", rename_thing
        )
    assert caught.value.problems[0].place == "the image"


def test_a_library_that_is_used_as_a_folder_is_undecided_and_a_lower_layer_s_gives_way() -> None:
    with pytest.raises(Undecided, match="used as a folder"):
        merge([("x.so", PLAIN), ("x.so/y.so", PLAIN)])
    assert paths([("x.so", PLAIN)], [("x.so/y.so", PLAIN)]) == ["x.so/y.so"]


def test_what_engines_do_not_agree_on_is_undecided() -> None:
    """The path of a link and `..`: containerd takes both away unseen, the kernel goes up from where the link leads."""
    up: list[Entry] = [("l", "link", "d/e"), ("up", "link", "l/../x")]
    with pytest.raises(Undecided, match=r"a link to `\.\.` of a link"):
        merge([*up, ("up/a.so", PLAIN)])
    with pytest.raises(Undecided, match="written as a folder"):
        merge([("a.so", PLAIN), ("l", "link", "a.so"), ("b.so", "hard", "l/")])
    assert paths([("a.so", PLAIN), ("b.so", "hard", "a.so/")]) == ["a.so", "b.so"]


@pytest.mark.parametrize("name", ["a.so", "d", "d/.wh.x", ".wh..wh..opq", "new/x"])
def test_a_global_header_with_the_name_of_a_file_is_undecided(name: str) -> None:
    """containerd removes what has the name of one; Docker passes it over."""
    entries: list[tuple[str, What[Thing]]] = [("a.so", Found(Thing("a.so"))), ("d/x", "file")]
    assert merge_layers([Layer([*entries, ("pax_global_header", "global")])], "image", rename_thing)
    with pytest.raises(Undecided, match="global header"):
        merge_layers([Layer([*entries, (name, "global")])], "image", rename_thing)


def test_a_name_that_is_no_utf_8_hides_none_that_is_spelled_like_it() -> None:
    raw, spelled = "caf\udce9.so", "caf\\xe9.so"
    things: list[tuple[str, What[Thing]]] = [(raw, Found(Thing("", b"raw"))), (spelled, Found(Thing("")))]
    merged = merge_layers([Layer(things)], "image", rename_thing)
    assert [thing.path for thing in merged] == [spelled, spelled] and len({thing.data for thing in merged}) == 2


def test_links_that_multiply_work_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_module, "MOST_STEPS", 10_000)
    links: list[tuple[str, What[Thing]]] = [("a", Link("b/" * 2000)), *[("a/f", "file")] * 100]  # type: ignore[list-item]
    with pytest.raises(Undecided, match="more steps"):
        merge_layers([Layer(links)], "image", rename_thing)


def test_deep_folders_are_no_trouble() -> None:
    deep = "/".join("d" * 1800)
    assert paths([(f"{deep}/x.so", PLAIN)]) == [f"{deep}/x.so"]
    assert paths([(f"{deep}/x.so", PLAIN)], [(".wh.d", b"")]) == []


# --- the same as an engine that really unpacks


class CannotUnpack(Exception):
    """An engine would refuse this entry."""


@dataclass
class Disk:
    """A layer's own folder in a dict, unpacked to as an engine on overlayfs does it: path → (kind, what is in it)."""

    nodes: dict[str, tuple[str, Any]] = field(default_factory=dict)
    opaque: set[str] = field(default_factory=set)

    def resolve(self, path: str) -> str:
        """Where a folder to write into is."""
        done: list[str] = []
        left = path.split("/")
        for _ in range(500):
            while left and left[0] in ("", ".", ".."):
                if left.pop(0) == "..":
                    done = done[:-1]
            if not left:
                return "/".join(done)
            part = left.pop(0)
            kind, what = self.nodes.get("/".join([*done, part]), ("folder", None))
            if kind == "link":
                done = [] if what.startswith("/") else done
                left = what.split("/") + left
            elif kind == "folder":
                done.append(part)
            else:
                raise CannotUnpack
        raise CannotUnpack

    def locate(self, path: str) -> str:
        above, _, base = path.rpartition("/")
        return "/".join(filter(None, [self.resolve(above), base]))

    def remove(self, path: str) -> None:
        for name in [name for name in self.nodes if f"{name}/".startswith(f"{path}/")]:
            del self.nodes[name]
            self.opaque.discard(name)

    def make_folders(self, path: str) -> None:
        parts = path.split("/") if path else []
        for length in range(1, len(parts) + 1):
            self.nodes.setdefault("/".join(parts[:length]), ("folder", None))

    def put(self, path: str, kind: str, what: Any) -> None:
        if kind == "opaque":
            real = self.resolve(path)
            self.make_folders(real)
            return self.opaque.add(real)
        real = self.locate(path)
        if kind == "hard":
            target = self.locate(what)
            kind, what = self.nodes.get(target, ("nothing", None))
            if target == real or kind not in ("library", "file", "link"):
                raise CannotUnpack
        there = self.nodes.get(real, ("nothing", None))[0]
        if kind == "whiteout" and there != "nothing":
            raise CannotUnpack
        if not there == kind == "folder":
            self.remove(real)
        self.make_folders(real.rpartition("/")[0])
        self.nodes[real] = kind, what
        return None

    def lay_over(self, lower: Disk) -> Disk:
        """What shows of both."""
        merged = Disk(dict(lower.nodes))
        for path, (kind, what) in sorted(self.nodes.items()):  # each folder before what is in it
            if kind != "folder" or path in self.opaque or merged.nodes.get(path, ("folder", None))[0] != "folder":
                merged.remove(path)
            if kind != "whiteout":
                merged.nodes[path] = kind, what
        return merged


NAMES = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
TARGETS = st.tuples(st.sampled_from(["", "/", "../", "./", "../../"]), NAMES).map("".join)
ENTRY = st.one_of(
    st.tuples(NAMES, st.just("library"), st.integers(0, 1000)),
    st.tuples(NAMES, st.just("link"), TARGETS),
    st.tuples(NAMES, st.just("hard"), NAMES),
    st.tuples(NAMES, st.sampled_from(["file", "folder", "whiteout"]), st.none()),
    st.tuples(st.one_of(NAMES, st.just("")), st.just("opaque"), st.none()),
)


def as_entry(path: str, kind: str, what: Any) -> tuple[str, What[Thing]]:
    values: dict[str, Any] = {"link": lambda: Link(what), "hard": lambda: Link(what, hard=True)}
    values |= {"library": lambda: Found(Thing(path, str(what).encode())), "folder": lambda: "directory"}
    return path, values.get(kind, lambda: kind)()


@given(st.lists(st.lists(ENTRY, max_size=7), min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_merging_is_unpacking(layers: list[list[tuple[str, str, Any]]]) -> None:
    image = Disk()
    unpacked: list[Layer[Thing]] = []
    for entries in layers:
        disk = Disk()
        unpacked.append(Layer())
        for entry in entries:
            before = dict(disk.nodes), set(disk.opaque)
            try:
                disk.put(*entry)
                unpacked[-1].entries.append(as_entry(*entry))
            except CannotUnpack:
                disk.nodes, disk.opaque = before
        image = disk.lay_over(image)
    expected = [(path, str(what)) for path, (kind, what) in image.nodes.items() if kind == "library"]
    assert [(item.path, item.data.decode()) for item in merge_layers(unpacked, "image", rename_thing)] == sorted(
        expected
    )


def test_folders_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path of four kilobytes can make a thousand of them."""
    monkeypatch.setattr(merge_module, "MOST_FOLDERS", 100)
    things: list[tuple[str, What[Thing]]] = [(f"{number}/" * 10 + "x", "file") for number in range(10)]
    assert merge_layers([Layer(things)], "image", rename_thing) == []
    with pytest.raises(Undecided, match="more than 100 folders"):
        merge_layers([Layer(things), Layer([("d", "directory")])], "image", rename_thing)
