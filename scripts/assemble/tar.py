"""Tar files: POSIX, with nothing in them of the machine or the moment that writes them."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

from scripts.assemble.packers import Packer
from scripts.assemble.tree import Data, Entry

BLOCK = 512
LARGE = 1 << 20  # bytes of a file that is passed on by itself; smaller ones are gathered
_CHUNK = 4 << 20  # bytes passed on at a time
_RECORD = 20 * BLOCK  # a tar file ends on a multiple of it
_TYPES = {"file": b"0", "symlink": b"2", "directory": b"5"}
_NAME, _PREFIX, _LINK = 100, 155, 100  # bytes of a header's fields
_MAX_SIZE = 8**11  # what a header has digits for


def make_header(entry: Entry, mtime: int) -> bytes:
    """All that stands in a tar file before an entry's bytes. Owner and group are root, by number; `mtime` in seconds.

    What does not fit the header of 1988 (long or other than ASCII names, 8 GiB) is said in a PAX header before it.
    """
    path = entry.path + ("/" if entry.kind == "directory" else "")
    name, prefix = _split(path)
    records = b""
    if not name:
        records += _record("path", path)
        name = path.encode("ascii", "replace")[:_NAME]
    link = entry.target.encode()
    if len(link) > _LINK or not entry.target.isascii():
        records += _record("linkpath", entry.target)
        link = entry.target.encode("ascii", "replace")[:_LINK]
    size = entry.size if entry.kind == "file" else 0
    if size >= _MAX_SIZE:
        records += _record("size", str(size))
        size = 0
    header = _block(name, prefix, entry.mode, size, mtime, _TYPES[entry.kind], link)
    if not records:
        return header
    return _block(b"PaxHeader", b"", 0o644, len(records), mtime, b"x", b"") + records + padding(len(records)) + header


def padding(size: int) -> bytes:
    """What follows so many bytes, up to the next block."""
    return bytes(-size % BLOCK)


def _split(path: str) -> tuple[bytes, bytes]:
    """The two fields of a path, or nothing where it does not fit them."""
    if not path.isascii():
        return b"", b""
    raw = path.encode()
    if len(raw) <= _NAME:
        return raw, b""
    cut = raw.rfind(b"/", 0, min(_PREFIX + 1, len(raw) - 1))
    if cut <= 0 or len(raw) - cut - 1 > _NAME:
        return b"", b""
    return raw[cut + 1 :], raw[:cut]


def _record(key: str, value: str) -> bytes:
    """A line of a PAX header: it begins with its own length, in which the digits of that length count."""
    rest = f" {key}={value}\n".encode()
    length = len(rest)
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return str(length).encode() + rest


def _block(name: bytes, prefix: bytes, mode: int, size: int, mtime: int, kind: bytes, link: bytes) -> bytes:
    fields = (
        name.ljust(_NAME, b"\0"),
        b"%07o\0" % mode,
        2 * b"0000000\0",
        b"%011o\0" % size,
        b"%011o\0" % mtime,
        b"        ",  # the checksum is taken over blanks in its own place
        kind,
        link.ljust(_LINK, b"\0"),
        b"ustar\x0000",
        bytes(64),  # no names of owner and group
        2 * b"0000000\0",
        prefix.ljust(_PREFIX, b"\0"),
        bytes(12),
    )
    block = b"".join(fields)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


class TarStream:
    """A tar file on its way into a packer, hashed in a thread of `pool` while the same bytes are packed.

    `digest` (SHA-256) and `size` are of what was passed on so far: of the whole file once it is finished.
    """

    def __init__(self, packer: Packer, pool: ThreadPoolExecutor) -> None:
        self._packer, self._pool = packer, pool
        self._gathered = bytearray()
        self.digest = hashlib.sha256()
        self.size = 0

    def add(self, entry: Entry, data: Data, mtime: int) -> None:
        """Add an entry; `data` is a file's bytes, and empty for anything else."""
        self._gathered += make_header(entry, mtime)
        if len(data) <= LARGE:
            self._gathered += data
        else:
            self._pass_on()
            view = memoryview(data)
            for start in range(0, len(data), _CHUNK):
                self._write(view[start : start + _CHUNK])
        self._gathered += padding(len(data))
        if len(self._gathered) >= _CHUNK:
            self._pass_on()

    def finish(self) -> None:
        """Write the end of the file: two empty blocks, and more up to a whole record."""
        self._gathered += bytes(2 * BLOCK)
        self._gathered += bytes(-(self.size + len(self._gathered)) % _RECORD)
        self._pass_on()

    def _pass_on(self) -> None:
        if self._gathered:
            self._write(self._gathered)
            self._gathered = bytearray()

    def _write(self, data: Data | memoryview) -> None:
        hashing = self._pool.submit(self.digest.update, data)
        self._packer.write(data)
        hashing.result()
        self.size += len(data)
