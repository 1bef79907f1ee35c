"""Wheels: which may be changed, what becomes of their members, and the slimmed ones in the cache."""
