"""What the audit takes for subjects that were made to cost it dear: python -m tests.benchmarks.hostile [NAME …]

Each is made in a folder on the disk, from little, and audited by a process of its own; a row of Markdown says what it
was, how long that took, what it had in memory at its peak, and what it said. Nothing is judged.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from scripts.files import format_size
from scripts.oci.descriptor import digest_of
from tests.unit.audit.made import entry
from tests.unit.builders import DATA
from tests.unit.gpucode import make_container, make_elf, make_entry
from tests.unit.oci.made import MadeImage

ROOT = Path(__file__).resolve().parents[2]
GIB = 1 << 30
PIECE = 1 << 26  # bytes of zeros that are packed once
END = bytes(1024)


def header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def pack_zeros(start: bytes, size: int, end: bytes) -> tuple[bytes, str]:
    """Some bytes, so many zeros, and more bytes: in gzip, made of the same piece again and again; and their digest."""
    hasher = hashlib.sha256(start)
    piece = gzip.compress(bytes(PIECE), 9, mtime=0)
    parts = [gzip.compress(start, mtime=0)]
    for _ in range(size // PIECE):
        hasher.update(bytes(PIECE))
        parts.append(piece)
    rest = bytes(size % PIECE) + end
    hasher.update(rest)
    return b"".join([*parts, gzip.compress(rest, mtime=0)]), f"sha256:{hasher.hexdigest()}"


def layout(folder: Path, *layers: tuple[bytes, str]) -> Path:
    image = MadeImage()
    packed, diff_ids = zip(*layers, strict=True)
    return image.write(folder / "layout", image.add(packed, diff_ids=diff_ids))


def large_layer(folder: Path) -> Path:
    """a layer of one file of 10 GB of zeros, in gzip"""
    return layout(folder, pack_zeros(header("zeros", 10**10), 10**10, bytes(-(10**10) % 512) + END))


def bomb(folder: Path) -> Path:
    """a layer of one file of 100 GB of zeros, in gzip"""
    size = 100 * GIB
    packed = gzip.compress(header("zeros", size)) + gzip.compress(bytes(PIECE), 9, mtime=0) * (size // PIECE)
    return layout(folder, (packed, digest_of(b"")))


def tail(folder: Path) -> Path:
    """a layer with 100 GB of zeros behind its end, in gzip"""
    packed = gzip.compress(header("a", 0) + END) + gzip.compress(bytes(PIECE), 9, mtime=0) * (100 * GIB // PIECE)
    return layout(folder, (packed, digest_of(b"")))


def pack(pieces: Iterator[bytes]) -> tuple[bytes, str]:
    hasher, packer, parts = hashlib.sha256(), zlib.compressobj(1, wbits=31), []
    for piece in pieces:
        hasher.update(piece)
        parts.append(packer.compress(piece))
    return b"".join([*parts, packer.flush()]), f"sha256:{hasher.hexdigest()}"


def entries(count: int) -> Iterator[bytes]:
    """Headers of empty files, each with its number for a name."""
    block = bytearray(header("0000000", 0))
    total = sum(block[:148]) + sum(block[156:]) + 8 * 32 - 7 * ord("0")
    for number in range(count):
        name = b"%07d" % number
        block[:7] = name
        block[148:156] = b"%06o\0 " % (total + sum(name))
        yield bytes(block)
    yield END


def million_files(folder: Path) -> Path:
    """a layer of 1 million files (as many as there may be, and a few fewer)"""
    return layout(folder, pack(entries(1_000_000)))


def three_million_files(folder: Path) -> Path:
    """a layer of 3 million files"""
    return layout(folder, pack(entries(3_000_000)))


def index(folder: Path) -> Path:
    """a layout whose index.json names 3 million images"""
    layout(folder, pack(iter([END])))
    descriptor = json.dumps({"mediaType": "x", "digest": f"sha256:{'0' * 64}", "size": 1})
    with (folder / "layout/index.json").open("w") as stream:
        stream.write('{"manifests": [' + ",\n".join([descriptor] * 3_000_000) + "]}")
    return folder / "layout"


def directory(folder: Path) -> Path:
    """a wheel whose directory names 3 million members"""
    path = folder / "thing-1.0-cp311-cp311-linux_x86_64.whl"
    local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 0, 0, 33, 0, 0, 0, 7, 0) + b"0000000"
    with path.open("wb") as stream:
        stream.write(local)
        for number in range(3_000_000):
            stream.write(struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, 7, *[0] * 6))
            stream.write(b"%07d" % number)
        stream.write(struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0, 0, 3_000_000 * 53, len(local), 0))
    return path


def dense_library() -> bytes:
    return make_elf([(".nv_fatbin", make_container([make_entry(entry("120", 1))] * 262_000))])


def dense(folder: Path) -> Path:
    """a layer of 60 libraries with 262,000 entries each"""
    library = dense_library()
    one = header("000.so", len(library)) + library + bytes(-len(library) % 512)
    pieces = (header(f"{number:03}.so", len(library)) + one[512:] for number in range(60))
    return layout(folder, pack(each for part in (pieces, iter([END])) for each in part))


def linked(folder: Path) -> Path:
    """a layer of one such library and 1,000 hard links to it"""
    library = dense_library()

    def pieces() -> Iterator[bytes]:
        yield header("a.so", len(library)) + library + bytes(-len(library) % 512)
        for number in range(1000):
            info = tarfile.TarInfo(f"{number:04}.so")
            info.type, info.linkname = tarfile.LNKTYPE, "a.so"
            yield info.tobuf(tarfile.GNU_FORMAT)
        yield END

    return layout(folder, pack(pieces()))


def two_large(folder: Path) -> Path:
    """two layers with a library of 2 GB each, in gzip"""
    start = (DATA / "gpucode/plain.so").read_bytes()
    size = (1 << 31) - 512
    one, two = (pack_zeros(header(name, size) + start, size - len(start), END) for name in ("a.so", "b.so"))
    return layout(folder, one, two)


def attributes(folder: Path) -> Path:
    """a layer of 1,000 files, each with a megabyte of attributes"""
    records = b"7 a=bc\n" * ((1 << 20) // 7)
    info = tarfile.TarInfo("x")
    info.size, info.type = len(records), tarfile.XHDTYPE
    one = info.tobuf(tarfile.USTAR_FORMAT) + records + bytes(-len(records) % 512)
    return layout(folder, pack(piece for number in range(1000) for piece in (one, header(f"{number}", 0))))


def sparse(folder: Path) -> Path:
    """a folder with a sparse library of 16 GB"""
    (folder / "lib").mkdir()
    (folder / "lib/a.so").write_bytes((DATA / "gpucode/plain.so").read_bytes())
    os.truncate(folder / "lib/a.so", 1 << 34)
    return folder / "lib"


def names(folder: Path) -> Path:
    """a wheel of one library of 1 GB of zeros under 2,000 names"""
    path = folder / "thing-1.0-cp311-cp311-linux_x86_64.whl"
    plain = (DATA / "gpucode/plain.so").read_bytes() + bytes(GIB)
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(plain) + packer.flush()
    sizes = (zlib.crc32(plain), len(packed), len(plain), 7, 0)
    local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 8, 0, 33, *sizes) + b"0000.so"
    stream = io.BytesIO()
    for number in range(2000):
        stream.write(struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, 0, 8, 0, 33, *sizes, *[0] * 5))
        stream.write(b"%04d.so" % number)
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 2000, 2000, stream.tell(), len(local) + len(packed), 0)
    path.write_bytes(local + packed + stream.getvalue() + end)
    return path


SUBJECTS: list[Callable[[Path], Path]] = [
    large_layer,
    bomb,
    tail,
    million_files,
    three_million_files,
    index,
    directory,
    dense,
    linked,
    two_large,
    attributes,
    sparse,
    names,
]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(each.__name__ for each in SUBJECTS))
    wanted = parser.parse_args().names
    print("| Subject | on the disk | processor time | time | peak memory | exit code |\n|---|---|---|---|---|---|")
    for make in SUBJECTS:
        if not wanted or make.__name__ in wanted:
            with tempfile.TemporaryDirectory(prefix="hallmark-hostile-", dir="/var/tmp") as folder:
                subject = make_apart(make, Path(folder))
                print(audit(subject, (make.__doc__ or "").strip()), flush=True)


def make_apart(make: Callable[[Path], Path], folder: Path) -> Path:
    """Make a subject in a process of its own: what this one had in memory would count as its child's."""
    child = os.fork()
    if not child:
        (folder / "made").symlink_to(make(folder))
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise SystemExit(f"{make.__name__} could not be made")
    return (folder / "made").readlink()


def audit(subject: Path, what: str) -> str:
    """A row of the table."""
    size = sum(path.stat().st_blocks * 512 for path in [subject, *subject.rglob("*")])
    command = [sys.executable, "-m", "scripts", "audit", str(subject), "--target", "5090", "--remote", "--json"]
    started = time.monotonic()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
        assert child.stdout
        said = b""
        while data := child.stdout.read(1 << 16):
            said = (said + data)[-2000:]
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - started
    busy = usage.ru_utime + usage.ru_stime
    last = said.decode(errors="replace").strip().splitlines()
    print(*last[-3:], sep="\n", file=sys.stderr)
    took = f"{busy:.1f} s | {seconds:.1f} s | {usage.ru_maxrss >> 10} MiB"
    return f"| {what} | {format_size(size)} | {took} | {child.returncode} |"


if __name__ == "__main__":
    main()
