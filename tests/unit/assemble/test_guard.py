from __future__ import annotations

import json
import os

from scripts.assemble.guard import NAME, guard_settings, make_guard
from scripts.assemble.inside import guard
from scripts.model import CudaLine, Target

RTX = Target("5090", "NVIDIA GeForce RTX 5090", "source", "12.0", "570", 32)


def test_it_lies_where_it_is_found_and_knows_what_the_image_is_for() -> None:
    settings = guard_settings(CudaLine("12.8", "12.8.1", "570.124.06"), RTX)
    program, known = make_guard(settings)
    assert (program.path, program.mode) == (f"usr/local/bin/{NAME}", 0o755)
    assert bytes(program.read()).startswith(b"#!/usr/bin/python3 -IS\n")
    assert os.path.join("/", known.path) == guard.SETTINGS  # noqa: PTH118
    assert json.loads(known.read()) == {"compute": "12.0", "cuda": "12.8", "driver": "570.124.06"}


def test_it_names_no_target_for_targets_share_their_builds() -> None:
    assert "5090" not in json.dumps(guard_settings(CudaLine("12.8", "12.8.1", "570.124.06"), RTX))
