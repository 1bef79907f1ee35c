"""What a promotion moves, beside `docker pull, tag, push` of the same: python -m tests.benchmarks.promotion …

    --size MB        of an image's layers (default: 300)

Two made-up images of one line, whose layers are noise and are shared but for three tenths, go to a real registry on
this machine. Between it and everybody stands a proxy that counts what crosses the wire, headers and all. Nothing is
judged but the digests, which must be the same in the end.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import socket
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread

from scripts.engine import Engine
from scripts.engine.images import remove_image
from scripts.errors import Undecided
from scripts.fetch import Cache
from scripts.files import format_size, free_bytes, write_atomic
from scripts.model import Outcome, Result
from scripts.oci.descriptor import LAYER_TAR, OCI_CONFIG, OCI_MANIFEST, Descriptor, describe, digest_of
from scripts.oci.layout import Layout
from scripts.pipeline import Bench, Options, Stage, make_jobs, open_bench
from scripts.pipeline.described import describe_job, licences_in
from scripts.pipeline.judge import required_checks
from scripts.plan import Selection, make_plan
from scripts.project import Project
from scripts.publish.promote import promote, push_candidate
from scripts.publish.proof import Proof
from scripts.publish.stamp import Dossier, name_tags, stamp_candidate
from scripts.reference import Repository
from scripts.registry.client import Registry
from scripts.report.table import print_table
from scripts.smoke.smoke import Evidence
from tests.docker_registry import serve_registry
from tests.engine_ports import listen_inside
from tests.unit.builders import REPOSITORY_ROOT

CELL = "vllm-cu130-5090-wheel"  # whose evidence, SBOM and provenance are attached
LAYERS, OWN = 30, 9  # of an image, and of these those that the other of its line does not have
_SPACE = 6  # times an image: two layouts, the registry, the engine's copy and what it unpacks
_CHUNK = 1 << 16


class Wire:
    """Carries connections to a registry and counts the bytes both ways; whoever wants to measure sets it back."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address, self._lock = address, Lock()
        self.sent = self.received = 0

    def listen(self, listener: socket.socket) -> None:
        """Take connections until the listener is closed."""
        Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(self._address)
                Thread(target=self._carry, args=(near, far, "sent"), daemon=True).start()
                Thread(target=self._carry, args=(far, near, "received"), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, way: str) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                with self._lock:
                    setattr(self, way, getattr(self, way) + len(data))
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@dataclass
class Row:
    """What one step sent to the registry and had from it, in bytes, and its seconds."""

    what: str
    sent: int
    received: int
    seconds: float

    def render(self, size: int) -> list[str]:
        moved = self.sent + self.received
        cells = [format_size(self.sent), format_size(self.received), f"{moved / size:.4f}", f"{self.seconds:.2f} s"]
        return [self.what, *cells]


def main() -> None:
    """Print a row for each step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=300, metavar="MB")
    size = parser.parse_args().size * 1_000_000
    bench = open_bench(Project.open(REPOSITORY_ROOT))
    with bench.workspace.claim("benchmark") as work:
        if (free := free_bytes(work)) < _SPACE * size:
            cause = f"{format_size(free)} are free, and this can take {format_size(_SPACE * size)}"
            raise Undecided(cause, str(work), "free some space, or give a smaller --size")
        first, second = (make_image(work / name, name, size) for name in ("first", "second"))
        with serve_registry(bench.project, work / "registry") as host:
            rows = measure(bench, host, first, second, work / "locks")
            lines = [row.render(first.size) for row in rows]
    print_table(("step", "sent", "received", "moved / image", "took"), lines)


def make_image(folder: Path, name: str, size: int) -> Layout:
    """An image of LAYERS layers of noise, each a tar of one file; all but the last OWN are those of every image."""
    layers, diff_ids = [], []
    for number in range(LAYERS):
        seed = f"{name if number >= LAYERS - OWN else 'shared'} {number}"
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as tar:
            member = tarfile.TarInfo(f"noise-{number}")
            member.size = size // LAYERS
            tar.addfile(member, io.BytesIO(random.Random(seed).randbytes(member.size)))
        layers.append(_keep(folder, stream.getvalue(), LAYER_TAR))
        diff_ids.append(layers[-1].digest)
    settings = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    config = _keep(folder, json.dumps(settings | {"config": {}}).encode(), OCI_CONFIG)
    content = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config.to_json()}
    manifest = json.dumps(content | {"layers": [layer.to_json() for layer in layers]}).encode()
    write_atomic(
        folder / "index.json", json.dumps({"manifests": [_keep(folder, manifest, OCI_MANIFEST).to_json()]}).encode()
    )
    return Layout.open(folder)


def _keep(folder: Path, data: bytes, media_type: str) -> Descriptor:
    described = describe(data, media_type)
    write_atomic(folder / described.path, data)
    return described


def measure(bench: Bench, host: str, first: Layout, second: Layout, locks: Path) -> list[Row]:
    """Every step, one after another, through a wire that counts. Raises Undecided where a digest has changed."""
    address, _, port = host.partition(":")
    wire = Wire((address, int(port)))
    rows: list[Row] = []

    def step(what: str, call: Callable[[], object]) -> None:
        wire.sent = wire.received = 0
        started = time.monotonic()
        call()
        seconds = time.monotonic() - started
        time.sleep(0.2)  # what the other end still had to say
        rows.append(Row(what, wire.sent, wire.received, seconds))

    with open_ports(bench.engine, wire) as place:
        repository, client = Repository.parse(f"{place}/hallmark/benchmark"), Registry()
        dossier = make_dossier(bench.project, first.digest)
        tags = dossier.tags
        step("push of the first image", lambda: push_candidate(client, repository, first))
        step("push of the second", lambda: push_candidate(client, repository, second))
        step("promotion: all tags", lambda: [promote(client, repository, first.digest, tag, locks) for tag in tags.all])
        step("and what is attached", lambda: stamp_candidate(client, repository, first.manifest, dossier, locks))
        docker = bench.engine.query
        by_digest, tagged = f"{repository}@{first.digest}", f"{repository}:docker"
        try:
            step("docker pull", lambda: docker(["pull", "--quiet", by_digest]))
            step("docker tag", lambda: docker(["tag", by_digest, tagged]))
            step("docker push", lambda: docker(["push", "--quiet", tagged]))
        finally:
            for name in (tagged, by_digest):
                remove_image(bench.engine, name)
        for tag in (*tags.all, "docker"):
            found = client.get_manifest(repository, tag)
            if found is None or found.digest != first.digest or digest_of(found.data) != first.digest:
                raise Undecided("the digest is another one", f"{repository}:{tag}", "see what was written there")
    return rows


def make_dossier(project: Project, digest: str) -> Dossier:
    """What would be said of a real cell, with all its components and an evidence in which all passed."""
    plan = make_plan(project.matrix, Selection([CELL]))
    [job] = make_jobs(project.matrix, plan, project.build_options(), Stage.PUBLISH, Options())
    evidence = tuple(
        Evidence(
            each.name,
            "0" * 64,
            digest,
            tuple(Result(check, Outcome.PASSED) for check in each.checks),
            1.0,
            "2026-01-02T03:04:05Z",
            {},
        )
        for each in job.scenarios
    )
    proof = Proof(job.cell, required_checks(job.cell, job.scenarios), (), evidence)
    licences = licences_in(Cache(project.site.cache))
    return Dossier(name_tags(job.planned, job.step.build_id), proof, describe_job(job), licences)


@contextmanager
def open_ports(engine: Engine, wire: Wire) -> Iterator[str]:
    """The wire's address for this process and for the engine, one and the same; yields host:port."""
    with socket.socket() as near:
        near.bind(("127.0.0.1", 0))
        near.listen()
        port = near.getsockname()[1]
        with listen_inside(engine, port) as far:
            for listener in (near, far):
                if listener:
                    wire.listen(listener)
            yield f"127.0.0.1:{port}"


if __name__ == "__main__":
    main()
