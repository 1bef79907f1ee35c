"""sizes: where an image's bytes come from, by distribution: as upstream made them, and as they are installed."""
