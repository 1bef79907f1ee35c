"""fetch: every locked input into a content-addressed cache. The only stage of a build that touches the network."""

from scripts.fetch.cache import Cache
from scripts.fetch.fetch import fetch_files
from scripts.fetch.remotes import Remotes
from scripts.fetch.trees import fetch_trees

__all__ = ["Cache", "Remotes", "fetch_files", "fetch_trees"]
