"""lock: every input by content hash. Checking needs no network; updating resolves anew."""

from scripts.lock.lockfile import Lock
from scripts.lock.slots import (
    Slot,
    all_slots,
    check_slots,
    component_slot,
    image_slot,
    read_slot,
    recipe_slot,
    suite_slot,
    tools_slot,
)

__all__ = [
    "Lock",
    "Slot",
    "all_slots",
    "check_slots",
    "component_slot",
    "image_slot",
    "read_slot",
    "recipe_slot",
    "suite_slot",
    "tools_slot",
]
