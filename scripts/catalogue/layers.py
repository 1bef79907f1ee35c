"""The layers of images, as runs have kept their manifests, and which of them other cells have as well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.oci.descriptor import digest_of, is_digest, parse_descriptor, parse_object
from scripts.pipeline.candidate import CONFIG_FILE, MANIFEST_FILE


@dataclass(frozen=True)
class LayerPart:
    """One layer: its digest, its compressed size in bytes, and what is in it, in words, where somebody wrote that."""

    digest: str
    size: int
    holds: str = ""


@dataclass(frozen=True)
class Shared:
    """What an image has in common with another cell's: how many layers, and their compressed bytes."""

    cell: str
    layers: int
    size: int


def read_layers(digest: str, run: Path, layout: Path) -> tuple[LayerPart, ...]:
    """The layers of a candidate, the lowest first, from its run's folder or else its layout.

    None where neither has them. Nothing is believed that the digest does not vouch for.
    """
    kept: list[tuple[Path, Callable[[str], Path]]] = [(run / MANIFEST_FILE, lambda _: run / CONFIG_FILE)]
    if is_digest(digest):
        blobs = layout / "blobs"
        kept.append((blobs / digest.replace(":", "/"), lambda name: blobs / name.replace(":", "/")))
    for manifest, config_of in kept:
        try:
            data = manifest.read_bytes()
            content = parse_object(data)
            config = parse_descriptor(content["config"])
            layers = [parse_descriptor(each) for each in content["layers"]]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if digest_of(data) == digest:
            words = _read_words(config_of(config.digest), config.digest, len(layers))
            return tuple(LayerPart(each.digest, each.size, said) for each, said in zip(layers, words, strict=True))
    return ()


def _read_words(path: Path, digest: str, count: int) -> list[str]:
    """What the configuration's history says of each layer; nothing where it is not there, or says something else."""
    nothing = [""] * count
    try:
        data = path.read_bytes()
        words = [str(each["created_by"]).removeprefix("hallmark: ") for each in parse_object(data)["history"]]
    except (OSError, ValueError, KeyError, TypeError):
        return nothing
    return words if digest_of(data) == digest and len(words) == count else nothing


def find_shared(layers: Sequence[LayerPart], others: Sequence[tuple[str, Sequence[LayerPart]]]) -> tuple[Shared, ...]:
    """What an image shares with those of other cells, the most first; cells that share nothing are left out."""
    own = {each.digest: each.size for each in layers}
    found = []
    for cell, parts in others:
        common = {each.digest for each in parts} & own.keys()
        if common:
            found.append(Shared(cell, len(common), sum(own[digest] for digest in common)))
    return tuple(sorted(found, key=lambda each: (-each.size, each.cell)))
