"""Taking whole pages out of the middle of a shared object, while every address in it stays what it was.

The segment that holds `.nv_fatbin` becomes two: one up to the end of what is kept, one from the page in which the
section used to end. Between them nothing is mapped. What follows in the file moves up by whole pages.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain

from scripts.slim.elf.shared_object import (
    PAGE,
    PF_WRITE,
    PT_GNU_PROPERTY,
    PT_NOTE,
    PT_NULL,
    PT_PHDR,
    SEGMENT,
    SHF_COMPRESSED,
    SHT_PROGBITS,
    Section,
    Segment,
    SharedObject,
    Untouchable,
)
from scripts.slim.elf.shared_object import SECTION as SECTION_HEADER


@dataclass(frozen=True)
class Cut:
    """What goes: of the source's bytes, those from `start` to `resume`, for which `padding` zeros come.

    The bytes of `.nv_fatbin` from `resume` on are unused, too, and to be zeros; `segments` is the new table.
    """

    start: int
    resume: int
    padding: int
    segments: tuple[Segment, ...]

    @property
    def size(self) -> int:
        return self.resume - self.start - self.padding

    def move(self, offset: int) -> int:
        """Where in the new file something lies that the section's end or more was its offset in the old one."""
        return offset - self.size if offset >= self.resume else offset


def plan_cut(shared: SharedObject, fatbin: Section, kept: int) -> Cut:
    """How to shorten `fatbin` to its first `kept` bytes. Raises Untouchable where that is not possible or no gain."""
    load = _holder(shared, fatbin)
    _check_neighbours(shared, fatbin, load)
    end = fatbin.address + fatbin.size
    resume = end - end % PAGE
    first_free = -(-(fatbin.address + kept) // PAGE) * PAGE
    # Offsets have to equal addresses modulo each segment's alignment, after the cut as before it.
    align = max(segment.align for segment in shared.loads)
    size = (resume - first_free) // align * align
    if size <= 0:
        raise Untouchable(f"what it could do without is less than {align} bytes")
    ahead = resume - load.address  # how much of the old segment comes before the second one
    first = replace(load, file_size=fatbin.address + kept - load.address, memory_size=0)
    first = replace(first, memory_size=first.file_size)
    second = replace(
        load,
        offset=load.offset + ahead,
        address=resume,
        physical=load.physical + ahead,
        file_size=load.file_size - ahead,
        memory_size=load.memory_size - ahead,
    )
    start, resume_offset = fatbin.offset + kept, second.offset
    cut = Cut(start, resume_offset, resume_offset - start - size, ())
    segments = _replace_load(shared, load, [first, second] if second.memory_size else [first])
    moved = (replace(segment, offset=cut.move(segment.offset)) for segment in segments)
    return replace(cut, segments=tuple(moved))


def _holder(shared: SharedObject, fatbin: Section) -> Segment:
    """The one segment that maps the section."""
    if fatbin.kind != SHT_PROGBITS or fatbin.flags & SHF_COMPRESSED:
        raise Untouchable(f"{fatbin.name} is of a kind of its own")
    holders = [load for load in shared.loads if load.offset < fatbin.end and fatbin.offset < load.end]
    if len(holders) != 1:
        raise Untouchable(f"{len(holders)} segments map {fatbin.name}")
    [load] = holders
    if load.flags & PF_WRITE:
        raise Untouchable(f"{fatbin.name} can be written to")
    inside = load.offset <= fatbin.offset and fatbin.end <= load.end
    if not inside or fatbin.offset - load.offset != fatbin.address - load.address:
        raise Untouchable(f"{fatbin.name} is not where its segment has it")
    return load


def _check_neighbours(shared: SharedObject, fatbin: Section, load: Segment) -> None:
    """Nothing else may have bytes in the section, or begin in it."""
    tables = [
        (shared.segment_table, shared.segment_table + len(shared.segments) * SEGMENT.size),
        (shared.section_table, shared.section_table + len(shared.sections) * SECTION_HEADER.size),
    ]
    segments = [(segment.offset, segment.end) for segment in shared.segments if segment is not load]
    sections = [(section.offset, section.end) for section in shared.sections if section is not fatbin]
    for start, end in chain(tables, segments, sections):
        if (start < fatbin.end and fatbin.offset < end) or fatbin.offset < start < fatbin.end:
            raise Untouchable(f"something else lies in {fatbin.name}")


def _replace_load(shared: SharedObject, load: Segment, parts: list[Segment]) -> list[Segment]:
    """The table of program headers with a segment's parts in its place.

    One header more has to come from somewhere. In order of preference: the table grows into unused bytes behind it
    (patchelf leaves some); an entry without meaning; PT_GNU_PROPERTY, whose note a PT_NOTE lists as well, as the loader
    did before there was a header for it (it says whether IBT and shadow stacks work, nothing else); at last a PT_NOTE.
    No loader needs the notes of a library, which hold its build id; its sections still name them.
    """
    segments = [part for segment in shared.segments for part in (parts if segment is load else [segment])]
    if len(parts) == 1:
        return segments
    if _has_room(shared):
        growth = SEGMENT.size
        return [
            replace(segment, file_size=segment.file_size + growth, memory_size=segment.memory_size + growth)
            if segment.kind == PT_PHDR
            else segment
            for segment in segments
        ]
    notes = [segment for segment in segments if segment.kind == PT_NOTE]
    properties = [segment for segment in segments if segment.kind == PT_GNU_PROPERTY]
    spare = [segment for segment in segments if segment.kind == PT_NULL]
    spare += [each for each in properties if any(note.offset <= each.offset and each.end <= note.end for note in notes)]
    spare += [note for note in reversed(notes) if not any(note.offset <= each.offset < note.end for each in properties)]
    if not spare:
        raise Untouchable("no program header is free for the second half of a segment")
    segments.remove(spare[0])
    return segments


def _has_room(shared: SharedObject) -> bool:
    """Whether the bytes behind the table of program headers belong to nothing, and are all the same."""
    start = shared.segment_table + len(shared.segments) * SEGMENT.size
    end = start + SEGMENT.size
    table_end = shared.section_table + len(shared.sections) * SECTION_HEADER.size
    used = [(section.offset, section.end) for section in shared.sections] + [(shared.section_table, table_end)]
    mapped = [load for load in shared.loads if load.offset <= shared.segment_table and end <= load.end]
    used += [(segment.offset, segment.end) for segment in shared.segments if segment not in mapped]
    used = [(first, last) for first, last in used if first < last]
    free = all(last <= start or end <= first for first, last in used)
    return bool(mapped) and free and len(set(shared.data[start:end])) == 1
