"""index: what the site's package index has. uv solves; nothing here is written down, and no file is brought home."""

from scripts.index.files import ask_size, open_remote, read_requirements
from scripts.index.sdists import find_sdists
from scripts.index.solve import FoundFile
from scripts.index.wheels import platform_tags, resolve_wheels

__all__ = [
    "FoundFile",
    "ask_size",
    "find_sdists",
    "open_remote",
    "platform_tags",
    "read_requirements",
    "resolve_wheels",
]
