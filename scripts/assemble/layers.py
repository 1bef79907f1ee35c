"""The layers of an image's distributions: each made once, and kept by all that its bytes depend on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.assemble.bytecode import ByteCode, Compiler
from scripts.assemble.groups import group
from scripts.assemble.layer import MTIME, PackedLayer, layer_key, write_layer
from scripts.assemble.prepare import Wheel
from scripts.assemble.tree import Entry
from scripts.assemble.wheel import WheelFiles
from scripts.console import Update
from scripts.files import parse_json, sha256_file, write_json
from scripts.model import Compression


@dataclass(frozen=True)
class KeptLayer:
    """A layer in the cache: the distributions in it, what it is as a blob, and the file with its bytes."""

    names: tuple[str, ...]
    packed: PackedLayer
    blob: Path


@dataclass(frozen=True)
class Distribution:
    """A wheel, and what it puts into an image."""

    wheel: Wheel
    files: WheelFiles


class LayerPress:
    """Makes the layers of distributions, side by side; what an earlier image had is taken from the cache.

    `python` is the image's X.Y, `build` its exact version. `kept` is a folder that checkouts share.
    """

    def __init__(self, kept: Path, python: str, build: str, compression: Compression) -> None:
        self._layers, self._python, self._build, self._compression = kept / "layers", python, build, compression
        self._bytecode = ByteCode(kept / "bytecode", python, build)

    def press(
        self, distributions: Sequence[Distribution], work: Path, compiler: Compiler, update: Update
    ) -> list[KeptLayer]:
        """The layers of these distributions, in the order in which an image has them. `work` is this call's own.

        Raises Undecided, with the wheel or file that is to blame.
        """
        by_name = {item.wheel.name: item for item in distributions}
        sizes = {name: item.files.size for name, item in by_name.items()}
        groups = group(list(sizes.items()))
        missing = [names for names in groups if self._find(names, by_name) is None]
        if missing:
            largest_first = sorted(missing, key=lambda names: -sum(sizes[name] for name in names))
            self._make(largest_first, by_name, work, compiler, update)
        made = [self._find(names, by_name) for names in groups]
        return [layer for layer in made if layer]

    def drop_damaged(self, layers: Sequence[KeptLayer]) -> None:
        """Take layers out of the cache whose bytes are no longer what they were: the next run makes them anew."""
        for layer in layers:
            if f"sha256:{sha256_file(layer.blob)}" != layer.packed.digest:
                shutil.rmtree(layer.blob.parent)

    def _make(
        self,
        groups: Sequence[tuple[str, ...]],
        by_name: Mapping[str, Distribution],
        work: Path,
        compiler: Compiler,
        update: Update,
    ) -> None:
        """Pack each layer as soon as the byte code of all that is in it is there."""
        items = {by_name[name].wheel.sha256: by_name[name] for names in groups for name in names}
        waiting = {names: {by_name[name].wheel.sha256 for name in names} for names in groups}
        jobs: list[Future[None]] = []
        packed: list[tuple[str, ...]] = []

        def pack(names: tuple[str, ...]) -> None:
            self._pack([by_name[name] for name in names], work)
            packed.append(names)
            update(f"{len(packed)} of {len(groups)} layers packed")

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:

            def note_ready(sha256: str) -> None:
                for names, missing in list(waiting.items()):
                    missing.discard(sha256)
                    if not missing:
                        del waiting[names]
                        jobs.append(pool.submit(pack, names))

            try:
                # In this thread, which an interruption reaches: it then ends the container.
                wheels = {sha256: item.files for sha256, item in items.items()}
                self._bytecode.make(wheels, work, compiler, note_ready)
                for job in as_completed(jobs):
                    job.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _pack(self, members: Sequence[Distribution], work: Path) -> None:
        folder = self._folder(members)
        fresh = work / f"layer-{folder.name}"
        entries: dict[str, Entry] = {}
        for item in members:
            bytecode = self._bytecode.read(item.wheel.sha256, item.files)
            for entry in (*item.files.entries, *bytecode, item.files.record([entry.path for entry in bytecode])):
                # Two that write one path agree on its bytes, or the winner's lie on top of all layers.
                entries.setdefault(entry.path, entry)
        packed = write_layer(entries.values(), fresh, self._compression, MTIME, 1)
        _blob(fresh, packed).chmod(0o444)  # images have it under a second name
        write_json(fresh / "layer.json", asdict(packed))
        if self._read(folder):
            return  # another process was first, with the same bytes
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh.rename(folder)

    def _find(self, names: tuple[str, ...], by_name: Mapping[str, Distribution]) -> KeptLayer | None:
        folder = self._folder([by_name[name] for name in names])
        packed = self._read(folder)
        return KeptLayer(names, packed, _blob(folder, packed)) if packed else None

    def _folder(self, members: Sequence[Distribution]) -> Path:
        wheels = [(item.wheel.file, item.wheel.sha256) for item in members]
        key = layer_key(wheels, self._python, self._build, self._compression)
        return self._layers / key[:2] / key

    def _read(self, folder: Path) -> PackedLayer | None:
        """A layer that is complete. Its bytes are hashed with the image's: here its size is looked at alone."""
        try:
            packed = PackedLayer(**parse_json((folder / "layer.json").read_bytes()))
            return packed if _blob(folder, packed).stat().st_size == packed.size else None
        except (OSError, ValueError, TypeError):
            return None


def _blob(folder: Path, packed: PackedLayer) -> Path:
    return folder / packed.digest.removeprefix("sha256:")
