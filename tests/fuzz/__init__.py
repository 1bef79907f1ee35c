"""Every reader of foreign bytes, given bytes that are nearly right: `nox -s fuzz`."""
