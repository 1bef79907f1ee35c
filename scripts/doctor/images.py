"""Which images are for a GPU and its driver; where none is, what would change that."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from scripts.doctor.gpus import group_gpus
from scripts.doctor.probes import Tag
from scripts.doctor.seen import Finding, Mark
from scripts.matrix import Matrix, select_scenarios
from scripts.model import Target
from scripts.plan import PlannedCell, plan_cell
from scripts.publish.stamp import NAMESPACE, name_tags
from scripts.smoke.gpu import Gpu, driver_floor, is_driver_enough

TOPIC = "images"


@dataclass(frozen=True)
class Choice:
    """The cells for one kind of GPU: `fitting` the best first, those that want a newer driver beside them."""

    gpu: Gpu
    target: Target | None
    fitting: tuple[PlannedCell, ...] = ()
    closed: tuple[PlannedCell, ...] = ()

    @property
    def images(self) -> list[str]:
        """The images that there are for this GPU, whatever driver they want."""
        return sorted({planned.cell.image for planned in (*self.fitting, *self.closed)})


def list_choices(matrix: Matrix, gpus: Sequence[Gpu]) -> list[Choice]:
    """For each kind of GPU the images that users start on it, by exact name, compute capability and driver."""
    return [_choose(matrix, kind[0]) for kind in group_gpus(gpus).values()]


def _choose(matrix: Matrix, gpu: Gpu) -> Choice:
    same = [each for each in matrix.targets.values() if (each.name, each.compute) == (gpu.name, gpu.compute)]
    if not same:
        return Choice(gpu, None)
    planned = [
        plan_cell(matrix, cell) for cell in matrix.cells if cell.target == same[0] and matrix.images[cell.image].guard
    ]
    ready = sorted((each for each in planned if each.recipe), key=_rank, reverse=True)
    fitting = tuple(each for each in ready if is_driver_enough(each.cell, gpu.driver))
    return Choice(gpu, same[0], fitting, tuple(each for each in ready if each not in fitting))


def _rank(planned: PlannedCell) -> tuple[Version, Version, bool]:
    """The newest CUDA line, of that the newest version, of that the target's own recipe."""
    version = planned.recipe.version if planned.recipe else ""
    return _read(planned.cell.line), _read(version), planned.cell.recipe == planned.cell.target.recipe


def tag_of(planned: PlannedCell) -> Tag:
    """The tag that follows the newest accepted build of a cell, whatever its version."""
    tags = name_tags(planned, "")
    return tags.image, tags.newest


def judge_images(
    matrix: Matrix, choices: Sequence[Choice], registry: str, tags: Collection[Tag] | None
) -> list[Finding]:
    """A line for each kind of GPU: what to pull, what to build, or why there is nothing.

    `tags` are those of the cells' that there are, in the registry or else in the engine; None: nobody could be asked.

    A GPU that nothing is for is a fault only where nothing is for any other either.
    """
    if not choices:
        targets = [target.id for target in matrix.targets.values() if not target.has_gpu]
        commands = ", ".join(f"`nox -s build-{target}`" for target in targets)
        return [Finding(Mark.UNASKED, TOPIC, f"none is for this machine's GPU; for the CPU: {commands}")]
    none = Mark.UNASKED if any(choice.fitting for choice in choices) else Mark.MISSING
    return [
        _describe_fitting(choice, registry, tags)
        if choice.fitting
        else _explain_driver(choice, none)
        if choice.target
        else _explain_target(matrix, choice.gpu, none)
        for choice in choices
    ]


def _describe_fitting(choice: Choice, registry: str, tags: Collection[Tag] | None) -> Finding:
    assert choice.target
    there, best = [], []
    for image in choice.images:
        cells = [planned for planned in choice.fitting if planned.cell.image == image]
        tagged = next((planned for planned in cells if tag_of(planned) in (tags or ())), None)
        if tagged:
            there.append(tagged)
        else:
            best += cells[:1]
    place = registry or NAMESPACE
    parts = [f"{'`docker pull`' if registry else 'here:'} {_name(place, there)}"] if there else []
    if best:
        if tags is None:
            parts.append(f"{_name(place, best)}, if they are there, which nobody could be asked")
        command = f"`nox -s build-{choice.target.id} -- {' '.join(planned.cell.id for planned in best)}`"
        parts.append(command if tags is None else f"not tagged yet: {command}")
    lines = {planned.cell.line: driver_floor(planned.cell) for planned in choice.closed}
    parts += [f"CUDA {line} from driver {floor}" for line, floor in lines.items()]
    return Finding(Mark.THERE, TOPIC, f"for {choice.gpu.name}: {'; '.join(parts)}")


def _name(place: str, cells: Iterable[PlannedCell]) -> str:
    return ", ".join(f"{place}/{':'.join(tag_of(planned))}" for planned in cells)


def _explain_driver(choice: Choice, mark: Mark) -> Finding:
    """Why a target's GPU has no image: its driver, or that none is written for it."""
    floors = {planned.cell.line: driver_floor(planned.cell) for planned in choice.closed}
    if not floors:
        assert choice.target
        text = f"{choice.gpu.name} is the target {choice.target.id}, for which no image has a recipe"
        return Finding(mark, TOPIC, text, "`nox -s plan` says what is missing")
    oldest, newest = (choose(floors.values(), key=_read) for choose in (min, max))
    lines = ", ".join(f"CUDA {line} from driver {floor}" for line, floor in floors.items())
    text = f"driver {choice.gpu.driver} is too old for every image for {choice.gpu.name}: {lines}"
    return Finding(
        mark, TOPIC, text, f"install NVIDIA's driver {newest}" + (f", or at least {oldest}" if oldest != newest else "")
    )


def _explain_target(matrix: Matrix, gpu: Gpu, mark: Mark) -> Finding:
    """Which targets are nearest to a GPU that is none, by compute capability."""
    targets = [target for target in matrix.targets.values() if target.has_gpu]
    least = min((_gap(target, gpu) for target in targets), default=0)
    nearest = [target for target in targets if _gap(target, gpu) == least]
    names = ", ".join(f"{target.id} ({target.name}, {target.compute})" for target in nearest) or "none"
    built = "built for the same compute capability, and not tested on this GPU"
    if least:
        built = "for another compute capability"
    text = f"{gpu.name} ({gpu.compute}) is no target; nearest: {names}, {built}"
    return Finding(mark, TOPIC, text, "make it a target: CONTRIBUTING.md, “Add a GPU”")


def list_needs(matrix: Matrix, choices: Iterable[Choice]) -> dict[str, int]:
    """The GiB that the required scenarios of each cell that can be tested here may take: its GPUs', and the CPU's."""
    cells = [plan_cell(matrix, cell) for cell in matrix.cells if not cell.target.has_gpu]
    cells += [planned for choice in choices for planned in choice.fitting]
    needs: dict[str, int] = {}
    for planned in cells:
        scenarios = select_scenarios(planned.image.scenarios, planned.cell) if planned.recipe else ()
        needs[planned.cell.id] = max((each.memory_gib for each in scenarios if each.required), default=0)
    return needs


def _gap(target: Target, gpu: Gpu) -> int:
    """How far two compute capabilities lie apart: in major versions first."""
    (major, minor), (other, other_minor) = (_read(each.compute).release[:2] for each in (target, gpu))
    return abs(100 * (major - other) + minor - other_minor)


def _read(text: str) -> Version:
    """A version; what cannot be read is older than any."""
    try:
        return Version(text)
    except InvalidVersion:
        return Version("0.0")
