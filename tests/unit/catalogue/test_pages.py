"""The pages as a browser reads them: links that lead somewhere, nothing from elsewhere, and text that stays text."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from scripts.catalogue.write import write_catalogue
from scripts.errors import ConfigError
from scripts.model import Verdict
from tests.unit.builders import REPOSITORY_ROOT, edit
from tests.unit.catalogue.made import CPU, DIGEST, GPU, NASTY, OTHER, PRO, Checkout, fail, measure

VOID = {"br", "col", "input", "link", "meta"}
KERNEL = "void <at::native>&kernel()"


@dataclass
class Page(HTMLParser):
    """Elements, addresses, ids and text of a page; `wrong` are elements that are not closed as they were opened."""

    path: Path
    opened: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    text: str = ""
    wrong: list[str] = field(default_factory=list)
    stack: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.path.read_text("utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.opened.append((tag, {name: value or "" for name, value in attributes}))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.stack or self.stack.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.opened if name == tag]

    @property
    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.opened if "id" in attributes]


def make_site(checkout: Checkout, registry: str = "") -> dict[str, Page]:
    output = checkout.root / "site"
    write_catalogue(checkout.catalogue(registry), output)
    return {path.relative_to(output).as_posix(): Page(path) for path in sorted(output.rglob("*.html"))}


@pytest.fixture
def full(checkout: Checkout) -> Checkout:
    """Cells in all states, with all that a page can have, and all of it nasty."""
    evidence = fail(checkout.evidence(GPU, OTHER, todays=False), "serve", NASTY)
    kernels = {"kernels": {NASTY: 7, KERNEL: 210}, "p99_s": 0.334, "requests": 18559, "memory_mib": [1.5, 2372.4]}
    evidence["host"] |= {"gpu": NASTY, "driver": NASTY}
    checkout.keep(GPU, measure(evidence, "load", kernels) | {"finished": NASTY})
    checkout.keep(CPU, checkout.evidence(CPU) | {"scenario": NASTY.replace("/", "")}, "nasty")
    checkout.build(CPU, evidence=checkout.evidence(CPU))
    edit(checkout.root / "images/train/image.toml", '"A trainer"', f"'''{NASTY.replace(chr(39), '')}'''")
    checkout.compare(OTHER, title=NASTY)
    checkout.say(GPU, Verdict.REJECTED, OTHER, reasons=(NASTY,), gpu=NASTY, driver=NASTY, tool=NASTY)
    checkout.say(NASTY, Verdict.ACCEPTED, finished=NASTY)
    return checkout


def test_every_internal_link_resolves_and_nothing_else_is_loaded(full: Checkout) -> None:
    site = make_site(full)
    assert len(site) == 2 + 4 + 1
    assert sorted(path.stem for path in (full.root / "site/sbom").iterdir()) == sorted([CPU, GPU, PRO, "train-cpu"])
    for name, page in site.items():
        loaded = [each.get("src", "") for tag in ("script", "img", "iframe") for each in page.all(tag)]
        loaded += [each["href"] for each in page.all("link") if each["href"] != "data:,"]
        linked = [each["href"] for each in page.all("a")]
        for address in (*loaded, *linked):
            parts = urlsplit(address)
            assert not parts.scheme and not parts.netloc, f"{name}: {address}"
            target = page.path.parent / parts.path if parts.path else page.path
            assert target.is_file(), f"{name}: {address}"
            if parts.fragment:
                assert parts.fragment in Page(target).ids
        assert len(loaded) == 2
        attributes = {key for _, given in page.opened for key in given}
        assert not attributes & {"style", "onclick", "onerror", "action", "srcset"}


def test_no_file_of_the_site_asks_another_host(full: Checkout) -> None:
    make_site(full)
    for name in ("style.css", "script.js"):
        text = (full.root / "site" / name).read_text()
        assert not re.search(r"https?:|//[a-z]+\.|url\(|@import|fetch\(|XMLHttp|innerHTML|import\(", text)


def test_what_others_wrote_is_text(full: Checkout) -> None:
    site = make_site(full)
    for page in site.values():
        assert page.wrong == [] and page.stack == []
        assert [each.get("src", "").rpartition("/")[2] for each in page.all("script")] == ["script.js"]
        assert page.all("img") == []
    cell = site[f"cells/{GPU}.html"]
    assert cell.text.count(NASTY) >= 5, "and all of it is there"
    assert NASTY in site["feed.html"].text and KERNEL in cell.text


def test_ids_are_unique_and_pages_have_their_landmarks(full: Checkout) -> None:
    for page in make_site(full).values():
        assert len(page.ids) == len(set(page.ids))
        tags = [tag for tag, _ in page.opened]
        assert all(tags.count(tag) == 1 for tag in ("header", "nav", "main", "footer", "h1", "title"))
        assert page.all("html") == [{"lang": "en"}]
        assert all(each.get("scope") for each in page.all("th"))
        labelled = {each["for"] for each in page.all("label")}
        fields = [each["id"] for tag in ("select", "input") for each in page.all(tag)]
        assert set(fields) == labelled
        assert {"viewport", "color-scheme"} <= {each.get("name") for each in page.all("meta")}


def test_each_state_is_a_word_and_not_a_colour_alone(full: Checkout) -> None:
    site = make_site(full)
    first = site["index.html"]
    states = [each["data-state"] for each in first.all("a") if "data-state" in each]
    assert sorted(states) == ["not built", "not built", "rejected", "stamped"]
    assert "✘ rejected of a build" in first.text or "✘ rejected by an earlier suite" in first.text
    assert "✔ stamped" in first.text and "not built no recipe yet" in first.text
    assert "rejected by an earlier suite" in site[f"cells/{GPU}.html"].text


def test_the_filters_know_every_cell(full: Checkout) -> None:
    page = make_site(full)["index.html"]
    [form] = page.all("form")
    assert "hidden" in form, "until a script can do something with it"
    rows = [each for each in page.all("tr") if "data-engine" in each]
    links = [each for each in page.all("a") if "data-engine" in each]
    assert len(rows) == len(links) == 4
    [gpu] = [each for each in rows if each["data-gpu"] == "5090"]
    assert (gpu["data-engine"], gpu["data-cuda"], gpu["data-driver"]) == ("serve", "12.8", "570.124.06")


def test_a_stamped_cell_can_be_pulled_and_no_other(checkout: Checkout) -> None:
    checkout.build(CPU, evidence=checkout.evidence(CPU))
    checkout.keep(GPU, fail(checkout.evidence(GPU, OTHER), "serve"))
    site = make_site(checkout, "registry.example.com/team")
    stamped, rejected = site[f"cells/{CPU}.html"].text, site[f"cells/{GPU}.html"].text
    assert stamped.index("docker pull registry.example.com/team/serve:cpu") < stamped.index(
        "docker pull registry.example.com/team/serve:1.2.0-cpu"
    ), "the one that most will copy, and the one that stays within its version"
    assert f"docker pull registry.example.com/team/serve@{DIGEST}" in stamped
    assert "docker run --rm registry.example.com/team/serve:1.2.0-cpu" in stamped
    assert "docker pull" not in rejected and "No tag is known here" in rejected
    assert "docker pull hallmark/serve:1.2.0-cpu" in make_site(checkout)[f"cells/{CPU}.html"].text


def test_an_earlier_build_is_pulled_by_its_digest_alone(checkout: Checkout) -> None:
    checkout.keep(CPU, checkout.evidence(CPU, todays=False))
    text = make_site(checkout)[f"cells/{CPU}.html"].text
    assert f"docker pull hallmark/serve@{DIGEST}" in text and "docker pull hallmark/serve:" not in text
    assert "asked by an earlier suite" in text and "Versions, as locked now" in text


def test_a_comparison_is_found_from_the_first_page_and_from_its_cells(checkout: Checkout) -> None:
    checkout.keep(GPU, checkout.evidence(GPU))
    comparison = checkout.compare(DIGEST)
    site = make_site(checkout)
    assert {"href": "compare/5090.html"} in site["index.html"].all("a")
    page = site[f"cells/{GPU}.html"]
    assert {"href": "../compare/5090.html"} in page.all("a") and "of another build" not in page.text
    assert not any("compare" in each["href"] for each in site[f"cells/{CPU}.html"].all("a"))
    assert site["compare/5090.html"].text.count(comparison.place) >= 2
    (checkout.root / "docs/evidence/compare/5090.json").unlink()
    assert "compare/5090.html" not in make_site(checkout)


def test_a_comparison_of_another_build_says_so(checkout: Checkout) -> None:
    checkout.keep(GPU, checkout.evidence(GPU))
    checkout.compare(OTHER)
    assert f"of another build: {OTHER}" in make_site(checkout)[f"cells/{GPU}.html"].text


def test_a_page_of_a_cell_that_is_no_more_goes(checkout: Checkout) -> None:
    make_site(checkout)
    old = checkout.root / "site/cells/gone-cpu.html"
    old.write_text("x")
    make_site(checkout)
    assert not old.exists()


def test_the_same_evidence_gives_the_same_bytes(full: Checkout) -> None:
    make_site(full)
    first = {path: path.read_bytes() for path in (full.root / "site").rglob("*") if path.is_file()}
    make_site(full)
    assert {path: path.read_bytes() for path in first} == first


def test_somebody_elses_folder_is_left_alone(checkout: Checkout) -> None:
    output = checkout.root / "other"
    output.mkdir()
    (output / "index.html").write_text("<p>mine</p>")
    with pytest.raises(ConfigError, match="no catalogue"):
        write_catalogue(checkout.catalogue(), output)
    assert (output / "index.html").read_text() == "<p>mine</p>"
    with pytest.raises(ConfigError, match="not a folder"):
        write_catalogue(checkout.catalogue(), output / "index.html")


def test_the_files_that_pages_need_are_part_of_the_package() -> None:
    text = (REPOSITORY_ROOT / "pyproject.toml").read_text()
    assert '"scripts.catalogue" = ["style.css", "script.js"]' in text


def test_what_owners_saw_is_shown_as_theirs(checkout: Checkout) -> None:
    checkout.hear("Alice <b>")
    checkout.hear("bob", passed=False, todays=False)
    site = make_site(checkout)
    first, page, feed = (site[name].text for name in ("index.html", f"cells/{GPU}.html", "feed.html"))
    [state] = {each["data-state"] for each in site["index.html"].all("a") if each.get("data-gpu") == "5090"}
    assert state == "seen by owners" and "◇ seen by owners" in first and "stamped" not in page
    assert "What owners have seen" in page and "passed, as an owner says" in page
    assert "failed, as an owner says (by an earlier suite)" in page and "docker pull" not in page
    assert "driver 580.95.05, by Alice <b>" in feed and "failed, as an owner says" in feed
    assert all(each.wrong == [] for each in site.values()) and site[f"cells/{GPU}.html"].all("b") == []


# --- what is in it


def test_a_page_tells_what_its_image_shares_and_what_is_left_to_pull(checkout: Checkout) -> None:
    below, own = (b"b" * 3_000_000, "Dockerfile"), (b"o" * 1_000_000, NASTY)
    checkout.keep_layers(GPU, below, own)
    checkout.keep_layers(CPU, below, (b"c" * 7_000_000, "torch 2.13.0"))
    page = make_site(checkout)[f"cells/{GPU}.html"]
    assert re.search(rf"{CPU}\s*1 of 2\s*3.0 MB\s*1.0 MB", page.text), "what the other has need not be pulled"
    assert "The 2 layers" in page.text and NASTY in page.text and "torch 2.13.0" not in page.text
    assert f"{CPU}.html" in [each["href"] for each in page.all("a")]


def test_cells_of_one_candidate_are_not_said_to_share_with_each_other(checkout: Checkout) -> None:
    checkout.keep_layers(GPU, (b"bytes", "all"))
    checkout.keep_layers(PRO, (b"bytes", "all"))
    page = make_site(checkout)[f"cells/{GPU}.html"]
    assert "The 1 layers" in page.text and "left to pull" not in page.text


def test_the_contents_are_a_file_and_a_table(checkout: Checkout) -> None:
    digest = checkout.keep_layers(GPU, (b"bytes", "all"))
    page = make_site(checkout)[f"cells/{GPU}.html"]
    sbom = json.loads((checkout.root / "site/sbom" / f"{GPU}.json").read_text())
    assert (sbom["bomFormat"], sbom["metadata"]["component"]["bom-ref"]) == ("CycloneDX", digest)
    assert sbom["components"] and all(each["name"] in page.text for each in sbom["components"])
    assert f"../sbom/{GPU}.json" in [each["href"] for each in page.all("a")]
    other = json.loads((checkout.root / "site/sbom" / f"{CPU}.json").read_text())
    assert other["metadata"]["component"]["bom-ref"].startswith("build:"), "of no digest that anybody has seen"


def test_a_page_of_a_cell_that_was_retired_has_no_command_to_pull_it(checkout: Checkout) -> None:
    checkout.build(CPU, evidence=checkout.evidence(CPU))
    checkout.say(CPU, Verdict.ACCEPTED, reasons=(NASTY,), service="retired")
    page = make_site(checkout, "registry.example.com/hallmark")[f"cells/{CPU}.html"]
    assert NASTY in page.text and "Its tags were withdrawn" in page.text
    assert "docker pull" not in page.text
