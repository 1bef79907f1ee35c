"""What names and numbers of a configuration look like: in letters and digits of ASCII, and short enough for a tag."""

from __future__ import annotations

import re

LONGEST_TAG = 128  # characters, by the registries' specification
LONGEST_NAME = 64  # characters: a tag has several names in it, and a file that is called by them 255 bytes
NAME = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")  # what a tag and a repository allow
VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,7}")
CUDA_LINE = re.compile(r"[1-9][0-9]?\.[0-9]{1,2}")
COMPUTE = re.compile(r"[1-9][0-9]?\.[0-9]")  # major and minor: no minor has had two digits, and names join the two
ADDRESS = re.compile(r"https://[!-~]{1,2000}")
LETTERS = "use lower-case letters, digits, `-`, `_` and `.`, and at most 64 of them"


def is_name(text: str) -> bool:
    """Whether a text can be part of a tag, a repository's name and a cell's id."""
    return len(text) <= LONGEST_NAME and NAME.fullmatch(text) is not None


def is_file_name(text: str) -> bool:
    """Whether a text can name a file in a folder, on every machine: nothing that leads elsewhere or cannot be seen."""
    return 0 < len(text.encode("utf-8", "replace")) <= 255 and is_path(text) and "/" not in text


def is_path(text: str) -> bool:
    """Whether a text is the path of a file below a folder, and leads nowhere else."""
    return (
        len(text) <= 1024
        and text.isascii()
        and text.isprintable()
        and "\\" not in text
        and all(part not in ("", ".", "..") for part in text.split("/"))
    )
