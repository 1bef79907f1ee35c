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


def test_links_that_multiply_work_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_module, "_MOST_STEPS", 10_000)
    links: list[tuple[str, What[Thing]]] = [("a", Link("./" * 2000)), *[("a/f", "file")] * 100]  # type: ignore[list-item]
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


def as_entry(path: str, kind: str, what: Any) -> tuple[str, What[Thing]]:
    values: dict[str, Any] = {"link": lambda: Link(what), "hard": lambda: Link(what, hard=True)}
    values |= {"library": lambda: Found(Thing(path, str(what).encode())), "folder": lambda: "directory"}
    return path, values.get(kind, lambda: kind)()


@given(st.lists(st.lists(ENTRY, max_size=7), min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_merging_is_unpacking(layers: list[list[tuple[str, str, Any]]]) -> None:
    disk = Disk()
    unpacked: list[Layer[Thing]] = []
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
    assert [(item.path, item.data.decode()) for item in merge_layers(unpacked, "image", rename_thing)] == sorted(
        expected
    )
