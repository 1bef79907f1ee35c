"""Names as people give them to `docker pull`."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.errors import ConfigError
from scripts.reference import parse_image

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "full", "reference"),
    [
        ("ubuntu", "docker.io/library/ubuntu:latest", "latest"),
        ("ubuntu:24.04", "docker.io/library/ubuntu:24.04", "24.04"),
        ("lmsysorg/sglang:latest", "docker.io/lmsysorg/sglang:latest", "latest"),
        ("docker.io/ubuntu", "docker.io/library/ubuntu:latest", "latest"),
        ("index.docker.io/a/b", "docker.io/a/b:latest", "latest"),
        ("nvcr.io/nvidia/pytorch:25.09-py3", "nvcr.io/nvidia/pytorch:25.09-py3", "25.09-py3"),
        ("host:5000/a", "host:5000/a:latest", "latest"),
        ("host:5000", "docker.io/library/host:5000", "5000"),  # so Docker reads it, too
        ("localhost/a:b", "localhost/a:b", "b"),
        ("[::1]:5000/a", "[::1]:5000/a:latest", "latest"),
        ("Host/a", "Host/a:latest", "latest"),
        (f"host:5000/a/b@{DIGEST}", f"host:5000/a/b@{DIGEST}", DIGEST),
        (f"ubuntu:24.04@{DIGEST}", f"docker.io/library/ubuntu:24.04@{DIGEST}", DIGEST),
        ("a.b/c/d_e:V-1.0_x", "a.b/c/d_e:V-1.0_x", "V-1.0_x"),
    ],
)
def test_a_name_means_what_docker_takes_it_for(text: str, full: str, reference: str) -> None:
    name = parse_image(text)
    assert (str(name), name.reference) == (full, reference)
    assert parse_image(full) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "@",
        "ubuntu:",
        "ubuntu@",
        "ubuntu@sha256:12",
        "ubuntu@sha512:" + "0" * 128,
        "Ubuntu",
        "owner/Image",
        "https://ghcr.io/a/b",
        "a b",
        "/a",
        "a/",
        "host:5000/",
        "user:password@host/a",
        "ubuntu:.x",
        f"a@{DIGEST}@{DIGEST}",
        "ubuntu\n",
        "../a",
        "./wheels",
    ],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not an image's name") as caught:
        parse_image(text)
    assert caught.value.problems[0].next_step


@given(st.text("aB0.:/[]-_@\n", max_size=40))
def test_any_text_is_a_name_that_stays_the_same_spelled_out_or_is_refused(text: str) -> None:
    with suppress(ConfigError):
        assert parse_image(str(parse_image(text))) == parse_image(text)
