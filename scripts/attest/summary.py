"""The summary for policy engines: that this program looked at the other statements, and what came of it.

Format (VSA): https://slsa.dev/spec/v1.0/verification_summary
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from scripts import __version__
from scripts.files import content_id

SUMMARY = "https://slsa.dev/verification_summary/v1"
VERIFIER = "urn:hallmark:verifier:v1"
# What the provenance supports by itself: it says how the image was built. More depends on where the build ran.
LEVEL = "SLSA_BUILD_LEVEL_1"


def summarise(
    repository: str, digest: str, cell: str, required: Sequence[str], passed: bool, when: str, statements: Sequence[str]
) -> dict[str, Any]:
    """The predicate. `required` are the checks of the cell that had to pass, `statements` the digests of what was read.

    The policy's digest is that of the cell and its required checks, so that a policy engine can pin both.
    """
    name = repository.rpartition("/")[2]
    return {
        "verifier": {"id": VERIFIER, "version": {"hallmark": __version__}},
        "timeVerified": when,
        "resourceUri": f"pkg:oci/{quote(name)}@{quote(digest)}?repository_url={quote(repository, safe='/')}",
        "policy": {"uri": f"urn:hallmark:cell:{cell}", "digest": {"sha256": content_id([cell, sorted(required)])}},
        "inputAttestations": [{"digest": {"sha256": each.removeprefix("sha256:")}} for each in statements],
        "verificationResult": "PASSED" if passed else "FAILED",
        "verifiedLevels": [LEVEL] if passed else ["FAILED"],
        "slsaVersion": "1.0",
    }
