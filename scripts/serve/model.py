"""What is to be served: a folder of this machine, or a name on a model hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from scripts.errors import ConfigError

MOUNTED_AT = "/model"
USER = 1000  # as which the images run
DESCRIPTIONS = ("config.json", "params.json")  # one of them is in each folder that an engine can load
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True)
class Model:
    """What the engine is to load: `folder` is None for a name on a hub. Requests ask for it by `name`."""

    name: str
    folder: Path | None

    @property
    def place(self) -> str:
        """Where the engine finds it."""
        return MOUNTED_AT if self.folder else self.name


def read_model(text: str) -> Model:
    """The model that a word of the command line means. Raises ConfigError for what no engine could load."""
    path = Path(text).expanduser()
    if path.is_dir():
        folder = path.resolve()
        check_folder(folder)
        return Model(folder.name, folder)
    if path.exists():
        raise ConfigError("is a file", text, "name the folder of a model, or a model's name on a hub")
    if not _HUB_NAME.fullmatch(text):
        raise ConfigError("is no folder of this machine, and no name on a model hub", text, "such as Qwen/Qwen3-0.6B")
    return Model(text, None)


def check_folder(folder: Path) -> None:
    """Raises ConfigError where a container that has this folder and nothing else could not load it."""
    if not any((folder / name).exists() for name in DESCRIPTIONS):
        raise ConfigError(f"has no {' and no '.join(DESCRIPTIONS)}", str(folder), "name the folder of a whole model")
    for path in (folder, *sorted(folder.rglob("*"))):
        if not path.resolve().is_relative_to(folder):
            step = "make a folder of plain files: `cp -rL` this one, or `hf download NAME --local-dir FOLDER`"
            raise ConfigError(
                "a link that leads out of the model's folder, which the container sees alone", str(path), step
            )
        state = path.stat()
        needed = 0o5 if path.is_dir() else 0o4
        if state.st_uid != USER and state.st_mode & needed != needed:
            step = f"chmod -R a+rX {folder}"
            raise ConfigError(f"cannot be read by user {USER}, as which the server runs", str(path), step)
