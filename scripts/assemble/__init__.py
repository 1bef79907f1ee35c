"""assemble: images from their shells, and a layer for each distribution on top."""
