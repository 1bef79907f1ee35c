"""What wheels install: out of the cache, out of notes, in parts from an index, and as a whole where it must be."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scripts.errors import ConfigError
from scripts.fetch import Cache
from scripts.index.files import NoRanges
from scripts.lock import records
from scripts.lock.records import Record, collect_records, find_record, list_installed, read_record
from scripts.matrix import Platform
from scripts.model import LockedFile
from scripts.site import Site
from tests.unit.builders import lock_bytes, put_in_cache, write

PLATFORM = Platform("3.11", "2.36", ())
URL = "https://index.invalid/thing.whl"
ENTRY_POINTS = "[console_scripts]\nThing = thing.cli:main [fast]\n\n[gui_scripts]\nwin=thing:gui\n[plugins]\nx = y:z\n"


def make_wheel(record: str = "", entry_points: str = "", stem: str = "thing-1.0", **members: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in {f"{stem}.dist-info/RECORD": record, **members}.items():
            archive.writestr(name, text)
        if entry_points:
            archive.writestr(f"{stem}.dist-info/entry_points.txt", entry_points)
    return data.getvalue()


WHEEL = make_wheel("thing/a.py,sha256=aa,1\nthing-1.0.dist-info/RECORD,,\n", ENTRY_POINTS)
FILE = lock_bytes(WHEEL, file="thing-1.0-py3-none-any.whl")
RECORD = Record(
    "thing-1.0",
    {"thing/a.py": "sha256=aa", "thing-1.0.dist-info/RECORD": ""},
    {"Thing": "thing.cli:main [fast]", "win": "thing:gui"},
)


def read(data: bytes) -> Record:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return read_record(archive, "thing.whl")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "hallmark")


# --- what a wheel says


def test_a_record_is_read_with_the_programs_that_entry_points_make() -> None:
    assert read(WHEEL) == RECORD
    assert read(make_wheel()).programs == {}


def test_a_name_with_a_comma_is_one_name() -> None:
    assert read(make_wheel('"a,b.py",sha256=x,1\n')).files == {"a,b.py": "sha256=x"}


@pytest.mark.parametrize("data", [make_wheel(**{"other-1.dist-info/RECORD": ""}), make_wheel(stem="a/thing-1.0")])
def test_a_wheel_without_one_record_is_refused(data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"thing\.whl: has \d RECORDs, and a wheel has one"):
        read(data)


@pytest.mark.parametrize("data", [make_wheel(entry_points="run = no section\n"), make_wheel('a,"b\n' + "x" * 200_000)])
def test_a_wheel_whose_own_word_cannot_be_read_is_refused(data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"thing\.whl: its thing-1\.0\.dist-info cannot be read"):
        read(data)


def test_paths_are_those_of_an_installed_record() -> None:
    rows = {
        "thing/a.py": "1",
        "thing//b.py": "2",
        "thing-1.0.data/purelib/p.py": "3",
        "thing-1.0.data/platlib/q.so": "4",
        "Thing-1.0.data/scripts/run": "5",
        "thing.data/model.bin": "9",
        "thing-1.0.data/data/share/x": "6",
        "thing-1.0.data/data/lib/python3.11/site-packages/y.py": "7",
        "thing-1.0.data/headers/h.h": "8",
        "thing-1.0.dist-info/RECORD": "",
        "thing-1.0.dist-info/RECORD.jws": "",
        "folder/": "",
    }
    assert list_installed(Record("thing-1.0", rows, {"go": "thing:main"}), "thing", "3.11") == {
        "thing/a.py": "1",
        "thing/b.py": "2",
        "p.py": "3",
        "q.so": "4",
        "../../../bin/run": "5",
        "thing.data/model.bin": "9",
        "../../../share/x": "6",
        "y.py": "7",
        "../../../include/site/python3.11/thing/h.h": "8",
        "../../../bin/go": "starts thing:main",
    }


def test_a_file_without_a_hash_is_equal_to_nobodys() -> None:
    one, two = (list_installed(Record("x-1", {"a.py": ""}, {}), name, "3.11") for name in ("one", "two"))
    assert one["a.py"] != two["a.py"]


# --- where it is read


def test_a_wheel_in_the_cache_is_read_once(cache: Cache) -> None:
    assert find_record(FILE, cache) is None
    path = put_in_cache(cache, WHEEL)
    assert find_record(FILE, cache) == RECORD
    path.unlink()
    assert find_record(FILE, cache) == RECORD, "from the note"


@pytest.mark.parametrize("note", ["", "{", "[]", "{}", '{"stem": "x", "files": 1, "programs": {}}'])
def test_a_damaged_note_is_written_anew(note: str, cache: Cache) -> None:
    put_in_cache(cache, WHEEL)
    path = write(cache.root / f"records/{FILE.sha256}.json", note)
    assert find_record(FILE, cache) == RECORD
    assert path.read_text() != note


def test_what_is_no_archive_is_refused_by_name(cache: Cache) -> None:
    put_in_cache(cache, b"no wheel")
    with pytest.raises(ConfigError, match=r"thing-1\.0-py3-none-any\.whl: is no wheel"):
        find_record(lock_bytes(b"no wheel", file=FILE.file), cache)


class Web:
    """An index that serves parts of a wheel, or refuses to, and whole files."""

    def __init__(self, cache: Cache, monkeypatch: pytest.MonkeyPatch, *, ranges: bool = True) -> None:
        self.cache, self.ranges = cache, ranges
        self.asked: list[str] = []
        self.fetched: list[str] = []
        monkeypatch.setattr(records, "open_remote", self.open)
        monkeypatch.setattr(records, "fetch_files", self.fetch)

    @contextmanager
    def open(self, url: str) -> Iterator[zipfile.ZipFile]:
        self.asked.append(url)
        if not self.ranges:
            raise NoRanges("no")
        with zipfile.ZipFile(io.BytesIO(WHEEL)) as archive:
            yield archive

    def fetch(self, files: Sequence[LockedFile], *_: Any) -> None:
        self.fetched += [file.file for file in files]
        for _file in files:
            put_in_cache(self.cache, WHEEL)

    def collect(self, urls: dict[str, str]) -> dict[str, Record]:
        site = Site("auto", "", (), (), self.cache.root)
        return collect_records([FILE], urls, site, PLATFORM)


def test_parts_of_a_wheel_are_enough_and_are_kept(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    web = Web(cache, monkeypatch)
    for _ in range(2):
        assert web.collect({FILE.file: URL}) == {"thing": RECORD}
    assert (web.asked, web.fetched) == ([URL], [])


def test_a_site_without_ranges_gives_the_whole_wheel(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    web = Web(cache, monkeypatch, ranges=False)
    assert web.collect({FILE.file: URL}) == {"thing": RECORD}
    assert (web.asked, web.fetched) == ([URL], [FILE.file])


def test_a_wheel_without_an_address_is_fetched(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    web = Web(cache, monkeypatch)
    assert web.collect({}) == {"thing": RECORD}
    assert (web.asked, web.fetched) == ([], [FILE.file])


def test_a_wheel_in_the_cache_asks_nobody(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    web = Web(cache, monkeypatch)
    put_in_cache(cache, WHEEL)
    assert web.collect({FILE.file: URL}) == {"thing": RECORD}
    assert web.asked == web.fetched == []


def spoil(change: Callable[[bytearray, int], None]) -> bytes:
    """The wheel with its first header of the directory changed."""
    data = bytearray(WHEEL)
    change(data, data.index(b"PK\x01\x02"))
    return bytes(data)


def encrypt(data: bytearray, place: int) -> None:
    data[place + 8] |= 1
    data[6] |= 1


def pack_otherwise(data: bytearray, place: int) -> None:
    data[place + 10] = data[8] = 9


def begin_elsewhere(data: bytearray, place: int) -> None:
    data[place + 42 : place + 46] = b"\xff\xff\xff\x7f"


def begin_before(data: bytearray, place: int) -> None:
    end = data.index(b"PK\x05\x06")
    data[end + 16 : end + 20] = b"\xff\xff\xff\x7f"  # the directory's place: all others are counted from it


@pytest.mark.parametrize("change", [encrypt, pack_otherwise, begin_elsewhere, begin_before])
def test_a_damaged_wheel_is_refused_by_name(change: Callable[[bytearray, int], None], cache: Cache) -> None:
    data = spoil(change)
    put_in_cache(cache, data)
    with pytest.raises(ConfigError) as caught:
        find_record(lock_bytes(data, file=FILE.file), cache)
    [problem] = caught.value.problems
    assert problem.place == FILE.file and problem.next_step


def test_a_record_without_end_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "LARGEST", 20)
    data = make_wheel("a,sha256=x,1\n" * 2)
    with pytest.raises(ConfigError, match="has more than 20 bytes"), zipfile.ZipFile(io.BytesIO(data)) as archive:
        read_record(archive, "thing")
