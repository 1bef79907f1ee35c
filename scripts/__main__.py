"""`python -m scripts VERB`: the command line, which hears Ctrl-C from the first moment, before it imports anything."""

from __future__ import annotations

import os
import sys

# Not `signal`, which defines its names by `enum`: that takes longer than all else until Ctrl-C is heard.
from _signal import SIGINT, default_int_handler, getsignal, signal  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_INTERRUPTED = 130  # as ExitCode has it, whose module would have to be imported first


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the process's exit code (see `scripts.command`)."""
    before = getsignal(SIGINT)
    if before is default_int_handler:  # there is nothing to tidy up yet, and nothing to say of where it was
        signal(SIGINT, lambda *_: os._exit(_INTERRUPTED))
    try:
        from scripts.command import main as run_command
    finally:
        signal(SIGINT, before)
    return run_command(arguments)


if __name__ == "__main__":
    sys.exit(main())
