from __future__ import annotations

from dataclasses import replace

import pytest

from scripts.errors import ConfigError
from scripts.pipeline import Options, Stage, make_jobs
from scripts.plan import Selection, make_plan
from tests.unit.builders import edit
from tests.unit.pipeline.lab import Lab

GPU, PRO, CPU = "serve-cu128-5090-wheel", "serve-cu128-pro6000-wheel", "serve-cpu"


def test_each_cell_has_a_job_and_cells_of_one_capability_one_step(lab: Lab) -> None:
    one, other, cpu = lab.jobs(GPU, PRO, CPU)
    assert [job.cell.id for job in (one, other, cpu)] == [GPU, PRO, CPU]
    assert one.step is other.step and one.step.name == "serve-cu128-sm120-wheel"
    assert one.build_folder(lab.workspace) == other.build_folder(lab.workspace) == lab.workspace.run(one.step.build_id)
    assert one.cell_folder(lab.workspace) != other.cell_folder(lab.workspace)
    assert [rule.libraries for rule in one.rules] == [("lib/*.so",)] and one.scenarios[0].checks == ("load", "serve")


def test_build_options_make_other_steps(lab: Lab) -> None:
    project = lab.project
    plan = make_plan(project.matrix, Selection([GPU]))
    options = project.build_options()
    [usual] = make_jobs(project.matrix, plan, options, Stage.BUILD, Options())
    [whole] = make_jobs(project.matrix, plan, replace(options, slim=False), Stage.BUILD, Options())
    [gzip] = make_jobs(project.matrix, plan, replace(options, compression="gzip"), Stage.BUILD, Options())
    assert len({usual.step.build_id, whole.step.build_id, gzip.step.build_id}) == 3


def test_a_stale_lock_makes_no_job(lab: Lab) -> None:
    edit(lab.root / "images/train/image.toml", '["train==3.0"]', '["train==3.0", "numpy"]')
    with pytest.raises(ConfigError, match="older than the matrix"):
        lab.jobs("train-cpu")


def test_a_model_that_there_is_not_makes_no_job(lab: Lab) -> None:
    edit(lab.root / "images/serve/image.toml", 'name = "default"', 'name = "default"\nmodel = "lama"')
    with pytest.raises(ConfigError, match=r"scenario `default`: unknown model `lama`\n.*one of: llama"):
        lab.jobs(CPU)


TESTS = """[[scenario]]
name = "upstream"
checks = ["upstream"]
timeout_s = 60
memory_gib = 2
[[scenario.tests]]
file = "test_serve.py"
passes = 1
"""


def test_tests_of_a_suite_that_a_recipe_does_not_have_make_no_job(lab: Lab) -> None:
    path = lab.root / "images/serve/image.toml"
    path.write_text(path.read_text() + TESTS)
    with pytest.raises(
        ConfigError, match=r"scenario `upstream` has tests of upstream's, and the recipe for serve-cpu no"
    ):
        lab.jobs(CPU)
    lab.jobs("train-cpu")


def test_a_suite_without_a_lock_makes_no_job(lab: Lab) -> None:
    path = lab.root / "images/serve/image.toml"
    path.write_text(path.read_text() + TESTS)
    suite = '[recipe.wheel.cpu.suite]\nsdist = "serve==1.2.0"\nfolder = "tests"\nrequirements = ["pytest==9.0"]\n'
    path.write_text(path.read_text().replace("[[scenario]]", f"{suite}[[scenario]]", 1))
    with pytest.raises(ConfigError, match=r"suite-wheel-cpu.toml"):
        lab.jobs(CPU)
