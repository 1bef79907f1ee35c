"""`python -m build --wheel --no-isolation … --outdir FOLDER`."""

import runpy
import sys

arguments = sys.argv[1:]
if not {"--wheel", "--no-isolation", "--outdir"} <= set(arguments):
    sys.exit("an isolated build would fetch what it needs")
sys.argv = ["setup.py", arguments[arguments.index("--outdir") + 1]]
runpy.run_path("setup.py", run_name="__main__")
