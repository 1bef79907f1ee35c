"""The order of the design, read off the imports: a module stands on what comes before it, never on its neighbours."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.unit.builders import REPOSITORY_ROOT

SCRIPTS = REPOSITORY_ROOT / "scripts"
LONGEST = 400

# Units of one line do not import each other; each may import whatever stands in a line above it.
ORDER = [
    ["text"],
    ["errors"],
    ["model"],
    ["answers", "files", "console", "markup", "reference", "room"],
    ["locks", "site", "zips"],
    ["redact"],
    ["oci"],
    ["registry", "workspace", "attest"],
    ["matrix"],
    ["index", "gpucode", "engine"],
    ["plan", "fetch"],
    ["lock"],
    ["slim"],
    ["buildkit"],
    ["assemble"],
    ["compile"],
    ["audit", "smoke"],
    ["verdict", "feed"],
    ["publish", "verify"],
    ["project"],
    ["engines"],
    ["pipeline"],
    ["bundle"],
    ["compare"],
    ["catalogue", "doctor", "garbage", "reproduce", "runners", "sizes", "trim", "update"],
    ["report", "serve"],
    ["verbs"],
    ["command"],
    ["__main__"],
]
RANK = {unit: rank for rank, units in enumerate(ORDER) for unit in units}


def module_name(path: Path) -> str:
    parts = path.relative_to(SCRIPTS.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path.read_text("utf-8") for path in sorted(SCRIPTS.rglob("*.py"))}


def imports_of(source: str, known: Iterable[str]) -> set[str]:
    """The project's modules that a source imports, wherever in it the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used: they hide which unit is meant"
            # `from scripts import plan` imports a module, `from scripts.plan import make_plan` a name out of one.
            named = {f"{node.module}.{alias.name}" for alias in node.names} & set(known)
            found |= named or {str(node.module)}
    return {name for name in found if name.split(".")[0] == "scripts"}


def unit_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def find_violations(sources: Mapping[str, str]) -> list[str]:
    """One line for each import that goes against ORDER, and for each unit that has no place in it."""
    lines = []
    for module, source in sources.items():
        unit = unit_of(module)
        if not unit:
            continue
        if unit not in RANK:
            lines.append(f"{module}: `{unit}` has no place in the order")
            continue
        for imported in sorted(imports_of(source, sources)):
            other = unit_of(imported)
            if other and other != unit and RANK.get(other, len(ORDER)) >= RANK[unit]:
                lines.append(f"{module} imports {imported}")
    return lines


def find_cycle(sources: Mapping[str, str]) -> list[str]:
    """The modules of a cycle of imports, or none. A package's `__init__` counts as a module of its own."""
    graph = {module: imports_of(source, sources) & set(sources) for module, source in sources.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def find_behind(module: str, sources: Mapping[str, str]) -> set[str]:
    """A module, and all of the project that is imported with it: what it names, what that names, and their packages."""
    behind: set[str] = set()
    asked = {module}
    while asked:
        behind |= asked
        named = {name for each in asked for name in imports_of(sources[each], sources)}
        packages = {name.rpartition(".")[0] for name in asked | named}
        asked = ((named | packages) & set(sources)) - behind
    return behind


def test_imports_run_one_way() -> None:
    assert find_violations(SOURCES) == []


def test_every_place_in_the_order_is_taken() -> None:
    assert set(RANK) == {unit_of(module) for module in SOURCES} - {""}


def test_no_module_imports_itself_in_a_circle() -> None:
    assert find_cycle(SOURCES) == []


def test_what_shows_the_plan_imports_no_engine_and_no_registry() -> None:
    """Half of its time went into modules that it does not use."""
    behind = find_behind("scripts.verbs.planning", SOURCES) | find_behind("scripts.command", SOURCES)
    assert {"command", "matrix", "plan", "report", "verbs"} <= {unit_of(module) for module in behind}
    assert {"answers", "attest", "engine", "oci", "registry", "zips"} & {unit_of(module) for module in behind} == set()


def test_every_module_is_short() -> None:
    lengths = {module: len(source.splitlines()) for module, source in SOURCES.items()}
    assert {module: length for module, length in lengths.items() if length >= LONGEST} == {}
    assert len(lengths) > 40, "the modules were not found"


def test_what_runs_inside_an_image_needs_the_standard_library_alone() -> None:
    inside = {name.rpartition(".")[2]: source for name, source in SOURCES.items() if ".inside." in name}
    assert {"probe", "measure"} <= inside.keys()
    for source in inside.values():
        nodes = list(ast.walk(ast.parse(source)))
        found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        found |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
        assert {name.split(".")[0] for name in found} - sys.stdlib_module_names - inside.keys() == set()


# --- the checker itself

EMPTY = dict.fromkeys(SOURCES, "")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("scripts.errors", "import scripts.model"),
        ("scripts.plan", "from scripts.assemble.steps import Step"),
        ("scripts.plan", "from scripts import fetch"),
        ("scripts.fetch.sources", "from scripts.lock.wheels import lock_wheels"),
        ("scripts.index.wheels", "from scripts.fetch import Cache"),
        ("scripts.matrix.load", "def late():\n    from scripts.plan import make_plan"),
        ("scripts.fetch.cache", "if TYPE_CHECKING:\n    from scripts.pipeline import Project"),
        ("scripts.verbs", "from scripts.__main__ import main"),
        ("scripts.assemble.assemble", "from scripts.smoke.smoke import run_smoke"),
        ("scripts.buildkit.build", "from scripts.assemble.steps import Step"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str) -> None:
    [line] = find_violations(EMPTY | {module: source})
    assert line.startswith(f"{module} imports scripts.")


def test_right_imports_are_not() -> None:
    source = "from scripts import plan\nfrom scripts.errors import ConfigError\nimport json, scripts.oci.layout"
    assert find_violations(EMPTY | {"scripts.publish.stamp": source}) == []


def test_a_unit_without_a_place_is_found() -> None:
    assert find_violations({"scripts.extra": ""}) == ["scripts.extra: `extra` has no place in the order"]
    assert find_violations({"scripts.errors": "import scripts.extra"}) == ["scripts.errors imports scripts.extra"]


def test_a_cycle_is_found() -> None:
    sources = {"scripts.a": "from scripts.b import x", "scripts.b": "import scripts.c", "scripts.c": "import scripts.a"}
    assert sorted(set(find_cycle(sources))) == ["scripts.a", "scripts.b", "scripts.c"]
    assert find_cycle({"scripts.a": "from scripts import b", "scripts.b": "import json"}) == []


def test_what_is_behind_a_module_is_found() -> None:
    sources = {"scripts": "", "scripts.a": "import json", "scripts.b": "from scripts.c.d import x"}
    sources |= {"scripts.c": "from scripts.c import e", "scripts.c.d": "", "scripts.c.e": "import scripts.a"}
    assert find_behind("scripts.b", sources) == set(sources)
    assert find_behind("scripts.a", sources) == {"scripts", "scripts.a"}
