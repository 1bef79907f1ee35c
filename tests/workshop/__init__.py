"""A small project that compiles: the real base, toolkit and compile step, and an image with a component of a few units.

It is for the integration tests, and for proving on a GPU machine that what is compiled there runs there.
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

from scripts.files import sha256_file
from scripts.lock.lockfile import Lock, read_lock, write_lock
from scripts.lock.slots import component_slot, list_compiled, recipe_slot
from scripts.matrix import Matrix, load_matrix
from scripts.model import LockedFile

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CELL = "saxpy-cu130-5090"
KEY = ("source", "13.0")
# Of the toolkit's wheels, what these units need: the rest is a gigabyte of libraries.
TOOLKIT = (
    "cmake",
    "ninja",
    "nvidia-cuda-cccl",
    "nvidia-cuda-crt",
    "nvidia-cuda-nvcc",
    "nvidia-cuda-runtime",
    "nvidia-nvvm",
)
TARGETS = ("5090", "h200", "h100")
LEFT_OUT = ("12.8", "12.9", "pro6000", "cpu")


def write_workshop(root: Path, wheels: Path, source: Path = HERE / "source") -> Matrix:
    """Write the project under `root`, and its component's sdist, packed from `source`, into the folder `wheels`."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "matrix.toml").write_text(_cut_matrix((ROOT / "matrix.toml").read_text()))
    shutil.copyfile(ROOT / "matrix.lock", root / "matrix.lock")
    for name in ("base", "toolkit"):
        shutil.copytree(ROOT / "images" / name, root / "images" / name)
    shutil.copytree(HERE / "saxpy", root / "images/saxpy")
    for lock in (root / "images/toolkit/lock").glob("source-*"):
        lock.unlink()
    image_toml = root / "images/toolkit/image.toml"
    image_toml.write_text(_cut_toolkit(image_toml.read_text()))
    matrix = load_matrix(root)
    lock_workshop(matrix, pack_source(source, wheels, "saxpy-1.0"))
    return matrix


def pack_source(folder: Path, wheels: Path, name: str) -> Path:
    """A folder of sources as an sdist: an archive with one folder in it."""
    wheels.mkdir(parents=True, exist_ok=True)
    archive = wheels / f"{name}.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, f"{name}/{path.name}")
    return archive


def lock_workshop(matrix: Matrix, sdist: Path) -> None:
    """Lock all that differs from the real project, out of its locks: the same bytes, no solving."""
    real = read_lock(ROOT / "images/toolkit/lock/source-cu130.toml", "toolkit")
    toolkit = tuple(file for file in real.files if file.name in TOOLKIT)
    runtime = tuple(file for file in toolkit if file.name == "nvidia-cuda-runtime")
    vllm = read_lock(ROOT / "images/vllm/lock/vllm-0.29.0-cu130.toml", "vllm")
    wheel = tuple(file for file in vllm.files if file.name in ("packaging", "wheel"))
    source = LockedFile("sdist", "saxpy", "1.0", sdist.name, sha256_file(sdist), sdist.stat().st_size)
    slots = [
        (recipe_slot(matrix, matrix.images["toolkit"], KEY), toolkit),
        (recipe_slot(matrix, matrix.images["saxpy"], KEY), runtime),
        *((component_slot(matrix, *each), (*toolkit, *wheel, source)) for each in list_compiled(matrix)),
    ]
    for slot, files in slots:
        write_lock(matrix.root / slot.place, Lock(slot.config_id, real.epoch, files))


def _cut_matrix(text: str) -> str:
    """The matrix for CUDA 13.0, its GPUs and source recipes alone."""
    head, _, tail = text.partition("[[exclude]]")
    lines = [line for line in head.splitlines() if not line.strip('"').startswith(LEFT_OUT)]
    head = "\n".join(lines).replace('recipes = ["source", "wheel"]', 'recipes = ["source"]')
    return f"{head}\n[platform]{tail.partition('[platform]')[2]}"


def _cut_toolkit(text: str) -> str:
    """The toolkit for CUDA 13.0 with few wheels, and no demands on those that it lacks."""
    head, _, rest = text.partition("[recipe.")
    recipe, _, rules = rest.partition('[recipe.source."13.0"]')[2].partition("[[link]]")
    names = "".join(f'  "{name}",\n' for name in TOOLKIT)
    links, _, scenario = rules.partition("[[scenario]]")
    kept = "".join(f"[[link]]{link}" for link in links.split("[[link]]") if 'cuda = "13.0"' in link)
    recipe = f'[recipe.source."13.0"]{recipe.partition("requirements")[0]}requirements = [\n{names}]\n\n'
    return f"{head}{recipe}{kept}[[scenario]]{scenario.partition('# What the audit')[0]}"
