"""A shell and the layers on top of it, put together as one image in an OCI layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.assemble.layer import PackedLayer
from scripts.errors import BuildFailed
from scripts.files import canonical_json, link_or_copy, write_atomic
from scripts.oci.descriptor import OCI_CONFIG, OCI_MANIFEST, Descriptor, describe
from scripts.oci.layout import Layout, create_layout

MOST_LAYERS = 127  # what Docker's overlay can stack


@dataclass(frozen=True)
class TopLayer:
    """A layer to lay on top: what its history entry says, what it is as a blob, and the file with its bytes."""

    comment: str
    packed: PackedLayer
    blob: Path


def compose(
    shell: Layout, layers: Sequence[TopLayer], folder: Path, created: str, before: Sequence[str] = ()
) -> Layout:
    """One image of a shell's layers and these above them, in a new folder; blobs get a second name, not a second copy.

    `created` is the time of the history's entries (RFC 3339); `before` comes before the entry point's words. Raises
    BuildFailed for more layers than engines stack.
    """
    below = shell.layers
    if len(below) + len(layers) > MOST_LAYERS:
        raise BuildFailed(
            f"{len(below) + len(layers)} layers, and engines stack {MOST_LAYERS}", str(folder), "report this"
        )
    for blob in below:
        link_or_copy(shell.blob_path(blob.digest), folder / blob.path)
    above = [Descriptor(top.packed.digest, top.packed.size, top.packed.media_type) for top in layers]
    for blob, top in zip(above, layers, strict=True):
        link_or_copy(top.blob, folder / blob.path)
    data = canonical_json(extend(shell.read_config(), len(below), layers, created, before))
    config = describe(data, OCI_CONFIG)
    write_atomic(folder / config.path, data)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.to_json(),
        "layers": [blob.to_json() for blob in (*below, *above)],
    }
    return create_layout(folder, canonical_json(manifest))


def extend(
    config: dict[str, Any], below: int, layers: Sequence[TopLayer], created: str, before: Sequence[str]
) -> dict[str, Any]:
    """A shell's configuration with these layers, too, and these words before what its container runs.

    Its history is told anew: versions of BuildKit word the same steps differently, and the digest would be another.
    """
    comments = [*["Dockerfile"] * below, *(top.comment for top in layers)]
    rootfs = config["rootfs"]
    if before:
        program = config.get("config", {})
        config = config | {"config": program | {"Entrypoint": [*before, *(program.get("Entrypoint") or ())]}}
    return config | {
        "rootfs": rootfs | {"diff_ids": [*rootfs["diff_ids"], *(top.packed.diff_id for top in layers)]},
        "history": [{"created": created, "created_by": f"hallmark: {comment}"} for comment in comments],
    }
