"""The rules of an image on paths, majors of CUDA and links: as read, and each mistake with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.matrix import Link, OtherCuda, Overlap, Scope, load_matrix
from tests.unit.builders import REPOSITORY_ROOT
from tests.unit.matrix.serve import SERVE_TOML, append, problems_of

OVERLAP = '[[overlap]]\npath = "a/*.py"\nkeep = "big-thing"\nreason = "both are alike"\n'
OTHER = '[[other-cuda]]\ndistributions = ["thing-cu12"]\nreason = "it is not called"\n'
LINK = '[[link]]\npath = "/usr/local/cuda"\ntarget = "/opt/venv/lib/cu13"\nreason = "nvcc"\n'
PATTERN = '[[link]]\npath = "/opt/venv/lib/{name}.so"\ntarget = "{name}.so.*"\nreason = "linkers"\n'


def test_what_was_written_is_what_is_read(root: Path) -> None:
    append(root, OVERLAP + 'cuda = "12.8"\n' + OTHER + 'compute = "12.0"\n' + LINK + PATTERN + 'recipe = "wheel"\n')
    image = load_matrix(root).images["serve"]
    assert image.overlaps == (Overlap("a/*.py", "big-thing", "both are alike", Scope("12.8")),)
    assert image.other_cuda == (OtherCuda(("thing-cu12",), "it is not called", Scope(compute="12.0")),)
    assert image.links == (
        Link("/usr/local/cuda", "/opt/venv/lib/cu13", "nvcc"),
        Link("/opt/venv/lib/{name}.so", "{name}.so.*", "linkers", Scope(recipe="wheel")),
    )
    assert [link.is_pattern for link in image.links] == [False, True]


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/opt/venv/a/lib64", "lib"),
        ("/opt/venv/a/lib64", "../b/lib"),
        ("/usr/local/cuda", "/opt/venv/x"),
        ("/opt/venv/lib/{name}.so", "/usr/local/{name}.so.[x]*"),
    ],
)
def test_a_link_may_be_relative_or_absolute_under_its_roots(path: str, target: str, root: Path) -> None:
    append(root, LINK.replace("/usr/local/cuda", path).replace("/opt/venv/lib/cu13", target))
    assert [(link.path, link.target) for link in load_matrix(root).images["serve"].links] == [(path, target)]


@pytest.mark.parametrize(
    ("path", "target", "key"),
    [
        ("/etc/cuda", "/opt/venv/x", "path"),
        ("/opt/venvoid/x", "/opt/venv/x", "path"),
        ("opt/venv/x", "/opt/venv/x", "path"),
        ("/opt/venv/a/../../../etc/x", "/opt/venv/x", "path"),
        ("/opt/venv//x", "/opt/venv/y", "path"),
        ("/opt/venv/x/", "y", "path"),
        ("/opt/venv/x", "/etc/passwd", "target"),
        ("/opt/venv/x", "../../etc/passwd", "target"),
        ("/opt/venv/x", "x", "target"),
        ("/opt/venv/x", "lib/*", "target"),
        ("/opt/venv/*", "lib", "target"),
        ("/opt/venv/{name}", "*/{name}.so", "target"),
        ("/opt/venv/{name}.so", "libx.so", "path"),
        ("/opt/venv/x.so", "{name}.so", "path"),
        ("/opt/venv/{name}{name}.so", "{name}{name}.so.1", "path"),
        ("/opt/venv/{name}/x", "y", "path"),
        ("/opt/venv/{name}/{name}.so", "{name}.so.1", "path"),
    ],
)
def test_a_link_that_cannot_be_meant_is_refused(path: str, target: str, key: str, root: Path) -> None:
    append(root, LINK.replace("/usr/local/cuda", path).replace("/opt/venv/lib/cu13", target))
    [problem] = problems_of(root)
    assert problem.startswith(f"{SERVE_TOML}: [link.1.{key}]: "), problem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (OVERLAP.replace('reason = "both are alike"\n', ""), "[overlap.1]: missing key `reason`"),
        (OVERLAP.replace('keep = "big-thing"\n', ""), "[overlap.1]: missing key `keep`"),
        (OVERLAP.replace("big-thing", "Big_Thing"), "[overlap.1.keep]: `Big_Thing` is not how locks spell a name next: "
         "write `big-thing`"),
        (OVERLAP.replace("a/*.py", "/a"), "[overlap.1.path]: expected a path relative to site-packages"),
        (OVERLAP + 'target = "5090"\n', "[overlap.1]: unknown key `target`"),
        (OTHER.replace('reason = "it is not called"\n', ""), "[other-cuda.1]: missing key `reason`"),
        (OTHER.replace("thing-cu12", "thing_cu12"), "[other-cuda.1.distributions]: `thing_cu12` is not how locks"),
        (LINK.replace('reason = "nvcc"\n', ""), "[link.1]: missing key `reason`"),
        (LINK.replace("nvcc", ""), "[link.1.reason]: must not be empty"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(text: str, expected: str, root: Path) -> None:
    found = problems_of(append(root, text))
    assert len(found) == 1 and expected in found[0], found


@pytest.mark.parametrize("line", ['cuda = "12.7"', 'compute = "9.0"', 'recipe = "weel"'])
@pytest.mark.parametrize(("text", "key"), [(OVERLAP, "overlap"), (OTHER, "other-cuda"), (LINK, "link")])
def test_a_rule_that_applies_to_no_cell_is_refused(text: str, key: str, line: str, root: Path) -> None:
    found = problems_of(append(root, f"{text}{line}\n"))
    assert found == [f"{SERVE_TOML}: [{key}.1]: applies to no cell of this image next: correct its fields"]


def test_the_repositorys_own_rules_load() -> None:
    images = load_matrix(REPOSITORY_ROOT).images
    assert {name: len(image.links) for name, image in images.items() if image.links} == {
        "pytorch": 2,
        "sglang": 4,
        "toolkit": 9,
        "vllm": 5,
    }
