from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from scripts.assemble.rootfs import Package, select_bootstrap, write_rootfs
from scripts.errors import Undecided
from tests.unit.debs import make_deb

LINKS = ["bin", "lib", "lib64", "sbin"]


@pytest.fixture
def packages(tmp_path: Path) -> list[Path]:
    """Two packages that share directories and one file, with names from before /bin and /lib were links."""
    return [
        make_deb(
            tmp_path / "one.deb",
            [
                ("./", ""),
                ("./bin/", ""),
                ("./bin/sh", b"shell"),
                ("./bin/dash", "= ./bin/sh"),
                ("./usr/", ""),
                ("./usr/bin/", ""),
                ("./usr/bin/awk", "→ /etc/alternatives/awk"),
                ("./lib/x86_64-linux-gnu/", ""),
                ("./lib/x86_64-linux-gnu/libc.so.6", b"libc" * 5000),
                ("./etc/shared", b"first"),
            ],
        ),
        make_deb(
            tmp_path / "two.deb",
            [
                ("./usr/", ""),
                ("./lib64/ld-linux.so.2", "→ /lib/x86_64-linux-gnu/ld.so"),
                ("./sbin/init", b"init"),
                ("./etc/shared", b"second"),
                ("./libexec/tool", b"not under /lib"),
            ],
        ),
    ]


def read(path: Path) -> dict[str, tuple[str, bytes]]:
    """Name → type (or link target) and content, each name once."""
    found: dict[str, tuple[str, bytes]] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            assert member.name not in found, "a name stands twice"
            stream = tar.extractfile(member) if member.isreg() else None
            kind = f"{'→' if member.issym() else '='} {member.linkname}" if member.linkname else member.type.decode()
            found[member.name] = kind, stream.read() if stream else b""
    return found


@pytest.fixture
def rootfs(packages: list[Path], tmp_path: Path) -> dict[str, tuple[str, bytes]]:
    write_rootfs(packages, tmp_path / "stage1.tar")
    return read(tmp_path / "stage1.tar")


def test_the_merged_directories_are_links_before_anything_goes_into_them(rootfs: dict[str, tuple[str, bytes]]) -> None:
    assert list(rootfs)[:4] == LINKS
    assert [rootfs[name] for name in LINKS] == [(f"→ usr/{name}", b"") for name in LINKS]


def test_files_under_a_merged_directory_lie_where_it_points_to(rootfs: dict[str, tuple[str, bytes]]) -> None:
    assert rootfs["usr/bin/sh"] == ("0", b"shell")
    assert rootfs["usr/lib/x86_64-linux-gnu/libc.so.6"] == ("0", b"libc" * 5000)
    assert rootfs["usr/sbin/init"] == ("0", b"init")
    assert not any(name.startswith(tuple(f"{link}/" for link in LINKS)) for name in rootfs)
    assert rootfs["libexec/tool"] == ("0", b"not under /lib")


def test_a_hard_link_follows_its_target(rootfs: dict[str, tuple[str, bytes]]) -> None:
    assert rootfs["usr/bin/dash"] == ("= usr/bin/sh", b"")


def test_a_symbolic_link_keeps_its_target(rootfs: dict[str, tuple[str, bytes]]) -> None:
    assert rootfs["usr/bin/awk"] == ("→ /etc/alternatives/awk", b"")
    assert rootfs["usr/lib64/ld-linux.so.2"] == ("→ /lib/x86_64-linux-gnu/ld.so", b"")


def test_of_two_files_of_a_name_the_first_is_laid_down(rootfs: dict[str, tuple[str, bytes]]) -> None:
    assert rootfs["etc/shared"] == ("0", b"first")
    assert rootfs["usr"] == ("5", b"")
    assert "" not in rootfs and "." not in rootfs


def test_the_same_packages_give_the_same_bytes(packages: list[Path], tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        write_rootfs(packages, tmp_path / name)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    write_rootfs(packages[::-1], tmp_path / "c.tar")
    assert read(tmp_path / "c.tar")["etc/shared"] == ("0", b"second")


def test_a_name_that_begins_with_a_dot_keeps_it(tmp_path: Path) -> None:
    package = make_deb(tmp_path / "a.deb", [("./", ""), ("./.hidden", b"x"), ("./etc/.pwd.lock", b"y")])
    write_rootfs([package], tmp_path / "a.tar")
    assert list(read(tmp_path / "a.tar")) == [*LINKS, ".hidden", "etc/.pwd.lock"]


@pytest.mark.parametrize("compression", ["xz", "gz", "bz2", ""])
def test_how_a_package_is_compressed_makes_no_difference(compression: str, tmp_path: Path) -> None:
    package = make_deb(tmp_path / "a.deb", [("./bin/sh", b"shell")], compression=compression)
    write_rootfs([package], tmp_path / "a.tar")
    assert read(tmp_path / "a.tar")["usr/bin/sh"] == ("0", b"shell")


def test_more_packages_than_are_unpacked_at_once(tmp_path: Path) -> None:
    packages = [make_deb(tmp_path / f"{n}.deb", [(f"./etc/{n}", b"x"), ("./etc/first", b"%d" % n)]) for n in range(11)]
    write_rootfs(packages, tmp_path / "a.tar")
    found = read(tmp_path / "a.tar")
    assert [name for name in found if name.startswith("etc/") and name != "etc/first"] == [
        f"etc/{n}" for n in range(11)
    ]
    assert found["etc/first"] == ("0", b"0")


def test_a_full_disk_is_undecided(packages: list[Path]) -> None:
    with pytest.raises(Undecided, match="the disk is full"):
        write_rootfs(packages * 3, Path("/dev/full"))


# --- which packages are laid down: those that dpkg and the maintainers' scripts run on


def bootstrap(**controls: str) -> list[str]:
    """The names of the packages that are chosen out of these, each with its fields."""
    packages = [
        Package(Path(name), {"Package": name.replace("_", "-")} | dict(line.split(": ") for line in text.splitlines()))
        for name, text in controls.items()
    ]
    return [package.path.name for package in select_bootstrap(packages)]


def test_the_essential_packages_and_what_they_stand_on_are_chosen_in_order() -> None:
    assert bootstrap(
        apt="Depends: dpkg",
        awk_user="Essential: yes\nPre-Depends: awk",
        dash="Essential: yes\nDepends: libc6 (>= 2.36), debconf | other-debconf",
        debconf="Depends: perl [amd64]",
        libc6="",
        mawk="Provides: awk (= 1)",
        perl="Essential: no",
        python3="Depends: libc6",
    ) == ["awk_user", "dash", "debconf", "libc6", "mawk", "perl"]


def test_a_package_goes_before_one_that_provides_its_name() -> None:
    assert bootstrap(base="Essential: yes\nDepends: awk", awk="", gawk="Provides: awk") == ["base", "awk"]


def test_of_alternatives_the_one_that_was_locked_is_chosen() -> None:
    assert bootstrap(base="Essential: yes\nPre-Depends: gone | there (>= 1) | later", there="") == ["base", "there"]


def test_a_name_that_several_provide_is_chosen_once() -> None:
    found = bootstrap(base="Essential: yes\nDepends: awk", gawk="Provides: awk", mawk="Provides: other, awk")
    assert found[0] == "base" and len(found) == 2


def test_essential_packages_may_depend_on_each_other() -> None:
    assert bootstrap(a="Essential: yes\nDepends: b", b="Depends: a") == ["a", "b"]


def test_what_is_not_essential_is_left_to_dpkg(tmp_path: Path) -> None:
    packages = [
        make_deb(tmp_path / "a.deb", [("./bin/sh", b"shell")], "Package: dash\nEssential: yes\nDepends: libc6\n"),
        make_deb(tmp_path / "b.deb", [("./usr/bin/python3", b"python")], "Package: python3\nDepends: libc6\n"),
        make_deb(tmp_path / "c.deb", [("./lib/libc.so", b"libc")], "Package: libc6\n"),
    ]
    write_rootfs(packages, tmp_path / "a.tar")
    assert list(read(tmp_path / "a.tar")) == [*LINKS, "usr/bin/sh", "usr/lib/libc.so"]
