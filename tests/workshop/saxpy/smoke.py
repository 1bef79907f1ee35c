"""The compiled library gives right numbers on the GPU."""

from __future__ import annotations

import ctypes
from typing import Any

from probe import Report, require

LIBRARY = "/opt/venv/lib/python3.11/site-packages/saxpy/libsaxpy.so"
COUNT = 1000


def main() -> None:
    """Run the one check."""
    report = Report.on_stdout()
    with report.check("run") as measured:
        check_run(measured)


def check_run(measured: dict[str, Any]) -> None:
    """y = a * x + y, exactly: all of these numbers are whole."""
    numbers = ctypes.c_float * COUNT
    x, y = numbers(*range(COUNT)), numbers(*([1.0] * COUNT))
    error = ctypes.CDLL(LIBRARY).saxpy(COUNT, ctypes.c_float(2.0), x, y)
    require(error == 0, f"CUDA error {error}")
    wrong = sum(y[index] != 2.0 * index + 1.0 for index in range(COUNT))
    measured |= {"numbers": COUNT, "wrong": wrong}
    require(not wrong, f"{wrong} of {COUNT} numbers are wrong")


if __name__ == "__main__":
    main()
