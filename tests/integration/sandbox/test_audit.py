"""One image, four ways to its libraries: what we read off its layers is what a real engine unpacks them to."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.audit.images import read_layout, read_registry
from scripts.audit.library import Library
from scripts.audit.listing import list_inside
from scripts.audit.local import find_local, read_export, read_local
from scripts.engine import Engine
from scripts.engine.images import export_layout, load_layout, remove_image
from scripts.files import link_or_copy
from scripts.oci.archive import extract_archive, write_archive
from scripts.oci.compare import compare_layouts
from scripts.oci.layout import Layout
from scripts.project import Project
from scripts.publish.promote import promote, push_candidate
from scripts.reference import Repository
from scripts.registry.client import Registry
from scripts.registry.pull import pull_layout
from tests.integration.conftest import find_step
from tests.unit.audit.samples import HOST, PLAIN, SEVERAL, library
from tests.unit.oci.made import Entry, MadeImage, make_tar, zstd

# Each layer does something to those beneath it.
LAYERS: list[list[Entry]] = [
    [
        ("opt/", "folder", ""),
        ("opt/keep.so", PLAIN),
        ("opt/hidden.so", PLAIN),
        ("opt/replaced.so", PLAIN),
        ("opt/opaque/", "folder", ""),
        ("opt/opaque/lower.so", PLAIN),
        ("opt/folder/", "folder", ""),
        ("opt/folder/beneath.so", PLAIN),
        ("opt/gone/", "folder", ""),
        ("opt/gone/deep/", "folder", ""),
        ("opt/gone/deep/x.so", PLAIN),
        ("opt/linked", "link", "folder"),
        ("opt/host.so", HOST),
        ("opt/broken.so", PLAIN[: len(PLAIN) // 2]),
        ("usr/lib/through-usr.so", SEVERAL),
    ],
    [
        ("opt/.wh.hidden.so", b""),
        ("opt/replaced.so", b"text"),
        ("opt/opaque/", "folder", ""),
        ("opt/opaque/.wh..wh..opq", b""),
        ("opt/opaque/upper.so", SEVERAL),
        ("opt/folder", b"a file now"),
        ("opt/.wh.gone", b""),
        ("opt/own.so", PLAIN),
        ("opt/again.so", "hard", "opt/own.so"),
        ("opt/soft.so", "link", "keep.so"),
        ("opt/way", "link", "../usr/lib"),
        ("opt/way/through-link.so", SEVERAL),
        ("opt/linked/new.so", SEVERAL),
        ("opt/sp ace.so", PLAIN),
    ],
    [("usr/lib/.wh.through-usr.so", b""), ("opt/gone/", "folder", ""), ("opt/gone/new.so", PLAIN)],
    [],
]
FOUND = [
    library("opt/again.so"),
    library("opt/broken.so", PLAIN[: len(PLAIN) // 2]),
    library("opt/gone/new.so"),
    library("opt/keep.so"),
    library("opt/linked/new.so", SEVERAL),
    library("opt/opaque/upper.so", SEVERAL),
    library("opt/own.so"),
    library("opt/sp ace.so"),
    library("usr/lib/through-link.so", SEVERAL),
]


def make_image(folder: Path, base: Layout) -> Layout:
    """The base image with our layers over it, each packed in another way."""
    image = MadeImage()
    packings = (gzip.compress, zstd, gzip.compress, zstd)
    ours = [pack(make_tar(*entries)) for pack, entries in zip(packings, LAYERS, strict=True)]
    tars = [make_tar(*entries) for entries in LAYERS]
    config = base.read_config()
    config["rootfs"]["diff_ids"] += [image.keep(tar, "")["digest"] for tar in tars]
    config.pop("history", None)
    image.blobs.clear()
    manifest = base.read_manifest()
    manifest["config"] = image.keep(json.dumps(config).encode(), manifest["config"]["mediaType"])
    kind = "application/vnd.oci.image.layer.v1.tar"
    manifest["layers"] += [
        image.keep(layer, f"{kind}+{'gzip' if pack is gzip.compress else 'zstd'}")
        for layer, pack in zip(ours, packings, strict=True)
    ]
    entry = image.keep(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")
    image.write(folder, entry)
    for blob in base.layers:
        link_or_copy(base.blob_path(blob.digest), folder / "blobs" / blob.digest.replace(":", "/"))
    return Layout.open(folder)


@pytest.fixture(scope="module")
def layout(sandbox: Project, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layout]:
    """The image, in a layout and in the engine."""
    step = find_step(sandbox, "good-cpu").parent
    assert step
    base = Layout.open(sandbox.workspace.layout(step.build_id))
    made = make_image(tmp_path_factory.mktemp("audited") / "layout", base)
    load_layout(engine, made.folder, made.digest)
    yield made
    remove_image(engine, made.digest)


def test_every_way_gives_the_same_libraries(layout: Layout, engine: Engine, registry: str, tmp_path: Path) -> None:
    assert read_layout(layout.folder) == FOUND
    client, repository = Registry(), Repository.parse(f"{registry}/audited/image")
    push_candidate(client, repository, layout)
    promote(client, repository, layout.digest, "v1", tmp_path)
    remote = read_registry(f"{registry}/audited/image:v1", client)
    assert (remote.digest, remote.libraries) == (layout.digest, FOUND)
    said: list[str] = []
    assert list_inside(engine, layout.digest, said.append) == FOUND
    assert read_export(engine, layout.digest, said.append) == FOUND
    assert read_local(engine, layout.digest, said.append).libraries == FOUND
    assert find_local(engine, layout.digest) == layout.digest
    assert engine.client.containers.list(all=True, filters={"label": "io.hallmark.audit"}) == []


def test_an_image_comes_back_unchanged_from_wherever_it_was(
    layout: Layout, engine: Engine, registry: str, tmp_path: Path
) -> None:
    repository = Repository.parse(f"{registry}/returned/image")
    push_candidate(Registry(), repository, layout)
    write_archive([layout], tmp_path / "image.tar")
    returned = [
        export_layout(engine, layout.digest, tmp_path / "exported", lambda text: None),
        pull_layout(Registry(), repository, layout.digest, tmp_path / "pulled", lambda text: None),
        extract_archive(tmp_path / "image.tar", tmp_path / "extracted"),
    ]
    for other in returned:
        other.verify()
        assert compare_layouts(layout, other) == []


def test_an_image_without_python_is_read_from_the_export(engine: Engine, tmp_path: Path) -> None:
    image = MadeImage()
    tar = make_tar(("opt/x.so", PLAIN), ("y.so", "hard", "opt/x.so"))
    diff_id = image.keep(tar, "")["digest"]
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": image.keep(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": [image.keep(tar, "application/vnd.oci.image.layer.v1.tar")],
    }
    entry = image.keep(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")
    folder = image.write(tmp_path / "layout", entry)
    load_layout(engine, folder, entry["digest"])
    try:
        found: list[Library] | None = list_inside(engine, entry["digest"], lambda text: None)
        assert found is None
        assert read_local(engine, entry["digest"]).libraries == [library("opt/x.so"), library("y.so")]
    finally:
        remove_image(engine, entry["digest"])
