from __future__ import annotations

from typing import Any

import pytest

from scripts.oci.descriptor import OCI_MANIFEST, Descriptor, describe, is_digest, parse_descriptor, parse_object

DIGEST = "sha256:" + "0" * 64


def test_a_descriptor_survives_the_way_to_json_and_back() -> None:
    made = describe(b"hello", OCI_MANIFEST)
    assert made.size == 5 and made.digest.startswith("sha256:2cf24dba5fb0a30e")
    assert parse_descriptor(made.to_json()) == made
    assert parse_descriptor(made.to_json() | {"annotations": {}, "urls": []}) == made


def test_a_descriptor_without_a_media_type_has_none() -> None:
    assert parse_descriptor({"digest": DIGEST, "size": 0}) == Descriptor(DIGEST, 0, "")


@pytest.mark.parametrize(
    "digest",
    [
        "sha256:../../x",
        "sha256:" + "../" * 21 + "a",
        "sha256:" + "0" * 63,
        "sha256:" + "0" * 65,
        "sha256:" + "A" * 64,
        "sha256:" + "0" * 64 + "\n",
        "sha512:" + "0" * 64,
        "../blobs:" + "0" * 64,
        "",
        None,
        1,
        [DIGEST],
    ],
)
def test_a_digest_that_could_be_a_path_is_none(digest: Any) -> None:
    assert not is_digest(digest)
    with pytest.raises(ValueError, match="where a sha256 digest belongs"):
        parse_descriptor({"digest": digest, "size": 1})


@pytest.mark.parametrize("size", [None, -1, True, 1.5, "1", 1 << 63, 10**400])
def test_a_size_is_a_number_of_bytes(size: Any) -> None:
    with pytest.raises(ValueError, match="where a size in bytes belongs"):
        parse_descriptor({"digest": DIGEST, "size": size})


def test_a_media_type_is_a_text() -> None:
    with pytest.raises(ValueError, match="where a media type belongs"):
        parse_descriptor({"digest": DIGEST, "size": 1, "mediaType": {"a": 1}})


@pytest.mark.parametrize("entry", [None, [], "x", 1])
def test_what_is_no_object_is_no_descriptor(entry: Any) -> None:
    with pytest.raises(ValueError, match="digest"):
        parse_descriptor(entry)


@pytest.mark.parametrize("data", [b"", b"[]", b"1", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a JSON object"):
        parse_object(data)
