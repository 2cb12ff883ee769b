"""The ranges of an executable: which of their bytes are references."""

import arm64
import frames
import unwind
import x86
from part import Cut, Part

RELA, SYM, EH_FRAME, EH_FRAME_HDR, RELR, PE_TABLE, RELOC, JUMP_TABLE, WORDS, ARM64, CHAINED = range(2, 13)
PDATA, GUARDS, UNWIND, NAMES = range(14, 18)

# The types of relocations whose `r_addend` is an address.
RELATIVE_TYPES = {8, 37, 1027}


def make(executable, range_, later):
    """Makes the bytes of a range, as far as there is something to look at. `later` are the ranges behind it."""
    part, kind = Part(executable, range_.end), range_.kind
    try:
        if kind in x86.RANGES:
            x86.make(part, range_)
        elif kind == RELA:
            relocations(part)
        elif kind == SYM:
            symbols(part, next((other.begin for other in later if other.kind == NAMES), None))
        elif kind == EH_FRAME:
            frames.entries(part)
        elif kind == EH_FRAME_HDR:
            frames.index(part)
        elif kind in (RELR, WORDS):
            part.row("pointer")
        elif kind == CHAINED:
            part.row("chained")
        elif kind == PE_TABLE:
            part.row("from image")
        elif kind == JUMP_TABLE:
            part.row("from", range_.begin)
        elif kind == ARM64:
            arm64.make(part)
        elif kind == PDATA:
            unwind.functions(part)
        elif kind == GUARDS:
            guards(part)
        elif kind == UNWIND:
            unwind.information(part)
    except Cut:
        pass


def relocations(part):
    while part.left >= 24:
        part.reference("pointer")
        if part.number(8) & 0xFFFFFFFF in RELATIVE_TYPES:
            part.reference("pointer")
        else:
            part.plain(8)


def symbols(part, names):
    new = part.executable.new
    region = None if names is None else new.region_at(names)
    while part.left >= 24:
        if names is None:
            part.number(4)
        else:
            part.reference("name", region)
        if part.number(4) >> 16:  # st_shndx
            part.reference("pointer")
            part.plain(8)
        else:
            part.plain(16)


def guards(part):
    while part.left >= 5:
        part.reference("from image")
        part.plain(1)
