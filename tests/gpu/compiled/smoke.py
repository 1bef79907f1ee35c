"""Kernels of a compiled wheel on a GPU: runs the checks of `checks.py`, and tells of each as smoke scripts do.

The wheel and `checks.py` lie beside this file; the wheel is unpacked to where Python looks first.
"""

import json
import sys
import zipfile
from pathlib import Path

BOUND = 0.01  # what bfloat16 loses on these sums; a kernel that is wrong is off by orders of magnitude
SITE = Path("/tmp/site")  # the container's own tmpfs


def main() -> None:
    """One line for each check, with the largest difference from float64."""
    folder = Path(__file__).parent
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(SITE)
    sys.path[:0] = [str(SITE), str(folder)]
    import checks  # type: ignore[import-not-found]
    import torch

    torch.manual_seed(20250914)
    for name, function in checks.CHECKS.items():
        try:
            worst = function()
            torch.cuda.synchronize()
            outcome, detail = "passed" if worst < BOUND else "failed", f"largest difference {worst:.2g}"
        except Exception as error:
            worst, outcome, detail = None, "failed", f"{type(error).__name__}: {error}"[:500]
        entry = {"check": name, "outcome": outcome, "detail": detail, "measured": {"difference": worst}}
        print(json.dumps(entry), flush=True)


if __name__ == "__main__":
    main()
