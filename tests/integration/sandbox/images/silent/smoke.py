"""Nothing failed, because nothing was asked: not a pass."""
