from __future__ import annotations

import pytest

from scripts.assemble.links import make_links
from scripts.errors import ConfigError
from scripts.matrix import Link

LIB = "opt/venv/lib"
FILES = [
    f"{LIB}/libcudart.so.13",
    f"{LIB}/libcudart.so.12",
    f"{LIB}/libnvrtc.so.13",
    f"{LIB}/libz.so",
    f"{LIB}/libz.so.1",
]
PATTERN = ("/opt/venv/lib/{name}.so", "{name}.so.*")


def links(*rules: tuple[str, str]) -> dict[str, str]:
    made = make_links([Link(path, target, "why") for path, target in rules], FILES, "image.toml")
    assert {entry.kind for entry in made} <= {"symlink"}
    return {entry.path: entry.target for entry in made}


def test_a_link_has_its_target_as_it_is_written() -> None:
    assert links(("/usr/local/cuda", "/opt/venv/lib"), ("/opt/venv/lib/z", "libz.so")) == {
        "usr/local/cuda": "/opt/venv/lib",
        f"{LIB}/z": "libz.so",
    }


def test_a_link_may_lead_to_an_earlier_one() -> None:
    assert len(links(("/usr/local/one", "/opt/venv"), ("/usr/local/two", "one"))) == 2


def test_a_pattern_is_a_link_for_each_file_that_has_none_to_the_first_by_name() -> None:
    assert links(PATTERN) == {f"{LIB}/libcudart.so": "libcudart.so.12", f"{LIB}/libnvrtc.so": "libnvrtc.so.13"}


def test_a_pattern_may_look_into_another_folder() -> None:
    found = links(("/usr/local/lib/{name}.so", "../../../opt/venv/lib/{name}.so.13"))
    assert found["usr/local/lib/libnvrtc.so"] == "../../../opt/venv/lib/libnvrtc.so.13"


CUDA = "/opt/venv/nvidia"
HEADERS = [
    "opt/venv/nvidia/blas/include/blas.h",
    "opt/venv/nvidia/blas/lib/libblas.so.12",
    "opt/venv/nvidia/nccl/include/nccl.h",
    "opt/venv/nvidia/nccl/include/nccl_device/coop.h",
    "opt/venv/nvidia/nccl/include/deep/er/one.h",
    "opt/venv/nvidia/rt/include/blas.h",
]


def headers(*rules: tuple[str, str]) -> dict[str, str]:
    made = make_links([Link(path, target, "why") for path, target in rules], HEADERS, "image.toml")
    return {entry.path: entry.target for entry in made}


def test_a_pattern_may_look_into_every_folder_of_one_and_links_whole_folders_too() -> None:
    assert headers(("/usr/local/cuda/include/{name}", f"{CUDA}/*/include/{{name}}")) == {
        "usr/local/cuda/include/blas.h": f"{CUDA}/blas/include/blas.h",
        "usr/local/cuda/include/deep": f"{CUDA}/nccl/include/deep",
        "usr/local/cuda/include/nccl.h": f"{CUDA}/nccl/include/nccl.h",
        "usr/local/cuda/include/nccl_device": f"{CUDA}/nccl/include/nccl_device",
    }


def test_a_star_is_one_folder_and_not_several() -> None:
    with pytest.raises(ConfigError, match="finds no file"):
        headers(("/usr/local/cuda/include/{name}", f"{CUDA}/*/{{name}}.h"))


def test_links_need_no_more_than_what_is_there() -> None:
    rules = (f"{CUDA}/*/lib/lib{{name}}", f"{CUDA}/*/lib/{{name}}.so.*")
    assert headers(("/usr/local/cuda/lib/lib{name}", rules[0]), ("/usr/local/cuda/lib/{name}.so", rules[1])) == {
        "usr/local/cuda/lib/libblas.so.12": f"{CUDA}/blas/lib/libblas.so.12",
        "usr/local/cuda/lib/libblas.so": f"{CUDA}/blas/lib/libblas.so.12",
    }


@pytest.mark.parametrize(
    ("rules", "cause"),
    [
        ([("/opt/venv/lib/z", "gone")], "lead nowhere"),
        ([("/opt/venv/lib/libz.so", "libz.so.1")], "is there already"),
        ([("/opt/venv/lib", "libz.so.1")], "is there already"),
        ([("/opt/venv/z", "lib/libz.so")] * 2, "is there already"),
        ([("/opt/venv/lib/{name}.dll", "{name}.dll.*")], "finds no file"),
        ([PATTERN, PATTERN], "finds no file"),
    ],
)
def test_a_rule_that_makes_no_sound_link_is_refused(rules: list[tuple[str, str]], cause: str) -> None:
    with pytest.raises(ConfigError, match=cause) as caught:
        links(*rules)
    assert caught.value.problems[0].place == "image.toml"
