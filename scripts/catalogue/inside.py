"""What an image is made of: its size and its layers, what other images have of these, and the list of its contents."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.catalogue.parts import LONGEST, render_facts
from scripts.catalogue.types import Build, CellPage
from scripts.files import format_size
from scripts.markup import Markup, element, table

_DIGITS = 19  # characters of a digest: enough to tell one from another


def render_inside(page: CellPage) -> Iterator[tuple[str, list[Markup]]]:
    """The sections of a cell's page about what is in its image: their titles, and what stands below each."""
    build = page.shown
    if build and (build.size or build.audit or build.layers):
        yield "Size and GPU code", [*_sizes(build), *_shared(page, build), *_layers(build)]
    yield "What is in it", [*_contents(page)]


def _sizes(build: Build) -> Iterator[Markup]:
    audit = build.audit
    yield render_facts(
        {
            "Compressed": format_size(build.size) if build.size else "",
            "Layers": str(len(build.layers)) if build.layers else "",
            "Audit": f"{audit.result.outcome}: {audit.result.detail[:LONGEST]}" if audit else "",
            "Driver that compiles what is not native": audit.driver if audit else "",
        }
    )


def _shared(page: CellPage, build: Build) -> Iterator[Markup]:
    """What whoever has another cell's image need not pull."""
    if not page.shared:
        return
    whole = sum(layer.size for layer in build.layers)
    rows = [
        [
            element("a", each.cell, href=f"{each.cell}.html"),
            f"{each.layers} of {len(build.layers)}",
            format_size(each.size),
            format_size(whole - each.size),
        ]
        for each in page.shared
    ]
    yield element("p", "Layers that other images have as well are kept once, and pulled once:")
    yield table(["with", "layers", "the same bytes", "left to pull"], rows, "What is shared")


def _layers(build: Build) -> Iterator[Markup]:
    if not build.layers:
        return
    rows = [
        [element("code", layer.digest[:_DIGITS]), format_size(layer.size), layer.holds or "–"] for layer in build.layers
    ]
    found = table(["layer", "size", "what is in it"], rows, "Layers")
    yield element("details", element("summary", f"The {len(rows)} layers"), found)


def _contents(page: CellPage) -> Iterator[Markup]:
    """The SBOM as a file, and its components with their licences."""
    components = page.contents["components"]
    what = "By the locks of this checkout, which may build another digest than the one shown: " if page.standing else ""
    link = element("a", "SBOM, CycloneDX 1.6", href=f"../sbom/{page.cell.id}.json")
    yield element("p", f"{what}{len(components)} distributions and packages, with their hashes: ", link)
    rows = [
        [
            component["name"],
            component["version"],
            ", ".join(each["license"]["name"] for each in component.get("licenses", ())) or "–",
            component.get("purl", "").partition(":")[2].partition("/")[0] or "–",
        ]
        for component in components
    ]
    found = table(["name", "version", "licence, as it says itself", "kind"], rows, "What is in it")
    yield element("details", element("summary", "Each with its version and licence"), found)
