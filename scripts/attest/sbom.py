"""The list of what is in an image, from its locks: a CycloneDX 1.6 document. https://cyclonedx.org/docs/1.6/json/

Hashes are those of the files that were locked, before wheels are slimmed or laid out. It holds no time of its own: the
same locks, and the same licences, give the same bytes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from scripts import __version__
from scripts.attest.build import Build, Licences, Made, package_url, python_url
from scripts.model import LockedFile

BOM = "https://cyclonedx.org/bom"


def list_contents(build: Build, digest: str, licences: Licences) -> dict[str, Any]:
    """The document, as the predicate of a statement; `licences` gives what a file says of itself, if it is at hand."""
    files = {file.sha256: file for file in build.packages}
    components = [_describe_file(file, licences(file)) for file in files.values()]
    components += [_describe_made(made) for made in build.made]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(build.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "tools": {"components": [{"type": "application", "name": "hallmark", "version": __version__}]},
            "component": {"type": "container", "bom-ref": digest, "name": build.name, "version": build.version},
        },
        "components": sorted(components, key=lambda each: (each["name"], each["bom-ref"])),
    }


def _describe_file(file: LockedFile, licences: tuple[str, ...]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "type": "library",
        "bom-ref": f"sha256:{file.sha256}",
        "name": file.name,
        "version": file.version,
        "hashes": [{"alg": "SHA-256", "content": file.sha256}],
        "properties": [{"name": "hallmark:file", "value": file.file}],
    }
    if url := package_url(file):
        described["purl"] = url
    if licences:
        # As a name each, and not as SPDX's: most of these texts are written by hand.
        described["licenses"] = [{"license": {"name": name}} for name in licences]
    return described


def _describe_made(made: Made) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": f"compiled:{made.build_id}",
        "name": made.name,
        "version": made.version,
        "purl": python_url(made.name, made.version),
        "properties": [{"name": "hallmark:compiled", "value": made.build_id}],
    }
