"""A child is killed for the memory it takes; the parent does not look, passes its check, and ends with 0."""

import subprocess
import sys

from probe import Report

report = Report.on_stdout()
subprocess.run([sys.executable, "-c", "hoard = [bytearray(1 << 26) for _ in range(64)]"], check=False)
with report.check("child"):
    pass
