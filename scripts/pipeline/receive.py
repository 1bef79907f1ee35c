"""A candidate that was built elsewhere: taken over by its digest, and never built here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.assemble.types import Step
from scripts.console import step as announce
from scripts.engine.images import BUILD_ID_LABEL, export_layout, has_image
from scripts.errors import BuildFailed, ConfigError, Undecided
from scripts.files import link_or_copy
from scripts.oci.archive import extract_archive
from scripts.oci.layout import Layout, create_layout
from scripts.pipeline.bench import Bench
from scripts.pipeline.candidate import Candidate, keep_image, write_candidate
from scripts.pipeline.obtain import Obtained, bring, find_layout, keep_layout
from scripts.reference import parse_image
from scripts.registry.pull import pull_layout

FROM_ENGINE = "engine"


def receive(bench: Bench, step: Step, digest: str, source: str) -> Obtained:
    """Take a candidate over from `source`: a layout's folder, an archive, `engine`, or an image's name in a registry.

    With no source it is looked for on this disk, in the engine and in the site's registry. Raises Undecided where it is
    not there, is damaged, or was built from other inputs than this checkout's.
    """
    with bench.workspace.claim(step.build_id) as work:
        layout = known = find_layout(bench, step.build_id, digest)
        if layout is None:
            layout = _take(bench, step, digest, source, work / "layout")
        require_same_inputs(layout.read_config(), digest, step)  # before it is filed under the build id
        if known is None:
            layout = keep_layout(bench, layout, step.build_id)
        candidate = Candidate(step.name, step.build_id, digest, layout.size, 0.0)
        keep_image(bench.workspace, step.build_id, layout)
        write_candidate(bench.workspace, candidate)
    return Obtained(candidate, f"taken from {source}" if source else "taken as it is")


def _take(bench: Bench, step: Step, digest: str, source: str, folder: Path) -> Layout:
    """The image of this digest as a new, verified layout."""
    if not source:
        if layout := bring(bench, step, digest, folder):
            return layout
        cause = "neither on this disk, nor in the engine or the registry"
        raise Undecided(cause, digest, "say where it lies with --from")
    with announce(step.name, "take") as update:
        update(f"from {source}")
        path = Path(source)
        if source == FROM_ENGINE:
            if not has_image(bench.gate, digest):
                raise Undecided("the engine does not have it", digest, "load it, or name another place with --from")
            layout = export_layout(bench.gate, digest, folder, update)
        elif path.is_dir():
            layout = _copy(path, folder, digest)
        elif path.is_file():
            layout = extract_archive(path, folder, digest)
        elif source.startswith(("/", ".")):
            raise ConfigError("no such file or folder", source, "name a layout's folder, an archive or an image")
        else:
            name = parse_image(source)
            layout = pull_layout(bench.open_registry(), name.repository, digest, folder, update)
    if layout.digest != digest:
        raise Undecided(f"it holds {layout.digest}, not {digest}", source, "give the digest of what is there")
    return layout


def _copy(source: Path, folder: Path, digest: str) -> Layout:
    try:
        layout = Layout.open(source, digest)
        for blob in (layout.config, *layout.layers):
            if (path := layout.blob_path(blob.digest)).is_file():
                link_or_copy(path, folder / blob.path)
        copy = create_layout(folder, layout.blob_path(layout.digest).read_bytes(), layout.manifest.media_type)
        copy.verify()
    except BuildFailed as error:  # nothing was built here
        causes = "; ".join(problem.cause for problem in error.problems)
        raise Undecided(causes, str(source), "copy the whole layout again") from error
    return copy


def require_same_inputs(config: Mapping[str, Any], digest: str, step: Step) -> None:
    """Raise Undecided where an image's configuration names another build id than this checkout's."""
    labels = config.get("config", {}).get("Labels") or {}
    found = labels.get(BUILD_ID_LABEL, "none")
    if found != step.build_id:
        raise Undecided(
            f"it was built from other inputs (build id {found[:12]}) than this checkout's ({step.build_id[:12]})",
            f"{step.name}@{digest}",
            "check out the commit that it was built at, and give the same options (--no-slim, HALLMARK_COMPRESSION)",
        )
