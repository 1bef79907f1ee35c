"""The stages of cells, in order, up to the one that was asked for. What is done already is not done again."""

from scripts.pipeline.chain import Builder
from scripts.pipeline.rows import CellReport, CellVerdict, Options, Stage
from scripts.pipeline.run import run_cells
from scripts.pipeline.verdicts import read_verdicts

__all__ = ["Builder", "CellReport", "CellVerdict", "Options", "Stage", "read_verdicts", "run_cells"]
