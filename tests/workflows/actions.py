"""What the actions do that the workflows use, each known by its name; artifacts are folders."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tests.workflows.expressions import Unknown
from tests.workflows.machine import Machine, Ran

FINE = Ran(0, "", {})


def run_action(uses: str, given: Mapping[str, Any], machine: Machine, *, history: bool) -> Ran:
    """Do what an action does. Raises Unknown for one that is not known, or is given what it is not known to take."""
    name, _, version = uses.partition("@")
    if name not in ACTIONS or not re.fullmatch(r"[0-9a-f]{40}", version):
        raise Unknown(f"what does {uses} do?")
    options, action = ACTIONS[name]
    if extra := sorted(set(given) - options):
        raise Unknown(f"{name}: what is {', '.join(extra)}?")
    if name == "actions/checkout":
        assert given["persist-credentials"] is False, "no token stays in a checkout"
        machine.check_out(history=history, depth=given.get("fetch-depth", 1))
        return FINE
    return action(given, machine)


def upload(given: Mapping[str, Any], machine: Machine) -> Ran:
    """Keep files under a name. Where there is a pattern, the path is kept from the first one on."""
    destination = machine.world.folder / "artifacts" / given["name"]
    if destination.exists():
        if not given.get("overwrite"):
            return Ran(1, f"there is an artifact {given['name']} already", {})
        shutil.rmtree(destination)
    patterns = str(given["path"]).split()
    roots = [_root(pattern) for pattern in patterns]
    root = roots[0] if len(patterns) == 1 else _common(roots)
    root = root.parent if (machine.work / root).is_file() else root
    found = [each for pattern in patterns for each in machine.work.glob(pattern)]
    files = [each for path in found for each in _files(path)]
    hidden = any(part.startswith(".") for path in found for part in path.relative_to(machine.work).parts)
    if not files or (hidden and not given.get("include-hidden-files")):
        return Ran(int(given.get("if-no-files-found") == "error"), "no files were found", {})
    for file in files:
        target = destination / file.relative_to(machine.work / root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return FINE


def download(given: Mapping[str, Any], machine: Machine) -> Ran:
    """Bring one artifact by its name, or those of a pattern into one folder."""
    store, target = machine.world.folder / "artifacts", machine.work / given["path"]
    if "name" in given:
        found = [store / given["name"]]
        if not found[0].is_dir():
            return Ran(1, f"there is no artifact {given['name']}", {})
    else:
        assert given["merge-multiple"], "each would have a folder of its own"
        found = sorted(each for each in store.iterdir() if fnmatchcase(each.name, given["pattern"]))
    for each in found:
        shutil.copytree(each, target, dirs_exist_ok=True)
    return FINE


def upload_pages(given: Mapping[str, Any], machine: Machine) -> Ran:
    """Keep the folder that is going to be the site."""
    if not (machine.work / given["path"] / "index.html").is_file():
        return Ran(1, "there is no site", {})
    shutil.copytree(machine.work / given["path"], machine.world.folder / "pages", dirs_exist_ok=True)
    return FINE


def deploy_pages(given: Mapping[str, Any], machine: Machine) -> Ran:
    """Show what was kept."""
    kept = (machine.world.folder / "pages/index.html").is_file()
    return Ran(0, "", {"page_url": "https://acme.example.com/"}) if kept else Ran(1, "nothing was kept", {})


def _root(pattern: str) -> Path:
    """The folder that a path is kept from: its own, or the one above the first pattern."""
    parts = Path(pattern).parts
    first = next((at for at, part in enumerate(parts) if re.search(r"[*?\[]", part)), None)
    return Path(*parts[:first]) if first is not None else Path(pattern)


def _common(roots: list[Path]) -> Path:
    parts = [each.parts if not each.suffix else each.parent.parts for each in roots]
    shared = []
    for names in zip(*parts, strict=False):
        if len(set(names)) > 1:
            break
        shared.append(names[0])
    return Path(*shared)


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [each for each in sorted(path.rglob("*")) if each.is_file()]


Action = Callable[[Mapping[str, Any], Machine], Ran]
_UPLOAD = {"if-no-files-found", "include-hidden-files", "name", "overwrite", "path", "retention-days"}
ACTIONS: dict[str, tuple[set[str], Action]] = {
    "actions/checkout": ({"fetch-depth", "persist-credentials"}, lambda given, machine: FINE),
    "actions/deploy-pages": (set(), deploy_pages),
    "actions/download-artifact": ({"merge-multiple", "name", "path", "pattern"}, download),
    "actions/upload-artifact": (_UPLOAD, upload),
    "actions/upload-pages-artifact": ({"path"}, upload_pages),
}
