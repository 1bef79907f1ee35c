"""Single files out of a locked source: those in which upstream's build says what else it would download."""

from __future__ import annotations

import tarfile
from collections.abc import Collection

from scripts.errors import ConfigError
from scripts.fetch import fetch_files, fetch_trees
from scripts.matrix import Platform
from scripts.model import LockedFile, LockedTree
from scripts.site import Site


def read_texts(
    source: LockedFile | LockedTree, wanted: Collection[str], site: Site, platform: Platform, place: str
) -> dict[str, str]:
    """Files of a source by their path in it. The source is fetched.

    Raises Undecided where it is not to be had, and ConfigError where it lacks one of them.
    """
    if isinstance(source, LockedTree):
        path = fetch_trees([source], site).tree(source)
    else:
        path = fetch_files([source], site, platform).path(source.sha256)
    texts: dict[str, str] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                # Released archives hold one folder, with everything in it.
                name = member.name if isinstance(source, LockedTree) else member.name.partition("/")[2]
                if name in wanted and (stream := archive.extractfile(member)):
                    texts[name] = stream.read().decode(errors="replace")
    except tarfile.TarError as error:
        raise ConfigError(f"{source.name} is no archive: {error}", place, "name another source") from error
    if missing := sorted(set(wanted) - set(texts)):
        raise ConfigError(f"{source.name} has no {', '.join(missing)}", place, "correct `pin`")
    return texts
