"""Runs inside an image, on its standard library alone: what is installed there, and what of it is not in order."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import sys
from importlib import metadata, util
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

SITE = Path(sys.prefix) / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
UNCHECKED = b"\x01\x00\x00\x00"  # PEP 552: named by the source's hash, and never compared with it


def main() -> None:
    """Print one JSON object."""
    distributions = list(metadata.distributions(path=[str(SITE)]))
    scripts = [
        (entry.name, entry.value)
        for each in distributions
        for entry in each.entry_points
        if entry.group in ("console_scripts", "gui_scripts")
    ]
    files = [file for each in distributions for file in each.files or []]
    sources = sorted(path for path in SITE.rglob("*.py") if path.is_file())
    found: dict[str, Any] = {
        "prefix": sys.prefix,
        "base_prefix": sys.base_prefix,
        "distributions": sorted((_canonical(each.metadata["Name"]), each.version) for each in distributions),
        "scripts": len(scripts),
        "bad_scripts": [why for name, value in scripts if (why := _script_fault(name, value))],
        "files": len(files),
        "bad_files": [f"{file}: {why}" for file in files if (why := _file_fault(file))],
        "sources": len(sources),
        "bad_bytecode": [f"{path}: {why}" for path in sources if (why := _bytecode_fault(path))],
    }
    print(json.dumps(found))


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _script_fault(name: str, value: str) -> str:
    path = Path(sys.prefix) / "bin" / name
    module = value.partition(":")[0].strip()
    if not os.access(path, os.X_OK):
        return f"{name}: not there, or cannot be run"
    if path.read_bytes().partition(b"\n")[0] != f"#!{sys.prefix}/bin/python".encode():
        return f"{name}: another interpreter"
    return "" if _finds(module) else f"{name}: no module {module}"


def _finds(module: str) -> bool:
    """Whether there is such a module, without importing what it is in: that may want a GPU."""
    search: list[str] | None = [str(SITE)]
    for part in module.split("."):
        spec = PathFinder.find_spec(part, search)
        if spec is None:
            return False
        search = list(spec.submodule_search_locations or [])
    return True


def _file_fault(file: metadata.PackagePath) -> str:
    path = Path(str(file.locate()))
    if not path.is_file():
        return "not there"
    if file.size is not None and path.stat().st_size != file.size:
        return "another size"
    if file.hash is None or path.suffix not in (".py", ".pyc", ".txt", ".json"):  # gigabytes are hashed elsewhere
        return ""
    digest = base64.urlsafe_b64encode(hashlib.new(file.hash.mode, path.read_bytes()).digest()).decode().rstrip("=")
    return "" if digest == file.hash.value else "other bytes"


def _bytecode_fault(path: Path) -> str:
    source = path.read_bytes()
    try:
        cached = Path(util.cache_from_source(str(path))).read_bytes()
    except OSError:
        try:
            compile(source, str(path), "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError):
            return ""  # no Python: a template, say
        return "no byte code"
    if (cached[:4], cached[4:8]) != (util.MAGIC_NUMBER, UNCHECKED):
        return "byte code of another Python, or such as is compared with its source"
    return "" if cached[8:16] == util.source_hash(source) else "byte code of another source"


if __name__ == "__main__":
    sys.setrecursionlimit(20_000)
    sys.dont_write_bytecode = True
    main()
