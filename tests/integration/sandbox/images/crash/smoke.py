"""Passes its check and then dies by a signal, as a broken kernel library does."""

import os
import signal

from probe import Report

report = Report.on_stdout()
with report.check("import"):
    import idna  # noqa: F401
os.kill(os.getpid(), signal.SIGSEGV)
