"""build: locked inputs become OCI layouts, without a network and the same every time."""
