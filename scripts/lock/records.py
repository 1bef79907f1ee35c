"""What wheels install, by their RECORDs: read from the cache, else in parts from the index, else by fetching them."""

from __future__ import annotations

import configparser
import csv
import io
import posixpath
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.errors import ConfigError, Undecided
from scripts.fetch import Cache, fetch_files
from scripts.files import parse_json, write_json
from scripts.index import open_remote
from scripts.index.files import NoRanges
from scripts.matrix import Platform
from scripts.model import LockedFile
from scripts.site import Site
from scripts.zips import DAMAGE

_PARALLEL = 8
LARGEST = 64 << 20  # bytes of a text in a wheel; torch's RECORD has 1.2 MB
_SIGNATURES = ("RECORD", "RECORD.jws", "RECORD.p7s")  # a RECORD has no hash of itself


@dataclass(frozen=True)
class Record:
    """A wheel's RECORD: hashes by member (`sha256=…`, empty where none is given) and its programs by name.

    `stem` is what the name of its dist-info folder begins with: `thing-1.0`.
    """

    stem: str
    files: Mapping[str, str]
    programs: Mapping[str, str]


def read_record(archive: zipfile.ZipFile, wheel: str) -> Record:
    """The RECORD and the entry points of an opened wheel. Raises ConfigError where there is no one RECORD."""
    names = archive.namelist()
    found = [name for name in names if name.endswith(".dist-info/RECORD") and name.count("/") == 1]
    if len(found) != 1:
        raise ConfigError(f"has {len(found)} RECORDs, and a wheel has one", wheel, "pin another version")
    folder = posixpath.dirname(found[0])
    entry_points = f"{folder}/entry_points.txt"
    try:
        rows = csv.reader(io.StringIO(_read_text(archive, found[0])))
        files = {row[0]: row[1] if len(row) > 1 else "" for row in rows if row}
        programs = _read_programs(_read_text(archive, entry_points)) if entry_points in names else {}
    except (ValueError, csv.Error, configparser.Error) as error:
        raise ConfigError(f"its {folder} cannot be read: {error}", wheel, "pin another version") from error
    return Record(folder.removesuffix(".dist-info"), files, programs)


def _read_text(archive: zipfile.ZipFile, name: str) -> str:
    """A small member as text. Raises UnicodeDecodeError, and ValueError for one that is not small."""
    if archive.getinfo(name).file_size > LARGEST:
        raise ValueError(f"`{name}` has more than {LARGEST} bytes")
    return archive.read(name).decode()


def list_installed(record: Record, name: str, python: str) -> dict[str, str]:
    """Hashes by path as installed for a Python version such as 3.11, relative to site-packages."""
    site = f"lib/python{python}/site-packages"
    schemes = {
        "purelib": site,
        "platlib": site,
        "scripts": "bin",
        "data": "",
        "headers": f"include/site/python{python}/{name}",
    }
    found: dict[str, str] = {}
    for member, digest in record.files.items():
        if member.endswith("/") or member in {f"{record.stem}.dist-info/{signature}" for signature in _SIGNATURES}:
            continue
        path = posixpath.normpath(member)
        # By its suffix: some wheels spell the name otherwise than their dist-info folder does.
        top, _, rest = path.partition("/")
        scheme, _, rest = rest.partition("/")
        if top.endswith(".data") and scheme in schemes:
            path = posixpath.relpath(posixpath.join(schemes[scheme], rest), site)
        found[path] = digest or f"unknown, of {name}"  # bytes that nobody has hashed are equal to nobody's
    for program, target in record.programs.items():
        found[posixpath.relpath(f"bin/{program}", site)] = f"starts {target}"
    return found


def find_record(file: LockedFile, cache: Cache) -> Record | None:
    """The RECORD of a wheel as far as it is here: read before, or in a wheel that is in the cache."""
    if record := _recall(file, cache):
        return record
    if not cache.holds(file):
        return None
    try:
        with zipfile.ZipFile(cache.path(file.sha256)) as archive:
            return _keep(read_record(archive, file.file), file, cache)
    except DAMAGE as error:
        raise ConfigError(f"is no wheel: {error}", file.file, "pin another version") from error


def collect_records(
    files: Sequence[LockedFile], urls: Mapping[str, str], site: Site, platform: Platform
) -> dict[str, Record]:
    """The RECORD of each wheel by the distribution's name; `urls` are addresses by file name.

    What is not here is read in parts from its address; where that cannot be, the whole wheel goes into the cache.
    Raises Undecided where that fails as well.
    """
    cache = Cache(site.cache)
    with ThreadPoolExecutor(_PARALLEL) as pool:
        found = list(pool.map(lambda file: find_record(file, cache) or _ask(file, urls, cache), files))
    whole = [file for file, record in zip(files, found, strict=True) if record is None]
    fetch_files(whole, site, platform)
    fetched = {file.name: _require(file, cache) for file in whole}
    return {
        file.name: record if record is not None else fetched[file.name]
        for file, record in zip(files, found, strict=True)
    }


def _ask(file: LockedFile, urls: Mapping[str, str], cache: Cache) -> Record | None:
    if file.file not in urls:
        return None
    try:
        with open_remote(urls[file.file]) as archive:
            record = read_record(archive, file.file)
    except NoRanges:
        return None
    return _keep(record, file, cache)


def _require(file: LockedFile, cache: Cache) -> Record:
    record = find_record(file, cache)
    if record is None:
        raise ValueError(f"{file.file}: fetched, and not in the cache")
    return record


def _recall(file: LockedFile, cache: Cache) -> Record | None:
    try:
        found = parse_json(_note(file, cache).read_bytes())
        return Record(str(found["stem"]), dict(found["files"]), dict(found["programs"]))
    except (OSError, ValueError, TypeError, KeyError):  # not read before, or damaged: read it again
        return None


def _keep(record: Record, file: LockedFile, cache: Cache) -> Record:
    with suppress(OSError, Undecided):  # a cache that cannot be written to is read all the same
        write_json(_note(file, cache), asdict(record))
    return record


def _note(file: LockedFile, cache: Cache) -> Path:
    return cache.root / "records" / f"{file.sha256}.json"


def _read_programs(text: str) -> dict[str, str]:
    """The programs that entry points make, by name."""
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # programs' names have capitals
    parser.read_string(text)
    sections = [section for section in ("console_scripts", "gui_scripts") if parser.has_section(section)]
    return {name: target.strip() for section in sections for name, target in parser.items(section)}
