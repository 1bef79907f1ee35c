"""Blobs: nobody gets the last bytes of a wrong one; two are read at a time, and a failure stops all."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from scripts.errors import Undecided
from scripts.oci.blobs import Checked, read_blobs, read_json_blob
from scripts.oci.descriptor import LARGEST_JSON, Descriptor, describe
from scripts.oci.tar import Source

DATA = bytes(range(256)) * 10
BLOB = describe(DATA, "")


def drain(stream: Source, size: int) -> bytes:
    found = b""
    while data := stream.read(size):
        found += data
    return found


@pytest.mark.parametrize("size", [1, 100, 2560, 2561, 1 << 20])
def test_right_bytes_pass(size: int) -> None:
    assert drain(Checked(io.BytesIO(DATA), BLOB, "here"), size) == DATA
    assert drain(Checked(io.BytesIO(b""), describe(b"", ""), "here"), size) == b""


@pytest.mark.parametrize("size", [1, 100, 2560, 2561, 1 << 20])
@pytest.mark.parametrize(
    ("alter", "words"),
    [
        (lambda data: data[:-1], "has 2559 of 2560 bytes"),
        (lambda data: b"", "has 0 of 2560 bytes"),
        (lambda data: data + b"x", "has more than 2560 bytes"),
        (lambda data: b"x" + data[1:], "hashes to sha256:"),
    ],
)
def test_the_last_bytes_of_a_wrong_blob_never_come(size: int, alter: Callable[[bytes], bytes], words: str) -> None:
    stream = Checked(io.BytesIO(alter(DATA)), BLOB, "here")
    received = b""
    with pytest.raises(Undecided, match=words) as caught:
        while True:
            data = stream.read(size)
            assert data, "it ended as if all were well"
            received += data
            # One byte more can only be noticed when it is asked for.
            assert len(received) < len(DATA) or "more" in words
    assert caught.value.problems[0].place == "here" and BLOB.digest in str(caught.value)


@dataclass
class Memory:
    """Blobs in a dict, and how many were opened."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)

    def add(self, data: bytes) -> Descriptor:
        blob = describe(data, "")
        self.blobs[blob.digest] = data
        return blob

    def read_manifest(self, blob: Descriptor) -> bytes:
        return self.blobs[blob.digest]

    @contextmanager
    def open(self, blob: Descriptor) -> Iterator[Source]:
        self.opened.append(blob.digest)
        yield Checked(io.BytesIO(self.blobs[blob.digest]), blob, "here")


def test_each_distinct_blob_is_read_once_and_progress_is_told() -> None:
    store = Memory()
    blobs = [store.add(bytes([number]) * 1000) for number in range(5)]
    said: list[str] = []
    found = read_blobs([*blobs, *blobs], store, lambda blob, stream: drain(stream, 100)[:1], said.append)
    assert found == {blob.digest: bytes([number]) for number, blob in enumerate(blobs)}
    assert sorted(store.opened) == sorted(blob.digest for blob in blobs)
    assert said[-1] == "layer 5 of 5, 5.0 kB of 5.0 kB read"
    assert read_blobs([], store, lambda blob, stream: None, said.append) == {}


def test_a_failure_is_raised_and_stops_what_has_not_begun() -> None:
    store = Memory()
    blobs = [store.add(bytes([number]) * 1000) for number in range(50)]

    def read(blob: Descriptor, stream: Source) -> bytes:
        if blob is blobs[0]:
            raise Undecided("broken")
        return drain(stream, 10)

    with pytest.raises(Undecided, match="broken"):
        read_blobs(blobs, store, read, lambda text: None)
    assert len(store.opened) < len(blobs)


def test_a_document_is_read_whole_unless_it_is_none() -> None:
    store = Memory()
    assert read_json_blob(store, store.add(b"{}" * 1000), "here") == b"{}" * 1000
    with pytest.raises(Undecided, match="where a small JSON file belongs"):
        read_json_blob(store, Descriptor(BLOB.digest, LARGEST_JSON + 1, ""), "here")
    assert len(store.opened) == 1
