"""Where a library lies among what is installed, whatever stands above that."""

from __future__ import annotations

import pytest

from scripts.audit.place import find_places

PACKAGES = "opt/venv/lib/python3.11/site-packages"


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (f"{PACKAGES}/torch/lib/a.so", "torch/lib/a.so"),
        ("usr/lib/python3/dist-packages/torch/a.so", "torch/a.so"),
        ("site-packages/torch/a.so", "torch/a.so"),
        ("torch/lib/a.so", "torch/lib/a.so"),
        ("opt/other/torch/lib/a.so", "opt/other/torch/lib/a.so"),
        ("opt/venv/lib/thing.so", "lib/thing.so"),
        ("opt/venv2/lib/thing.so", "opt/venv2/lib/thing.so"),
        (f"{PACKAGES}/evil/lib/python3/site-packages/torch/a.so", "evil/lib/python3/site-packages/torch/a.so"),
        ("my-site-packages/torch/a.so", "my-site-packages/torch/a.so"),
        ("wheels/torch-2.0-cp311-cp311-linux_x86_64.whl/torch/lib/a.so", "torch/lib/a.so"),
        ("thing-1.0.data/data/lib/a.so", "lib/a.so"),
        ("thing-1.0.data/platlib/thing/a.so", "thing/a.so"),
        ("thing-1.0.data/scripts/tool", "thing-1.0.data/scripts/tool"),
    ],
)
def test_a_place_is_where_the_distribution_put_it(path: str, place: str) -> None:
    assert find_places([path, f"{PACKAGES}/other.so"])[path] == place
