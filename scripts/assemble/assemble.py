"""assemble: a step becomes a verified OCI layout: its shell from BuildKit, and a layer for each distribution on top."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from scripts.assemble.bytecode import Compiler
from scripts.assemble.disputes import settle
from scripts.assemble.extras import make_extras
from scripts.assemble.guard import NAME as GUARD
from scripts.assemble.guard import make_guard
from scripts.assemble.image import TopLayer, compose
from scripts.assemble.layer import MTIME, write_layer
from scripts.assemble.layers import Distribution, KeptLayer, LayerPress
from scripts.assemble.prepare import Wheel, prepare_wheels
from scripts.assemble.shell import build_shell
from scripts.assemble.types import Step
from scripts.assemble.wheel import read_wheel
from scripts.buildkit.builder import Builder
from scripts.console import step as announce
from scripts.errors import BuildFailed, Undecided
from scripts.fetch import Cache
from scripts.files import format_size, free_bytes
from scripts.oci.layout import Layout

# How much larger Debian packages are once installed, measured on images/base; a disk check needs no more than that.
_DEB_RATIO = 5
# An image's own layers beside its wheels' bytes: byte code, sources laid out for it, what zstd packs less well.
_LAYER_RATIO = 1.3


@dataclass(frozen=True)
class Workshop:
    """What images are assembled with: a builder for shells, the cache of inputs, and a maker of byte code.

    `compiler_on` gives the maker of byte code that runs in an image: the one that a step stands on.
    """

    builder: Builder
    cache: Cache
    compiler_on: Callable[[Layout], Compiler]

    def assemble(self, step: Step, parent: Layout | None, work: Path, log: Path, *, cached: bool = True) -> Layout:
        """The image of a step whose inputs are in the cache, in a new folder under `work`, every blob of it hashed.

        Without `cached` nothing is taken from an earlier build, neither BuildKit's nor a layer. Raises BuildFailed,
        Undecided, and ConfigError for distributions that cannot be in one image.
        """
        self._check_disk(step, work)
        with ThreadPoolExecutor(1) as pool:  # neither needs the other, and each leaves a processor idle now and then
            shell = pool.submit(self._build_shell, step, parent, work / "shell", log, cached=cached)
            try:
                layers = self._press(step, parent, work, cached=cached) if step.wheels and parent else None
                layout = shell.result()
            except KeyboardInterrupt:
                self.builder.stop()
                raise
        if layers is None:
            return layout
        with announce(step.name, "compose"):
            created = step.all_labels["org.opencontainers.image.created"]
            return layers.lay_on(layout, work / "layout", created, (GUARD,) if step.guard else ())

    def _build_shell(self, step: Step, parent: Layout | None, work: Path, log: Path, *, cached: bool) -> Layout:
        with announce(step.name, "shell") as update:
            return build_shell(step, self.builder, parent, self.cache, work, log, update, cached=cached)

    def _press(self, step: Step, parent: Layout, work: Path, *, cached: bool) -> _Layers:
        """All that goes on top of a step's shell."""
        place = f"images/{step.image.name}/image.toml"
        python = step.python_line
        with announce(step.name, "prepare") as update:
            wheels = prepare_wheels(step, self.cache, update)
            distributions = [Distribution(wheel, read_wheel(wheel.path, python, wheel.file)) for wheel in wheels]
            winners = settle(distributions, step.overlaps, python, place)
            guard = make_guard(step.guard) if step.guard else []
            extras = [*make_extras(distributions, winners, step.links, step.python, place), *guard]
        with announce(step.name, "layers") as update:
            press = LayerPress(self.cache.root if cached else work / "fresh", python, step.python, step.compression)
            layers = press.press(distributions, work / "press", self.compiler_on(parent), update)
            last = write_layer(extras, work / "extras", step.compression, MTIME, 1)
        top = [TopLayer(_describe(layer, wheels), layer.packed, layer.blob) for layer in layers]
        top.append(TopLayer("environment", last, work / "extras" / last.digest.removeprefix("sha256:")))
        return _Layers(press, layers, top)

    def _check_disk(self, step: Step, work: Path) -> None:
        """Raise Undecided before anything starts where the disk could not hold what comes of it."""
        shell = 3 * _DEB_RATIO * sum(file.size for file in step.inputs)
        layers = round(_LAYER_RATIO * sum(file.size for file in step.wheels))
        for place, size in ((self.builder.disk, shell), (work, shell), (self.cache.root, layers)):
            if free_bytes(place) < 2 * size:  # what earlier builds left behind is of little use to this one
                self.builder.prune()
            if (free := free_bytes(place)) < size:
                raise Undecided(
                    f"building {step.name} can take {format_size(size)}; {format_size(free)} are free",
                    str(place),
                    "free some space (`nox -s clean` removes what no tag needs)",
                )


@dataclass(frozen=True)
class _Layers:
    """What was pressed for one image: what the cache has of it, and all of it in order."""

    press: LayerPress
    kept: list[KeptLayer]
    top: list[TopLayer]

    def lay_on(self, shell: Layout, folder: Path, created: str, before: Sequence[str]) -> Layout:
        """The image of a shell and these layers. A layer that was damaged in the cache goes from it."""
        layout = compose(shell, self.top, folder, created, before)
        try:
            layout.verify()
        except BuildFailed:
            self.press.drop_damaged(self.kept)
            raise
        return layout


def _describe(layer: KeptLayer, wheels: list[Wheel]) -> str:
    """A layer for the image's history: its distributions and their versions, or how many there are."""
    versions = {wheel.name: wheel.version for wheel in wheels}
    if len(layer.names) > 3:
        return f"{len(layer.names)} small distributions"
    return ", ".join(f"{name} {versions[name]}" for name in layer.names)
