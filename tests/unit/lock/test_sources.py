from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from scripts.errors import ConfigError, Undecided
from scripts.index import FoundFile
from scripts.lock import sources
from scripts.lock.sources import LockedSources, lock_sources, name_archive
from scripts.matrix import Component, Memory, Platform, Source
from scripts.matrix.components import ComponentLine
from scripts.model import LockedFile, LockedTree
from scripts.site import PipSettings, Site

SHA, COMMIT = "a" * 64, "1" * 40
MAIN = Source("lib", sdist="lib==1.0")
ARCHIVE = Source("kit", url="https://example.com/v2.tar.gz", sha256=SHA, pin="deps.cmake")
TREE = Source("tree", repository="https://example.com/tree", pin="deps.cmake")
TEXT = f"""FetchContent_Declare(kit URL {ARCHIVE.url} URL_HASH SHA256={SHA})
FetchContent_Declare(tree GIT_REPOSITORY {TREE.repository} GIT_TAG {COMMIT})
"""


@pytest.fixture(autouse=True)
def index(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(pins: Sequence[str], *_: Any) -> list[FoundFile]:
        assert all("==" in pin for pin in pins)
        items = [pin.split("==") for pin in pins]
        return [FoundFile(n, v, f"{n}-{v}.tar.gz", SHA, f"https://index.invalid/{n}", 7) for n, v in items]

    monkeypatch.setattr(sources, "find_sdists", find)
    monkeypatch.setattr(sources, "ask_size", lambda file: 12)


def lock(monkeypatch: pytest.MonkeyPatch, text: str | Exception, *chosen: Source) -> LockedSources:
    def read(main: Any, wanted: set[str], *_: Any) -> dict[str, str]:
        assert main.name == chosen[0].name and wanted == {"deps.cmake"}
        if isinstance(text, Exception):
            raise text
        return {"deps.cmake": text}

    monkeypatch.setattr(sources, "read_texts", read)
    folder = Path("/nowhere/images/serve/components/lib")
    component = Component("lib", "1.0", folder, "lib", (), Memory(1), chosen, {"12.8": ComponentLine()})
    site = Site("auto", "", (), (), Path("/nowhere"))
    return lock_sources(component, "12.8", PipSettings(), site, Platform("3.11", "2.36", ()))


def test_each_source_is_locked_by_what_names_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    locked = lock(monkeypatch, TEXT, MAIN, ARCHIVE, TREE, Source("other", sdist="other==2", lines=("13.0",)))
    assert locked.files == (
        LockedFile("sdist", "lib", "1.0", "lib-1.0.tar.gz", SHA, 12),
        LockedFile("archive", "kit", "", "kit-v2.tar.gz", SHA, 0, ARCHIVE.url),
    )
    assert locked.trees == (LockedTree("tree", TREE.repository, COMMIT),)
    assert locked.epoch == 7


def test_an_archive_that_upstream_does_not_pin_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, found in ((TEXT.replace(SHA, "b" * 64), "b" * 64), ("", f"nothing at {ARCHIVE.url}")):
        with pytest.raises(ConfigError, match=rf"kit: SHA-256 {SHA} is written, and deps\.cmake pins {found}"):
            lock(monkeypatch, text, MAIN, ARCHIVE)


def test_where_the_main_source_is_not_to_be_had_hashes_that_are_written_are_locked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lock(monkeypatch, Undecided("no such host"), MAIN, ARCHIVE).files[1].sha256 == SHA
    said = capsys.readouterr().err
    assert said == "lib-1.0 12.8: locked as written, and not checked: what lib pins (no such host)\n"
    with pytest.raises(Undecided, match=r"tree: the file deps\.cmake, which pins it"):
        lock(monkeypatch, Undecided("no such host"), MAIN, TREE)


def test_without_sdists_the_index_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sources, "find_sdists")
    locked = lock(monkeypatch, "", Source("lib", url="https://example.com/lib-1.tar.gz", sha256=SHA))
    assert (locked.epoch, locked.trees) == (0, ())


def test_an_archives_name_says_of_what_it_is() -> None:
    def name(url: str) -> str:
        return name_archive(Source("torch", url=url, sha256=SHA))

    assert name("https://example.com/a/v1.0.tar.gz") == "torch-v1.0.tar.gz"
    assert name("https://example.com/a/pytorch-v1.0.tar.gz") == "pytorch-v1.0.tar.gz"
