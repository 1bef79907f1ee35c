"""Which distribution a wheel is: its file's name, its `.dist-info` folder and its metadata have to agree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from installer.utils import parse_metadata_file
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

_INFO, _DATA = ".dist-info", ".data"


@dataclass(frozen=True)
class Identity:
    """A wheel's distribution: `name` in its canonical spelling, `version`, and `stem` as the folders begin with it."""

    name: str
    version: Version
    stem: str

    @property
    def info(self) -> str:
        return self.stem + _INFO

    @property
    def data(self) -> str:
        return self.stem + _DATA

    @property
    def spelled(self) -> str:
        """The name as the wheel spells it."""
        return self.stem.rpartition("-")[0]


def identify(file: str, members: Iterable[str], python: str) -> Identity:
    """The distribution of a wheel for Python X.Y. Raises ValueError, with the reason, where that is not clear."""
    try:
        name, version, _, tags = parse_wheel_filename(file)
    except InvalidWheelFilename as error:
        raise ValueError(str(error)) from error
    if not _fits(tags, python):
        raise ValueError(f"its name says that it is not for Python {python}")
    tops = {member.split("/")[0] for member in members if "/" in member}
    stems = sorted(top.removesuffix(_INFO) for top in tops if top.endswith(_INFO))
    if len(stems) != 1:
        raise ValueError(f"it has not one .dist-info folder but {len(stems)}")
    found, _, number = stems[0].rpartition("-")
    if not _agrees(found, number, name, version):
        raise ValueError(f"`{stems[0]}{_INFO}` is of another distribution than its name")
    identity = Identity(name, version, stems[0])
    for top in sorted(tops):
        if top.endswith(_DATA) and top != identity.data:
            raise ValueError(f"`{top}` is the data of another distribution")
    return identity


def check_metadata(identity: Identity, metadata: str, wheel: str) -> None:
    """Compare what METADATA and WHEEL say. Raises ValueError for another distribution or a newer format."""
    message = parse_metadata_file(metadata)
    if not _agrees(str(message["Name"]), str(message["Version"]), identity.name, identity.version):
        raise ValueError("METADATA is of another distribution than its name")
    wanted = str(parse_metadata_file(wheel)["Wheel-Version"])
    if wanted.strip().split(".")[0] != "1":
        raise ValueError(f"its format has version {wanted}, and only 1 is known")


def _agrees(found: str, number: str, name: str, version: Version) -> bool:
    try:
        return canonicalize_name(found) == name and Version(number) == version
    except InvalidVersion:
        return False


def _fits(tags: Iterable[Tag], python: str) -> bool:
    """Whether one of the tags is for this Python. The platform is the lock's business, which knows the glibc."""
    numbers = [int(number) for number in python.split(".")]
    interpreter = f"cp{''.join(python.split('.'))}"
    usable = [*cpython_tags(numbers, platforms=["any"]), *compatible_tags(numbers, interpreter, ["any"])]
    pairs = {(tag.interpreter, tag.abi) for tag in usable}
    # CPython's own ABI tag is not listed for another Python than the one that runs this.
    pairs.add((interpreter, interpreter))
    return any((tag.interpreter, tag.abi) in pairs for tag in tags)
