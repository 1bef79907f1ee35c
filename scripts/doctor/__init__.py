"""doctor: what of this machine builds and tests need, what is missing, and which images are for its GPUs."""
