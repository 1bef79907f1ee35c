"""What slimming a wheel costs over copying it: python -m tests.benchmarks.slim [--rounds N] [--compute C] [WHEEL …]

Both are measured in turn, in one run and on one file system, `fsync` included and the source in memory, and compared as
a ratio: machines are noisy. By default the wheel is torch 2.10.0's, which pip downloads. Nothing is judged.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from scripts.files import format_size, sha256_file
from scripts.slim.wheel.wheel import slim_wheel
from tests.gpucode_oracle import WHEELS, _wheel


def main() -> None:
    """Print a line per wheel: medians in seconds, the ratio of each pair, and the sizes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("wheels", nargs="*", default=[WHEELS[0]], metavar="WHEEL_OR_REQUIREMENT")
    parser.add_argument("--rounds", type=int, default=5, help="counted pairs (default 5)")
    parser.add_argument("--compute", default="12.0", help="compute capability (default 12.0)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hallmark-benchmark-", dir="/var/tmp") as folder:
        for wanted in options.wheels:
            with _wheel(wanted, Path(folder) / "wheel") as wheel:
                compare(wheel, Path(folder) / "out", options.compute, options.rounds)


def compare(wheel: Path, folder: Path, compute: str, rounds: int) -> None:
    """Copy and slim one wheel in turn; the first pair is not counted, and every other pair begins with the other."""
    sha256 = sha256_file(wheel)  # known from the lock; reading the file for it also brings it into memory
    folder.mkdir(exist_ok=True)

    def copy() -> None:
        shutil.copyfile(wheel, folder / "copy")
        with (folder / "copy").open("rb+") as stream:
            os.fsync(stream.fileno())

    def slim() -> None:
        slim_wheel(wheel, folder, compute, sha256)

    copy_s: list[float] = []
    slim_s: list[float] = []
    for number in range(rounds + 1):
        pair = [(copy, copy_s), (slim, slim_s)]
        for action, seconds in pair if number % 2 else reversed(pair):
            seconds.append(_time(action))
            (folder / "copy").unlink(missing_ok=True)
    ratios = [ours / raw for raw, ours in zip(copy_s[1:], slim_s[1:], strict=True)]
    report = slim_wheel(wheel, folder, compute, sha256)
    shutil.rmtree(folder)
    print(
        f"{wheel.name}: copy {statistics.median(copy_s[1:]):.2f} s, slim {statistics.median(slim_s[1:]):.2f} s, "
        f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f}); "
        f"{format_size(report.before)} → {format_size(report.after)}{report.reason and ': '}{report.reason}"
    )


def _time(action: Callable[[], None]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


if __name__ == "__main__":
    main()
