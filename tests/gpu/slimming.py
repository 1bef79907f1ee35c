"""Proof on a real GPU that slimming changes no number: `nox -s gpu-slimming`, where PyTorch for CUDA is installed.

The installed PyTorch is laid out three times: as it is, slimmed for this GPU, and slimmed for another. The same suite
runs with each. The second must give the same bits as the first; the third must fail with the error "no kernel image",
and with no other. Prints a table, writes a report, and ends with 0 only if all of that was seen.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from scripts.gpucode import read_gpu_code
from scripts.slim.elf.library import LibraryReport, slim_library

ROOT = Path(__file__).resolve().parents[2]
NO_KERNEL = "no kernel image is available for execution on the device"
OTHER = {"9.0": "12.0", "12.0": "9.0"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--report", type=Path, default=ROOT / "docs/evidence/slimming.json", help="where the report goes"
    )
    options = parser.parse_args()
    site = Path(str(importlib.util.find_spec("torch").origin)).parents[1]  # type: ignore[union-attr]
    with tempfile.TemporaryDirectory(prefix="hallmark-gpu-") as name:
        folder = Path(name)
        original = run_suite(site)
        compute = ask_compute()
        runs: dict[str, dict[str, Any]] = {"original": original}
        libraries: dict[str, dict[str, LibraryReport]] = {}
        for target in (compute, OTHER[compute]):
            libraries[target] = lay_out(site, folder / target, target)
            runs[target] = run_suite(folder / target)
            shutil.rmtree(folder / target)
    problems = compare(original["results"], runs[compute]["results"])
    problems += expect_no_kernel(runs[OTHER[compute]]["results"])
    if not any(report.removed for report in libraries[compute].values()):
        problems.append("nothing was removed from any library, so nothing was shown")
    options.report.write_text(render(original, compute, runs, libraries, problems))
    show(original, compute, runs, libraries)
    print("\n".join(problems) or f"all {len(original['results'])} results are the same bits")
    return 1 if problems else 0


def lay_out(site: Path, folder: Path, compute: str) -> dict[str, LibraryReport]:
    """A copy of the installed torch with slimmed libraries, beside links to everything else; the slimmed ones."""
    folder.mkdir()
    for item in site.iterdir():
        if item.name != "torch":
            (folder / item.name).symlink_to(item)
    reports = {}
    shutil.copytree(site / "torch", folder / "torch", symlinks=True)
    for path in sorted((folder / "torch").rglob("*.so*")):
        if path.is_symlink() or not read_gpu_code(path):
            continue
        slimmed = path.with_name(f"{path.name}.slim")
        reports[path.relative_to(folder).as_posix()] = slim_library(path, slimmed, compute)
        shutil.copymode(path, slimmed)
        slimmed.replace(path)
    return reports


def run_suite(site: Path) -> dict[str, Any]:
    """The workload's report with the packages of this folder, without any kernel compiled at run time."""
    environment = os.environ | {
        "PYTHONPATH": str(site),
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "CUDA_DISABLE_PTX_JIT": "1",
    }
    script = str(ROOT / "tests/gpu/workload.py")
    run = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise SystemExit(f"the suite ended with {run.returncode} on {site}:\n{run.stderr[-3000:]}")
    return dict(json.loads(run.stdout.splitlines()[-1]))


def ask_compute() -> str:
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]


def compare(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    problems = [f"{name}: {value}" for name, value in expected.items() if value.startswith("error")]
    return problems + [
        f"{name}: {found.get(name, 'not reached')}, and {value} unslimmed"
        for name, value in expected.items()
        if found.get(name) != value
    ]


def expect_no_kernel(results: dict[str, str]) -> list[str]:
    [*_, (name, last)] = results.items()
    return [] if NO_KERNEL in last else [f"slimmed for another GPU, {name} gave {last}, not `{NO_KERNEL}`"]


def render(
    original: dict[str, Any],
    compute: str,
    runs: dict[str, dict[str, Any]],
    libraries: dict[str, dict[str, LibraryReport]],
    problems: list[str],
) -> str:
    report = {
        "torch": original["torch"],
        "device": original["device"],
        "compute": compute,
        "identical": runs[compute]["results"] == original["results"],
        "libraries": {
            target: {name: [report.before, report.after, report.untouched] for name, report in reports.items()}
            for target, reports in libraries.items()
        },
        "results": {name: run["results"] for name, run in runs.items()},
        "problems": problems,
    }
    return json.dumps(report, indent=1) + "\n"


def show(
    original: dict[str, Any],
    compute: str,
    runs: dict[str, dict[str, Any]],
    libraries: dict[str, dict[str, LibraryReport]],
) -> None:
    print(f"PyTorch {original['torch']} on {original['device']}")
    for target, reports in libraries.items():
        for name, report in reports.items():
            ratio = report.after / report.before
            print(f"for {target}: {name}: {report.before:,} → {report.after:,} bytes ({ratio:.2f}) {report.untouched}")
    for name, value in original["results"].items():
        same = "same bits" if runs[compute]["results"].get(name) == value else "DIFFERENT"
        print(f"{name:20} {value[:16]}  {same:10} {runs[OTHER[compute]]['results'].get(name, '')[:80]}")


if __name__ == "__main__":
    sys.exit(main())
