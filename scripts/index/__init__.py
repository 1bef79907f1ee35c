"""index: what the site's package index has. uv solves; nothing here is written down, and no file is brought home."""

from scripts.index.files import ask_size, open_remote
from scripts.index.wheels import FoundWheel, platform_tags, resolve_wheels

__all__ = ["FoundWheel", "ask_size", "open_remote", "platform_tags", "resolve_wheels"]
