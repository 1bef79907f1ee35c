"""What is to be built: `matrix.toml` and `images/*/image.toml`, read into frozen types with every mistake at once."""

from scripts.matrix.cells import make_cells, select_rules
from scripts.matrix.load import load_matrix
from scripts.matrix.types import AuditRule, Exclusion, Image, Matrix, Omission, Platform, Recipe, Smoke, Tools, Upstream

__all__ = [
    "AuditRule",
    "Exclusion",
    "Image",
    "Matrix",
    "Omission",
    "Platform",
    "Recipe",
    "Smoke",
    "Tools",
    "Upstream",
    "load_matrix",
    "make_cells",
    "select_rules",
]
