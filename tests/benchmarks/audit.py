"""What an audit costs over the least that reading the same image takes: python -m tests.benchmarks.audit …

    --layout DIR        against decompressing its layers into nothing
    --registry IMAGE    against downloading and decompressing its layers into nothing
    --image NAME        (of the local engine) against `find / -xdev -type f` in a container

Each pair runs in turn, in one run, and is compared as a ratio: machines are noisy. Nothing is judged. How the reader of
GPU code compares with cuobjdump is printed by `nox -s oracle`.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

from zstandard import ZstdDecompressor

from scripts.audit.images import read_layout, read_registry
from scripts.audit.local import read_local
from scripts.engine import Engine
from scripts.engines import open_engine
from scripts.files import CHUNK
from scripts.oci.layout import Layout
from scripts.project import Project
from scripts.reference import parse_image
from scripts.registry.client import Registry
from tests.unit.builders import REPOSITORY_ROOT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layout", type=Path)
    parser.add_argument("--registry")
    parser.add_argument("--image")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.layout:
        layout = Layout.open(options.layout)
        compare("layout", lambda: read_layout(options.layout), lambda: drain_layout(layout), options.rounds)
    if options.registry:
        registry = Registry()
        compare(
            "registry",
            lambda: read_registry(options.registry, registry),
            lambda: drain_registry(options.registry, registry),
            options.rounds,
        )
    if options.image:
        engine = open_engine(Project.open(REPOSITORY_ROOT))
        compare(
            "local image",
            lambda: read_local(engine, options.image),
            lambda: list_files(engine, options.image),
            options.rounds,
        )


def compare(name: str, ours: Callable[[], object], raw: Callable[[], object], rounds: int) -> None:
    """Print medians in seconds and the median ratio; the first pair warms caches and is not counted."""
    pairs = [(_time(ours), _time(raw)) for _ in range(rounds + 1)][1:]
    ratio = statistics.median(first / second for first, second in pairs)
    medians = [statistics.median(seconds) for seconds in zip(*pairs, strict=True)]
    print(f"{name}: audit {medians[0]:.1f} s, raw {medians[1]:.1f} s, ratio {ratio:.2f}", flush=True)


def drain_layout(layout: Layout) -> None:
    for layer in layout.layers:
        with layout.blob_path(layer.digest).open("rb") as stream:
            drain(stream)


def drain_registry(text: str, registry: Registry) -> None:
    name = parse_image(text)
    manifest: Any = registry.get_manifest(name.repository, name.reference)
    layout = json.loads(manifest.data)
    for layer in layout["layers"]:
        with registry.open_blob(name.repository, layer["digest"], layer["size"]) as stream:
            drain(cast(IO[bytes], stream))


def drain(stream: IO[bytes]) -> None:
    start = stream.read(4)
    plain: Any
    if start.startswith(b"\x1f\x8b"):
        plain = gzip.GzipFile(fileobj=io.BufferedReader(_Again(start, stream)))
    else:
        plain = ZstdDecompressor().stream_reader(_Again(start, stream), read_across_frames=True)  # type: ignore[arg-type]
    while plain.read(CHUNK):
        pass


def list_files(engine: Engine, image: str) -> None:
    with engine.explaining():
        engine.client.containers.run(
            image, ["/", "-xdev", "-type", "f"], entrypoint="find", user="0", network_mode="none", remove=True
        )


class _Again(io.RawIOBase):
    """A stream whose first bytes were read already."""

    def __init__(self, start: bytes, stream: IO[bytes]) -> None:
        self._start, self._stream = start, stream

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        start, self._start = self._start[:size], self._start[size:]
        return start or self._stream.read(size)

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _time(action: Callable[[], object]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


if __name__ == "__main__":
    main()
