"""The stages of cells, in order, up to the one that was asked for. What is done already is not done again."""

from scripts.pipeline.bench import Bench, open_bench
from scripts.pipeline.job import CellReport, Job, Options, Stage, make_jobs
from scripts.pipeline.judge import CellVerdict, read_verdicts
from scripts.pipeline.run import run_cells

__all__ = [
    "Bench",
    "CellReport",
    "CellVerdict",
    "Job",
    "Options",
    "Stage",
    "make_jobs",
    "open_bench",
    "read_verdicts",
    "run_cells",
]
