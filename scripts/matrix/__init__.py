"""What is to be built: `matrix.toml` and `images/*/image.toml`, read into frozen types with every mistake at once."""

from scripts.matrix.cells import explain_absence
from scripts.matrix.components import Component, Memory, Source
from scripts.matrix.load import load_matrix
from scripts.matrix.rules import AuditRule, Link, Omission, OtherCuda, Overlap, Scope, select_rules
from scripts.matrix.scenarios import Absence, Scenario, UpstreamTest, select_scenarios
from scripts.matrix.tags import Tags, compose_tags
from scripts.matrix.types import Exclusion, Image, Matrix, Platform, Recipe, Suite, Tools, Upstream

__all__ = [
    "Absence",
    "AuditRule",
    "Component",
    "Exclusion",
    "Image",
    "Link",
    "Matrix",
    "Memory",
    "Omission",
    "OtherCuda",
    "Overlap",
    "Platform",
    "Recipe",
    "Scenario",
    "Scope",
    "Source",
    "Suite",
    "Tags",
    "Tools",
    "Upstream",
    "UpstreamTest",
    "compose_tags",
    "explain_absence",
    "load_matrix",
    "select_rules",
    "select_scenarios",
]
