"""What lies in the folder where servers keep what they compile: files and bytes, by the cache that they are of.

Standard library only: it runs inside the candidate, beside the script that imports it, and so where the folder is,
be it on this machine or a volume of another. Scenarios side by side share it: what one counts may be another's.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

KEPT = Path(".cache")  # in the home folder: what the host keeps between scenarios
MOST_ENTRIES = 200_000  # a first start was seen to leave some thousands
MOST_KINDS = 20
OTHERS = "others"


def measure_caches(home: Path | None = None) -> dict[str, Any]:
    """Figures of each cache, the largest first, and of all together; `unread`: folders that could not be looked into.

    A cache is what one name in the folder holds, such as `triton` or `flashinfer`. Links are not followed. After
    `MOST_ENTRIES` names the walk ends, and `more` says that there are others.
    """
    files: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    root = (home or Path(os.environ.get("HOME", "/tmp"))) / KEPT  # noqa: S108  the container's own
    waiting: list[tuple[Path, str]] = [(root, "")]
    seen = unread = 0
    while waiting and seen < MOST_ENTRIES:
        folder, kind = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    seen += 1
                    if seen > MOST_ENTRIES:
                        waiting.append((folder, kind))
                        break
                    name = kind or entry.name
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((folder / entry.name, name))
                    elif entry.is_file(follow_symlinks=False):
                        files[name] += 1
                        sizes[name] += entry.stat(follow_symlinks=False).st_size
        except FileNotFoundError:  # nothing was kept yet, or a server has taken it away again
            continue
        except OSError:
            unread += 1
    largest = sorted(files, key=lambda name: (-sizes[name], name))
    shown = [(name, files[name], sizes[name]) for name in largest[:MOST_KINDS]]
    if rest := largest[MOST_KINDS:]:
        shown.append((OTHERS, sum(files[name] for name in rest), sum(sizes[name] for name in rest)))
    figures = [_figure("cache", sum(files.values()), sum(sizes.values()))]
    figures += [_figure(f"cache/{name}", count, size) for name, count, size in shown]
    return {"figures": [each for pair in figures for each in pair], "unread": unread, "more": bool(waiting)}


def _figure(name: str, count: int, size: int) -> tuple[dict[str, Any], dict[str, Any]]:
    return (
        {"name": f"{name} size", "value": size, "unit": "B", "better": "lower"},
        {"name": f"{name} files", "value": count, "unit": "files", "better": "lower"},
    )
