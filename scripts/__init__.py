"""Hallmark: container images that are stamped only after they have served a model on the GPU they are for."""

__version__ = "0.1.0"
