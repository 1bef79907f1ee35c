"""Passes its check and then never ends."""

import time

from probe import Report

report = Report.on_stdout()
with report.check("import"):
    import idna  # noqa: F401
time.sleep(3600)
