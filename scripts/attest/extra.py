"""Sigstore's library, which is an extra: whoever needs it and has it not is told how to get it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from scripts.errors import Undecided


@contextmanager
def needing_sigstore() -> Iterator[None]:
    """Around an import of `scripts.attest.keyless`. Raises Undecided where the library is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        cause = "signatures without a key need Sigstore's library, which is not installed"
        raise Undecided(cause, "keyless", "install the extra: .venv/bin/pip install '.[keyless]'") from error
