"""A proposal in image.toml: the values change, and comments, order and line breaks stay."""

from __future__ import annotations

import tomlkit

from scripts.update.propose import Proposal


def rewrite(text: str, proposal: Proposal) -> str:
    """image.toml's text with a recipe as it is proposed."""
    document = tomlkit.parse(text)
    recipe, line = proposal.key
    table = document["recipe"][recipe][line]
    old, new = proposal.before, proposal.version
    table["version"] = new
    # Upstream's tag, where it has the version in it; of a commit's hash nothing here knows the next.
    revision = str(table["revision"])
    table["revision"] = revision.replace(old, new) if old in revision else f"v{new}"
    requirements = table["requirements"]
    for index, (was, becomes) in enumerate(zip([*requirements], proposal.requirements, strict=True)):
        if was != becomes:
            requirements[index] = becomes
    if "suite" in table:
        suite = table["suite"]
        suite["sdist"] = str(suite["sdist"]).replace(f"=={old}", f"=={new}")
    return tomlkit.dumps(document)
