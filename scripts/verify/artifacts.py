"""What is attached to an image in a registry: found, bounded in number and size, and read as far as it can be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scripts.attest.envelope import BUNDLE_TYPE, ENVELOPE_TYPE, PAYLOAD_TYPE, Envelope, open_bundle, open_envelope
from scripts.attest.statement import Statement, read_statement
from scripts.oci.blobs import read_json_blob
from scripts.oci.descriptor import is_digest, parse_descriptor, parse_object
from scripts.reference import Repository
from scripts.registry.client import Registry
from scripts.registry.failures import DigestMismatch
from scripts.registry.store import RegistryStore

MOST_ARTIFACTS = 300
_TYPES = (PAYLOAD_TYPE, BUNDLE_TYPE)
LARGEST_ENVELOPE = 1 << 23  # bytes; an SBOM of a large image takes a tenth of it


@dataclass(frozen=True)
class Attached:
    """A statement in its envelope, of which nothing is believed yet; `bundle` is what Sigstore has put around both."""

    envelope: Envelope
    statement: Statement
    bundle: bytes = b""


def list_artifacts(registry: Registry, repository: Repository, digest: str) -> list[str]:
    """The digests of the artifacts of our type that name this image: by the referrers API, or else by its tag.

    Raises ValueError for a list that cannot be read, or with more entries than anybody has reason to attach, and what
    the client raises.
    """
    pages = registry.list_referrers(repository, digest) or []
    found = list(dict.fromkeys(_list_ours(pages)))
    if not found and (tag := registry.get_manifest(repository, digest.replace(":", "-"))):
        found = list(dict.fromkeys(_list_ours([tag.data])))
    if len(found) > MOST_ARTIFACTS:
        raise ValueError(f"{len(found)} statements are attached, and at most {MOST_ARTIFACTS} are read")
    return found


def _list_ours(pages: Iterable[bytes]) -> Iterable[str]:
    for page in pages:
        entries = parse_object(page).get("manifests")
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict) and entry.get("artifactType") in _TYPES and is_digest(entry.get("digest")):
                yield entry["digest"]


def read_artifact(registry: Registry, repository: Repository, artifact: str, subject: str) -> Attached:
    """The statement of an artifact. Raises ValueError, with a cause for people, where there is none, and Undecided."""
    try:
        manifest = registry.get_manifest(repository, artifact)
        if manifest is None:
            raise ValueError("it is listed, and the registry does not have it")
        content = parse_object(manifest.data)
        if (content.get("subject") or {}).get("digest") != subject:
            raise ValueError("it is listed for this image, and belongs to another")
        layers = content.get("layers")
        if not isinstance(layers, list) or len(layers) != 1:
            raise ValueError("it does not hold one thing")
        layer = parse_descriptor(layers[0])
        if layer.media_type not in (ENVELOPE_TYPE, BUNDLE_TYPE):
            raise ValueError(f"it holds {layer.media_type[:60]!r}, and no envelope")
        if layer.size > LARGEST_ENVELOPE:
            raise ValueError(f"its envelope has {layer.size} bytes, and at most {LARGEST_ENVELOPE} are read")
        if registry.blob_size(repository, layer.digest) is None:
            raise ValueError("the registry does not have its envelope")
        data = read_json_blob(RegistryStore(registry, repository), layer, f"{repository}@{artifact}")
    except DigestMismatch as error:
        raise ValueError(error.problems[0].cause) from error
    except AttributeError:
        raise ValueError("its subject is none") from None
    bundle = data if layer.media_type == BUNDLE_TYPE else b""
    envelope = open_bundle(bundle) if bundle else open_envelope(data)
    return Attached(envelope, read_statement(envelope.payload), bundle)
