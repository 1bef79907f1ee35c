"""Images where they are kept: an OCI layout, an archive, an engine's export, a registry."""

from __future__ import annotations

import gzip
import io
import json
import shutil
from contextlib import suppress
from functools import cache
from pathlib import Path

from scripts.audit.images import merge_libraries, read_layout, read_registry
from scripts.audit.library import Keeper
from scripts.errors import HallmarkError
from scripts.oci.archive import extract_archive
from scripts.oci.descriptor import LAYER_GZIP, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, digest_of
from scripts.oci.export import read_export
from scripts.oci.layout import Layout
from scripts.registry.client import Registry
from scripts.registry.pull import pull_layout
from tests.fuzz.answers import answer_with
from tests.fuzz.code import make_libraries, show
from tests.fuzz.parts import describe, dump, make_parts, mutate_parts, write_parts
from tests.fuzz.subject import Subject, choose
from tests.unit.oci.made import Entry, make_tar
from tests.unit.registry.fake_registry import REPOSITORY

_NOT_BLOBS = ("index", "answers")


@cache
def make_image() -> dict[str, str | bytes]:
    """An image of two layers under an index, in parts."""
    layer = make_tar(("usr/lib/a.so", make_libraries()[0]))
    upper = make_tar(("usr/lib/b.so", make_libraries()[1]), ("usr/lib/.wh.a.so", b""))
    diff_ids = ["{digest:layer}", digest_of(upper)]
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    layers = [describe("layer", "application/vnd.oci.image.layer.v1.tar"), describe("upper", LAYER_GZIP)]
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": describe("config", OCI_CONFIG),
        "layers": layers,
    }
    amd64 = {"platform": {"os": "linux", "architecture": "amd64"}}
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [describe("manifest", OCI_MANIFEST, **amd64)]}
    return {
        "layer": layer,
        "upper": gzip.compress(upper, mtime=0),
        "config": dump(config),
        "manifest": dump(manifest),
        "index": dump(index),
    }


def make_layouts() -> list[bytes]:
    """An image by itself, and one behind an index that an index names."""
    image = make_image()
    nested = {**image, "inner": image["index"], "index": dump({"manifests": [describe("inner", OCI_INDEX)]})}
    return [write_parts(image), write_parts(nested)]


def make_answers() -> list[bytes]:
    """The same from a registry, which may say anything with it."""
    extra: list[dict[str, object]] = [
        {},
        {"ping": {"status": 200, "headers": {"Docker-Distribution-Api-Version": "registry/2.0"}}},
        {
            "manifests": {
                "status": 401,
                "headers": {"WWW-Authenticate": 'Bearer realm="https://a.example/t",service="a"'},
            },
            "token": {"status": 200, "headers": {"Content-Type": "application/json"}, "body": '{"token": "t"}'},
        },
        {"manifests": {"status": 404, "body": '{"errors": [{"code": "NAME_UNKNOWN", "message": "no"}]}'}},
        {"blobs": {"status": 307, "headers": {"Location": "https://cdn.example/x?y=z"}}},
        {"blobs": {"status": 206, "headers": {"Content-Range": "bytes 0-9/10", "Content-Length": "10"}}},
        {"manifests": {"status": 429, "headers": {"Retry-After": "3"}, "body": "<html>"}},
    ]
    return [write_parts({**make_image(), "answers": json.dumps(each)}) for each in extra]


def read_local(data: bytes, folder: Path) -> None:
    """As a layout, as an archive, or as an engine's export."""
    parts = make_parts(data)
    blobs = {digest_of(each): each for name, each in parts.items() if name not in _NOT_BLOBS}
    choose((_read_layout, _read_archive, _read_export), data)(blobs, parts.get("index", b""), folder)


def _read_layout(blobs: dict[str, bytes], index: bytes, folder: Path) -> None:
    layout = folder / "layout"
    (layout / "blobs/sha256").mkdir(parents=True)
    try:
        for digest, data in blobs.items():
            (layout / "blobs" / digest.replace(":", "/")).write_bytes(data)
        (layout / "index.json").write_bytes(index)
        with suppress(HallmarkError):
            Layout.open(layout).verify()
        show(*read_layout(layout))
    finally:
        shutil.rmtree(layout)


def _pack(blobs: dict[str, bytes], index: bytes) -> bytes:
    files: list[Entry] = [(f"blobs/{digest.replace(':', '/')}", data) for digest, data in blobs.items()]
    return make_tar(*files, ("index.json", index), ("oci-layout", b"{}"))


def _read_archive(blobs: dict[str, bytes], index: bytes, folder: Path) -> None:
    (folder / "image.tar").write_bytes(_pack(blobs, index))
    try:
        extract_archive(folder / "image.tar", folder / "extracted").verify()
    finally:
        shutil.rmtree(folder / "extracted", ignore_errors=True)


def _read_export(blobs: dict[str, bytes], index: bytes, folder: Path) -> None:
    export = io.BytesIO(_pack(blobs, index))
    show(*merge_libraries(read_export(export, "export", Keeper("export").keep), "export"))


def ask(data: bytes, folder: Path) -> None:
    """Audit an image in a registry, pull it, or ask what else is asked."""
    registry, digest = answer_with(make_parts(data))
    choose((_audit, _audit, _pull, _ask_more), data)(registry, digest, folder)


def _audit(registry: Registry, digest: str, folder: Path) -> None:
    show(*read_registry(f"{REPOSITORY}:latest", registry).libraries)


def _pull(registry: Registry, digest: str, folder: Path) -> None:
    try:
        pull_layout(registry, REPOSITORY, digest, folder / "pulled", lambda text: None)
    finally:
        for name in ("pulled", ".pulled.part"):
            shutil.rmtree(folder / name, ignore_errors=True)


def _ask_more(registry: Registry, digest: str, folder: Path) -> None:
    with suppress(HallmarkError):
        registry.ping(REPOSITORY)
        registry.list_referrers(REPOSITORY, digest)
    with suppress(HallmarkError):
        registry.hash_blob(REPOSITORY, digest, 1 << 20)
    registry.upload_blob(REPOSITORY, digest, b"x")


SUBJECTS = (
    Subject("layout", 20_000, make_layouts, mutate_parts, read_local),
    Subject("registry", 20_000, make_answers, mutate_parts, ask),
)
