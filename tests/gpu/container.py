"""Proof on a real GPU that the smoke container is given the target, and only when asked: `nox -s gpu-container`.

Any image with Python 3 will do. The same locked-down container runs with the GPU, where it must name the target, and
without it, where it must not find the driver's devices. Ends with 0 only if both was seen.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts.command import run_telling
from scripts.engine import probe_host
from scripts.engine.images import list_images
from scripts.matrix import Scenario, load_matrix
from scripts.model import Cell
from scripts.smoke.gpu import choose_targets, find_gpus, request_device
from scripts.smoke.trial import run_trial

ROOT = Path(__file__).resolve().parents[2]
PROBE = ROOT / "tests/gpu/probe"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", help="an image of the host's engine that has Python 3")
    parser.add_argument("--target", required=True, help="the GPU of this machine, as in matrix.toml")
    options = parser.parse_args()
    matrix = load_matrix(ROOT)
    engine, why = probe_host()
    if engine is None:
        raise SystemExit(why)
    print("GPUs:", *find_gpus(), sep="\n  ")
    target = matrix.targets[options.target]
    cell = Cell("pytorch", target, matrix.cuda["13.0"], "wheel")
    gpu = choose_targets(cell, find_gpus())[0]
    print(f"engine {engine.version} with {len(list_images(engine))} images; {request_device(engine, gpu)}")
    scenario = Scenario("device", ("device",), timeout_s=120, memory_gib=4)
    shown = run_trial(engine, options.image, PROBE, scenario, {}, [request_device(engine, gpu)])
    hidden = run_trial(engine, options.image, PROBE, scenario, {})
    for name, run in (("with the GPU", shown), ("without", hidden)):
        print(f"{name}: {run.results} {run.log[-500:]}")
    expected = [f"{target.name} {target.compute}"]
    seen = [result.measured.get("devices") for result in shown.results if result.check == "device"]
    passed = all(result.passed for result in shown.results) and seen == [expected]
    refused = not all(result.passed for result in hidden.results)
    print("as it must be" if passed and refused else "NOT as it must be")
    return 0 if passed and refused else 1


if __name__ == "__main__":
    sys.exit(run_telling(main))
