"""Several builders: each build goes to whichever is free, and goes on elsewhere when its builder is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Condition

from scripts.buildkit.builder import Builder, BuilderLost, EngineBuilder
from scripts.console import note
from scripts.engine import Engine
from scripts.errors import Undecided


def open_builder(engine: Engine, names: Sequence[str]) -> Builder:
    """The builder of this name, or all of these names as one."""
    builders = [EngineBuilder(engine, name) for name in names]
    return builders[0] if len(builders) == 1 else BuilderPool(builders)


class BuilderPool:
    """Builders as one builder, which runs as many builds at a time as there are of them; further ones wait.

    A builder that stops answering is set aside for the rest of the run.
    """

    def __init__(self, builders: Sequence[Builder]) -> None:
        self._all = tuple(builders)
        self._free = list(builders)
        self._busy: list[Builder] = []
        self._changed = Condition()
        self._stops = 0

    @property
    def where(self) -> str:
        return ", ".join(builder.where for builder in self._all)

    @property
    def disk(self) -> Path:
        return self._all[0].disk

    def prune(self, *, everything: bool = False) -> None:
        """As `Builder.prune`, each of them."""
        for builder in self._all:
            builder.prune(everything=everything)

    def run(self, arguments: Sequence[str], on_line: Callable[[str], None]) -> int:
        """As `Builder.run`, in the first that is free. Raises BuilderLost where that was lost, and others are left."""
        with self.take() as builder:
            code = builder.run(arguments, on_line)
            if code == 0 or builder.answers():
                return code
            self._set_aside(builder)
            if not self.answers():
                return code
            cause = f"{builder.where} does not answer any more"
            raise BuilderLost(cause, builder.where, "see that it runs; the build goes on in another one")

    @contextmanager
    def take(self) -> Iterator[Builder]:
        """The first builder that is free, for as long as this lasts. Raises Undecided where none answers any more."""
        builder = self._wait_for_free()
        try:
            yield builder
        finally:
            with self._changed:
                if builder in self._busy:  # not set aside
                    self._busy.remove(builder)
                    self._free.append(builder)
                self._changed.notify_all()

    def stop(self) -> None:
        """End what they are running, and what waits for them."""
        with self._changed:
            self._stops += 1
            self._changed.notify_all()
        for builder in self._all:
            builder.stop()

    def answers(self) -> bool:
        """Whether one of them is left."""
        with self._changed:
            return bool(self._free or self._busy)

    def _wait_for_free(self) -> Builder:
        with self._changed:
            stops = self._stops
            while self._stops == stops and (self._free or self._busy):
                if self._free:
                    builder = self._free.pop(0)
                    self._busy.append(builder)
                    return builder
                self._changed.wait()
        if self._stops != stops:
            raise Undecided("it was stopped before a builder was free", self.where, "run the same command again")
        step = "see what they say (`docker buildx inspect NAME`), or leave out --builder and HALLMARK_BUILDER"
        raise Undecided("no builder answers any more", self.where, step)

    def _set_aside(self, builder: Builder) -> None:
        with self._changed:
            self._busy.remove(builder)
            left = len(self._free) + len(self._busy)
            self._changed.notify_all()
        note(f"{builder.where} does not answer any more: {left} of {len(self._all)} builders are left")
