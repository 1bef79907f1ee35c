"""Provenance and SBOM: of which form, of which inputs, and the same bytes each time."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from scripts.attest.build import package_url
from scripts.attest.licences import read_licences
from scripts.attest.provenance import describe_build
from scripts.attest.sbom import list_contents
from scripts.files import canonical_json
from scripts.model import LockedFile
from tests.unit.attest import ARCHIVE, BUILD, DEB, SDIST, TREE, WHEEL, no_licences

DIGEST = "sha256:" + "1" * 64


@pytest.mark.parametrize(
    ("file", "url"),
    [
        (WHEEL, "pkg:pypi/some-thing@1.0%2Bcu128"),
        (SDIST, "pkg:pypi/kernels@2.0"),
        (DEB, "pkg:deb/debian/libstdc%2B%2B6@1:12.2-14%2Bb1?arch=amd64"),
    ],
)
def test_a_package_url_is_spelled_as_others_spell_it(file: LockedFile, url: str) -> None:
    assert package_url(file) == url
    assert PackageURL.from_string(url).to_string() == url


def test_an_archive_of_upstreams_has_no_package_url() -> None:
    assert package_url(ARCHIVE) == ""


# --- provenance


def test_provenance_names_every_input_by_its_hash() -> None:
    made = describe_build(BUILD, DIGEST)
    definition = made["buildDefinition"]
    assert definition["externalParameters"] == BUILD.parameters
    assert definition["resolvedDependencies"] == [
        {"name": "cutlass", "uri": f"git+{TREE.repository}@{TREE.commit}", "digest": {"gitCommit": TREE.commit}},
        {"name": SDIST.file, "uri": package_url(SDIST), "digest": {"sha256": SDIST.sha256}},
        {"name": DEB.file, "uri": package_url(DEB), "digest": {"sha256": DEB.sha256}},
        {"name": ARCHIVE.file, "uri": ARCHIVE.url, "digest": {"sha256": ARCHIVE.sha256}},
        {"name": WHEEL.file, "uri": package_url(WHEEL), "digest": {"sha256": WHEEL.sha256}},
    ]
    run = made["runDetails"]
    assert run["metadata"] == {"invocationId": BUILD.build_id}
    assert run["byproducts"] == [{"name": "sbom", "digest": {"sha256": "1" * 64}}]
    assert ":" in definition["buildType"] and ":" in run["builder"]["id"], "they are URIs"


def test_provenance_does_not_depend_on_an_order() -> None:
    other = replace(BUILD, packages=BUILD.packages[::-1], sources=BUILD.sources[::-1])
    assert canonical_json(describe_build(other, DIGEST)) == canonical_json(describe_build(BUILD, DIGEST))


# --- SBOM


def validate(document: object) -> list[str]:
    problems = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document), all_errors=True)
    return [str(problem) for problem in problems or ()]


def test_the_list_of_contents_is_of_the_standards_form() -> None:
    document = list_contents(BUILD, DIGEST, lambda file: ("MIT", "odd words (of ours)"))
    assert validate(document) == []
    assert validate(document | {"specVersion": 6}), "the validator is one"


def test_it_lists_what_is_in_the_image_and_not_what_that_was_made_from() -> None:
    document = list_contents(BUILD, DIGEST, no_licences)
    components = {each["name"]: each for each in document["components"]}
    assert components.keys() == {"Some.Thing", "libstdc++6", "nvcc", "kernels"}
    assert components["Some.Thing"]["hashes"] == [{"alg": "SHA-256", "content": WHEEL.sha256}]
    assert components["Some.Thing"]["purl"] == package_url(WHEEL)
    assert "licenses" not in components["Some.Thing"] and "purl" not in components["nvcc"]
    assert components["kernels"]["version"] == "2.0+cu128.sm120"
    assert components["kernels"]["properties"] == [{"name": "hallmark:compiled", "value": "f" * 64}]
    assert document["metadata"]["component"]["bom-ref"] == DIGEST


def test_it_lists_a_file_once_and_in_one_order() -> None:
    other = replace(BUILD, packages=(*BUILD.packages[::-1], WHEEL))
    listed = canonical_json(list_contents(other, DIGEST, no_licences))
    assert listed == canonical_json(list_contents(BUILD, DIGEST, no_licences))


# --- licences


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ("License-Expression: Apache-2.0 OR MIT\nLicense: other\n", ("Apache-2.0 OR MIT",)),
        ("License: BSD-3-Clause\nClassifier: License :: OSI Approved :: MIT License\n", ("BSD-3-Clause",)),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\n", ("MIT License",)),
        (f"License: {'x' * 101}\n", ()),
        ("License: Copyright\n  of many lines\nClassifier: License :: B\nClassifier: License :: A\n", ("A", "B")),
        ("Classifier: Topic :: Other\n", ()),
        ("", ()),
    ],
)
def test_a_wheel_says_its_licences_in_one_of_three_ways(fields: str, found: tuple[str, ...], tmp_path: Path) -> None:
    metadata = f"Metadata-Version: 2.4\nName: a\nVersion: 1\n{fields}\nLicense: in the text below\n"
    write(tmp_path / "wheel", metadata, "a-1.dist-info")
    assert read_licences(tmp_path / "wheel") == found
    write(tmp_path / "wheel", metadata, "a-1.dist-info", "b-1.dist-info")
    assert read_licences(tmp_path / "wheel") == (), "of two that claim to be it, neither is"


def write(path: Path, metadata: str, *folders: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for folder in folders:
            archive.writestr(f"{folder}/METADATA", metadata)
        archive.writestr("a/b.dist-info/METADATA", "License: of something inside")


def test_of_a_wheel_that_is_not_there_or_is_none_nothing_is_said(tmp_path: Path) -> None:
    assert read_licences(tmp_path / "wheel") == ()
    (tmp_path / "wheel").write_bytes(b"no archive")
    assert read_licences(tmp_path / "wheel") == ()
