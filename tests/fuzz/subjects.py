"""All subjects, by name."""

from __future__ import annotations

from tests.fuzz import code, engines, images, layers, said, tables, wheels
from tests.fuzz.subject import Subject

SUBJECTS: dict[str, Subject] = {
    subject.name: subject
    for module in (code, wheels, layers, images, said, engines, tables)
    for subject in module.SUBJECTS
}
