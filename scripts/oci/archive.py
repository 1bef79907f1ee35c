"""Layouts as one file: an OCI archive, written so that the same images give the same bytes, and read from strangers.

What `docker save` prints is such an archive, too, with more in it than is needed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from scripts.console import Update
from scripts.errors import Undecided
from scripts.files import CHUNK, format_size, naming_disk_full, open_atomic, open_plain
from scripts.oci.blobs import read_json_blob
from scripts.oci.descriptor import LARGEST_JSON, unreadable
from scripts.oci.image import check_config, find_manifest
from scripts.oci.layout import LAYOUT_FILE, Layout, LayoutStore, create_layout, make_index
from scripts.oci.tar import Source, TarMember, TarReader

_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")
ARCHIVE = ".tar"  # how such a file's name ends
MOST_MEMBERS = 10_000  # an image has some hundred blobs
_NAME = "org.opencontainers.image.ref.name"


def write_archive(layouts: Sequence[Layout], destination: Path) -> None:
    """Write images as one tar file, atomically; the same images give the same bytes, and what they share is there once.

    Raises Undecided on a full disk, and where a blob turns out to be damaged.
    """
    with open_atomic(destination) as stream:
        _pack(layouts, make_index([layout.manifest for layout in layouts]), stream)


def pack_layout(layout: Layout, stream: IO[bytes], name: str = "") -> None:
    """Write a layout as a tar to a stream, hashing what goes in; `name` is what an engine is to know the image by.

    Raises Undecided where a blob is damaged: what was written until then is no complete archive.
    """
    _pack([layout], make_index([layout.manifest], {_NAME: name} if name else None), stream)


def _pack(layouts: Sequence[Layout], index: bytes, stream: IO[bytes]) -> None:
    blobs = {blob.path: (blob, LayoutStore(each.folder)) for each in layouts for blob in each.blobs}
    # The index comes last: an archive that was given up has none, and no end.
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for path, (blob, store) in sorted(blobs.items()):
            with store.open(blob) as content:
                tar.addfile(_header(path, blob.size), cast(IO[bytes], content))
        for path, data in (("index.json", index), ("oci-layout", LAYOUT_FILE)):
            tar.addfile(_header(path, len(data)), io.BytesIO(data))


def extract_archive(path: Path, folder: Path, digest: str = "") -> Layout:
    """Make a layout of an image for linux/amd64 out of an archive: the only one, or that of a digest among several.

    Read are the layout's own files alone, each once and as a plain file; every blob is hashed, and those that are not
    the image's are dropped. Raises Undecided, and then leaves nothing behind.
    """
    try:
        with open_plain(path) as stream:
            return extract_stream(stream, folder, str(path), among=digest)
    except OSError as error:
        raise Undecided(f"cannot be read: {error.strerror or error}", str(path), "check the path") from error


def extract_stream(stream: Source, folder: Path, place: str, digest: str = "", *, among: str = "") -> Layout:
    """As `extract_archive`, from a stream; `among` is its digest. Any other image than `digest` raises Undecided."""
    with _becoming(folder) as made:
        index = _extract_members(TarReader(stream, place), made, place)
        if not index:
            cause = "no OCI layout in this archive"
            raise Undecided(cause, place, "write it with an engine of version 26 or newer that uses containerd's store")
        store = LayoutStore(made, place)
        image = find_manifest(index, None, store.read_manifest, place, among)
        if digest and image.digest != digest:
            raise Undecided(
                f"its image is {image.digest}, not {digest}", place, "use an engine with containerd's store"
            )
        check_config(read_json_blob(store, image.config, place), image, place)
        layout = create_layout(made, image.data, image.manifest.media_type)
        keep_blobs(layout, place)
    return Layout(folder, layout.manifest)


def keep_blobs(layout: Layout, place: str) -> None:
    """Drop the blobs that are not the image's. Raises Undecided where one that is its own is missing or cut short."""
    wanted = {blob.path: blob for blob in layout.blobs}
    for blob in wanted.values():
        path = layout.folder / blob.path
        size = path.stat().st_size if path.is_file() else -1
        if size != blob.size:
            found = f"has {size} of {blob.size} bytes" if size >= 0 else "is missing"
            raise unreadable(f"blob {blob.digest} {found}", place)
    for path in (layout.folder / "blobs/sha256").iterdir():
        if f"blobs/sha256/{path.name}" not in wanted:
            path.unlink()


class Chunks:
    """What an iterator of bytes yields, as a stream; tells how much has come."""

    def __init__(self, chunks: Iterator[bytes], update: Update) -> None:
        self._chunks = chunks
        self._update = update
        self._waiting = memoryview(b"")
        self._received = 0

    def read(self, size: int, /) -> bytes:
        parts = []
        while size:
            if not self._waiting:
                self._waiting = memoryview(next(self._chunks, b""))
                self._received += len(self._waiting)
                self._update(f"{format_size(self._received)} of the archive read")
            if not self._waiting:
                break
            parts.append(self._waiting[:size])
            self._waiting = self._waiting[size:]
            size -= len(parts[-1])
        return b"".join(parts)


def _header(path: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.size, info.mode = size, 0o644
    return info


def _extract_members(reader: TarReader, folder: Path, place: str) -> bytes:
    """Extract the blobs, and give the index's bytes (none: there is none)."""
    (folder / "blobs/sha256").mkdir(parents=True)
    index = b""
    seen: set[str] = set()
    for member, content in reader:
        if member.kind == "global":
            continue
        name = _check_member(member, seen, place)
        if match := _BLOB.fullmatch(name):
            _extract_blob(content, folder / name, match[1], place)
        elif name == "index.json":
            index = content.read(LARGEST_JSON)
    return index


def _check_member(member: TarMember, seen: set[str], place: str) -> str:
    """An entry's name without `./` before it. Raises Undecided for what no archive of a layout has."""
    name = member.name.removeprefix("./").rstrip("/")
    if member.name.startswith("/") or ".." in name.split("/"):
        raise unreadable(f"an entry that leads out of the archive ({member.name[:100]!r})", place)
    if member.kind == "directory" and not (_BLOB.fullmatch(name) or name in ("index.json", "oci-layout")):
        return ""
    if member.kind != "file":
        raise unreadable(f"a {member.kind} in it ({member.name[:100]!r})", place)
    if name in seen:
        raise unreadable(f"two entries of one name ({member.name[:100]!r})", place)
    seen.add(name)
    if len(seen) > MOST_MEMBERS:
        raise unreadable(f"more than {MOST_MEMBERS} files in it", place)
    return name


def _extract_blob(content: Source, path: Path, expected: str, place: str) -> None:
    hasher = hashlib.sha256()
    with path.open("xb") as copy:
        while data := content.read(CHUNK):
            hasher.update(data)
            copy.write(data)
        copy.flush()
        os.fsync(copy.fileno())
    if hasher.hexdigest() != expected:
        raise unreadable(f"blob sha256:{expected} hashes to sha256:{hasher.hexdigest()}", place)


@contextmanager
def _becoming(folder: Path) -> Iterator[Path]:
    """A new folder beside another, which gets that one's name once all is well, and is gone otherwise."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with naming_disk_full(folder):
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            yield temporary
            temporary.chmod(0o755)
            put_in_place(temporary, folder)
        except BaseException:
            with contextlib.suppress(OSError):
                shutil.rmtree(temporary)
            raise


def put_in_place(temporary: Path, folder: Path) -> None:
    """Rename a finished folder. Raises Undecided where something is there already: it is never replaced."""
    try:
        temporary.rename(folder)
    except OSError as error:
        if not folder.exists():
            raise
        cause = "this folder is there already, and holds something"
        raise Undecided(cause, str(folder), "remove it, or name another one") from error
