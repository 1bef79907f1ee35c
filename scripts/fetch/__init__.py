"""fetch: every locked input into a content-addressed cache. The only stage of a build that touches the network."""

from scripts.fetch.cache import Cache
from scripts.fetch.fetch import fetch_files

__all__ = ["Cache", "fetch_files"]
