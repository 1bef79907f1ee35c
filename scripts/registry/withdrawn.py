"""A withdrawn tag: it holds an index of no image, which says why, so that a pull of it fails and a reader can tell.

Deleting a tag is not part of what every registry does, and would say nothing of the reason.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from scripts.files import canonical_json
from scripts.oci.descriptor import OCI_INDEX, is_digest, parse_object
from scripts.registry.client import Manifest

WITHDRAWN = "application/vnd.hallmark.withdrawn.v1"
_RETIRED = "io.hallmark.withdrawn.retired"
_DIGEST, _REASON, _WHEN = "io.hallmark.withdrawn.digest", "io.hallmark.withdrawn.reason", "io.hallmark.withdrawn.time"


@dataclass(frozen=True)
class Withdrawal:
    """What a withdrawn tag named, why it does no more, and since when (UTC).

    `retired`: its cell is out of service, and nothing that is accepted is to be put under the tag.
    """

    digest: str
    reason: str
    when: str
    retired: bool = False


def make_withdrawal(digest: str, reason: str, *, retired: bool = False) -> Manifest:
    """What a tag holds from now on that named this digest."""
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    content = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "artifactType": WITHDRAWN,
        "manifests": [],
        "annotations": {_DIGEST: digest, _REASON: reason, _WHEN: when} | ({_RETIRED: "true"} if retired else {}),
    }
    return Manifest(canonical_json(content), OCI_INDEX)


def read_withdrawal(manifest: Manifest) -> Withdrawal | None:
    """What a tag's bytes say of its withdrawal; None for anything else, an image above all."""
    try:
        content = parse_object(manifest.data)
        notes = content["annotations"]
        digest, reason, when = (str(notes[key]) for key in (_DIGEST, _REASON, _WHEN))
        found = Withdrawal(digest, reason, when, retired=notes.get(_RETIRED) == "true")
    except (ValueError, KeyError, TypeError):
        return None
    ours = content.get("artifactType") == WITHDRAWN and content.get("manifests") == []
    return found if ours and is_digest(found.digest) else None
