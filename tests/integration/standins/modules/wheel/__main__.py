"""`python -m wheel unpack --dest FOLDER WHEEL`, `python -m wheel pack --dest-dir FOLDER FOLDER`."""

import sys
import zipfile
from pathlib import Path

command, _, destination, what = sys.argv[1:]
if command == "unpack":
    name = Path(what).name.split("-")
    with zipfile.ZipFile(what) as archive:
        archive.extractall(Path(destination) / "-".join(name[:2]))
else:
    folder = Path(what)
    with zipfile.ZipFile(Path(destination) / f"{folder.name}-cp311-cp311-linux_x86_64.whl", "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
