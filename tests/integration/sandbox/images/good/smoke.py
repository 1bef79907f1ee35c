"""What a good image does: it answers every check and ends."""

from probe import Report

report = Report.on_stdout()
with report.check("import"):
    import idna  # noqa: F401
