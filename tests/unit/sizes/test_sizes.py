from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ET
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from zstandard import ZstdCompressor

from scripts.errors import Undecided
from scripts.fetch import Cache
from scripts.model import LockedFile
from scripts.report.sizes import show_sizes
from scripts.sizes import measure
from scripts.sizes.measure import CellSizes, DistributionSize, Size
from scripts.sizes.picture import draw_sizes

SVG = "{http://www.w3.org/2000/svg}"


def keep_wheel(cache: Cache, name: str, files: dict[str, bytes]) -> LockedFile:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    data = stream.getvalue()
    sha256 = hashlib.sha256(data).hexdigest()
    cache.path(sha256).parent.mkdir(parents=True, exist_ok=True)
    cache.path(sha256).write_bytes(data)
    return LockedFile("wheel", name, "1.0", f"{name}-1.0-py3-none-any.whl", sha256, len(data))


def sizes(*rows: DistributionSize, built: int = 0, whole: int = 0) -> CellSizes:
    return CellSizes("vllm-cu128-5090-wheel", 100, rows, built, whole)


def row(name: str, naive: int, whole: int, ours: int) -> DistributionSize:
    return DistributionSize(name, Size(naive, 4 * naive), Size(whole, 4 * naive), Size(ours, 2 * ours))


def test_a_wheel_is_measured_by_its_content_as_a_layer_compresses_it(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    content = bytes(range(256)) * 4000
    file = keep_wheel(cache, "thing", {"thing/a.bin": content, "thing/b.txt": b"b" * 1000})
    [size] = measure._measure([file], cache, lambda text: None).values()
    assert size.unpacked == len(content) + 1000
    assert size.compressed == pytest.approx(len(ZstdCompressor(level=3).compress(content + b"b" * 1000)), abs=64)


def test_what_was_measured_once_is_kept(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    file = keep_wheel(cache, "thing", {"a": b"a" * 1000})
    first = measure._measure([file, file], cache, lambda text: None)
    cache.path(file.sha256).unlink()
    assert measure._measure([file], cache, lambda text: None) == first


@pytest.mark.parametrize("note", ["", "[]", '{"compressed": 1}'])
def test_a_damaged_note_is_measured_again(tmp_path: Path, note: str) -> None:
    cache = Cache(tmp_path)
    file = keep_wheel(cache, "thing", {"a": b"a" * 1000})
    place = tmp_path / "sizes" / f"{file.sha256}.json"
    place.parent.mkdir()
    place.write_text(note)
    assert measure._measure([file], cache, lambda text: None)[file.sha256].unpacked == 1000


def test_a_damaged_wheel_is_no_size(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    file = keep_wheel(cache, "thing", {"a": b"a" * 1000})
    cache.path(file.sha256).write_bytes(b"not a zip")
    with pytest.raises(Undecided):
        measure._measure([file], cache, lambda text: None)


def test_the_total_is_the_sum_of_all() -> None:
    total = sizes(row("torch", 900, 800, 400), row("vllm", 400, 300, 0)).total
    assert (total.naive, total.whole.compressed, total.ours) == (Size(1300, 5200), 1100, Size(400, 800))


def test_the_picture_is_svg_with_three_bars_a_distribution() -> None:
    picture = ET.fromstring(draw_sizes(sizes(row("torch <&>", 900, 800, 400), row("vllm", 400, 300, 100))))
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    assert {"torch <&>", "vllm", "900 B", "400 B"} <= set(texts)
    bars = [
        rect for rect in picture.iter(f"{SVG}rect") if float(rect.get("x") or 0) > 100 and rect.get("height") == "10"
    ]
    assert [bar.get("width") for bar in bars[:3]] == ["520.0", "462.2", "231.1"], "lengths are to scale"


def test_the_picture_merges_what_is_small() -> None:
    rows = [row(f"d{number:02}", 100 - number, 50, 25) for number in range(20)]
    picture = draw_sizes(sizes(*rows))
    assert "8 others" in picture and "d11" in picture and "d12" not in picture


def test_nothing_at_all_can_be_drawn() -> None:
    assert ET.fromstring(draw_sizes(sizes())).tag == f"{SVG}svg"


def test_the_table_says_what_the_builds_came_to(capsys: pytest.CaptureFixture[str]) -> None:
    show_sizes(sizes(row("torch", 900, 800, 400), built=500, whole=0))
    text = capsys.readouterr().out
    assert "as it is built: 500 B, 0.50 of upstream's wheels on the same base" in text
    assert "not slimmed: not built here" in text
    assert "0.44" in text


def test_the_table_counts_what_it_does_not_show(capsys: pytest.CaptureFixture[str]) -> None:
    show_sizes(sizes(*(row(f"d{number:02}", 100 - number, 50, 25) for number in range(30))))
    text = capsys.readouterr().out
    assert "… 5 smaller ones" in text and "all" in text
