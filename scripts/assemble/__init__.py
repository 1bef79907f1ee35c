"""assemble: files become layers. What a wheel puts into an image, and the one way in which files are packed."""

from scripts.assemble.groups import group
from scripts.assemble.layer import MTIME, WRITER, PackedLayer, layer_key, write_layer
from scripts.assemble.tree import Entry, bytecode_path, make_directory, make_file, make_symlink
from scripts.assemble.wheel import WheelFiles, read_wheel

__all__ = [
    "MTIME",
    "WRITER",
    "Entry",
    "PackedLayer",
    "WheelFiles",
    "bytecode_path",
    "group",
    "layer_key",
    "make_directory",
    "make_file",
    "make_symlink",
    "read_wheel",
    "write_layer",
]
