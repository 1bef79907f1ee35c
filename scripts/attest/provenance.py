"""SLSA provenance: what was asked for, from which bytes, by whom. Format: https://slsa.dev/spec/v1.0/provenance

It holds no time and no machine: the same build gives the same bytes.
"""

from __future__ import annotations

from typing import Any

from scripts import __version__
from scripts.attest.build import Build, package_url
from scripts.model import LockedFile, LockedTree

PROVENANCE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:hallmark:build:v1"
BUILDER = "urn:hallmark:builder:v1"


def describe_build(build: Build, sbom: str) -> dict[str, Any]:
    """The predicate; `sbom` is the digest of the statement that lists what is in the image."""
    inputs = dict.fromkeys([*build.packages, *build.sources])
    resolved = sorted(map(_describe, inputs), key=lambda entry: (entry["name"], sorted(entry["digest"].values())))
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": dict(build.parameters),
            "resolvedDependencies": resolved,
        },
        "runDetails": {
            "builder": {"id": BUILDER, "version": {"hallmark": __version__}},
            "metadata": {"invocationId": build.build_id},
            "byproducts": [{"name": "sbom", "digest": {"sha256": sbom.removeprefix("sha256:")}}],
        },
    }


def _describe(item: LockedFile | LockedTree) -> dict[str, Any]:
    if isinstance(item, LockedTree):
        uri = f"git+{item.repository}@{item.commit}"
        return {"name": item.name, "uri": uri, "digest": {"gitCommit": item.commit}}
    described: dict[str, Any] = {"name": item.file, "digest": {"sha256": item.sha256}}
    # The package URL says what it is, wherever it was had from; an archive of upstream's has its address alone.
    if uri := package_url(item) or item.url:
        described["uri"] = uri
    return described
