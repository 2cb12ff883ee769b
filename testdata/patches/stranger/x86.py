"""Code of x86-64: where the operands of an instruction lie, and which of them are references."""

from collections import namedtuple

from part import Cut
from tape import CODE

# What follows an opcode:
#   .  nothing                           m  ModRM
#   b  a byte                            n  ModRM and a byte
#   w  two bytes                         o  ModRM and four bytes, or two
#   e  three bytes                       p  ModRM, and a byte if its register field is 0 or 1
#   z  four bytes, or two                q  ModRM, and four bytes, or two, if its register field is 0 or 1
#   v  as z, but eight with REX.W        r  ModRM that always names registers
#   a  eight bytes, or four with 67      j  the four bytes of a branch's target
ONE = (
    "mmmmbz..mmmmbz.." "mmmmbz..mmmmbz.." "mmmmbz..mmmmbz.." "mmmmbz..mmmmbz.."  # 00
    "................" "................" "...m....zobn...." "bbbbbbbbbbbbbbbb"  # 40
    "nonnmmmmmmmmmmmm" "................" "aaaa....bz......" "bbbbbbbbvvvvvvvv"  # 80
    "nnw...noe.w..b.." "mmmm....mmmmmmmm" "bbbbbbbbjj.b...." "......pq......mm"  # C0
)
TWO = (
    "mmmm.........m.n" "mmmmmmmmmmmmmmmm" "rrrr....mmmmmmmm" "................"  # 00
    "mmmmmmmmmmmmmmmm" "mmmmmmmmmmmmmmmm" "mmmmmmmmmmmmmmmm" "nnnnmmm.mm..mmmm"  # 40
    "jjjjjjjjjjjjjjjj" "mmmmmmmmmmmmmmmm" "...mnmrr...mnmmm" "mmmmmmmmmmnmmmmm"  # 80
    "mmnmnnnm........" "mmmmmmmmmmmmmmmm" "mmmmmmmmmmmmmmmm" "mmmmmmmmmmmmmmmm"  # C0
)
PREFIXES = {0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3, *range(0x40, 0x50)}
PREFIXES_MAX = 14

# `displacement` and `immediate` are lengths. `branch` is None, "call" or "jump"; `scale` that of an index, or None.
Operands = namedtuple("Operands", "displacement is_relative scale immediate branch")


def measure(next):
    """What follows the next instruction's opcode, ModRM and SIB, which `next` gives byte by byte."""
    small_operand = small_address = is_wide = False
    byte = next()
    for _ in range(PREFIXES_MAX):
        if byte not in PREFIXES:
            break
        small_operand |= byte == 0x66
        small_address |= byte == 0x67
        is_wide = byte & 0xF8 == 0x48  # REX counts only right before the opcode.
        byte = next()
    follow = opcode(byte, next)
    size = 2 if small_operand and not is_wide else 4
    if follow == "j":
        return Operands(0, False, None, 4, "call" if byte == 0xE8 else "jump")
    if follow in ".bwezvar":
        if follow == "r":
            next()
        wide = 8 if is_wide else size
        lengths = {".": 0, "r": 0, "b": 1, "w": 2, "e": 3, "z": size, "v": wide, "a": 4 if small_address else 8}
        return Operands(0, False, None, lengths[follow], None)
    modrm = next()
    mode, register, memory = modrm >> 6, modrm >> 3 & 7, modrm & 7
    sib = next() if mode < 3 and memory == 4 else None
    base = (memory if sib is None else sib) & 7
    displacement = 1 if mode == 1 else 4 if mode == 2 or mode == 0 and base == 5 else 0
    scale = sib >> 6 if sib is not None and mode == 2 and sib >> 3 & 7 != 4 else None
    immediate = {"m": 0, "n": 1, "o": size, "p": 1 if register < 2 else 0, "q": size if register < 2 else 0}[follow]
    return Operands(displacement, mode == 0 and memory == 5, scale, immediate, None)


def opcode(byte, next):
    if byte == 0x0F:
        second = next()
        if second in (0x38, 0x3A):
            next()
            return "m" if second == 0x38 else "n"
        return TWO[second]
    if byte == 0xC5:  # VEX with a byte behind it, VEX with two, EVEX with three: their map, then the opcode
        next()
        return vector(1, next())
    if byte == 0xC4:
        map = next() & 0x1F
        next()
        return vector(map, next())
    if byte == 0x62:
        map = next() & 0x07
        next(), next()
        return vector(map, next())
    return ONE[byte]


def vector(map, opcode):
    if map == 3 or map == 1 and (opcode in range(0x70, 0x74) or opcode in (0xC2, 0xC4, 0xC5, 0xC6)):
        return "n"
    return "." if (map, opcode) == (1, 0x77) else "m"


RANGES = X86, X86_FIXED, X86_PE = 0, 1, 13
TABLES_MAX = 4_096
BYTES, TARGETS = 0, 2  # what an instruction that multiplies by 1 or 4 reads from, by its scale


def make(part, range_):
    if range_.kind == X86_PE:
        CodeWithTables(part, range_).make()
    while part.left:
        try:
            instruction(part, range_.kind)
        except Cut:
            continue  # What does not fit into the range is read as another instruction.


def instruction(part, kind):
    """Makes an instruction. If it may read from a table: the table's offset from the image's base, and the scale."""
    operands = measure(lambda: part.byte(CODE))
    table = None
    if operands.branch:
        part.reference(operands.branch)
        return None
    if operands.is_relative:
        part.reference("operand", operands.immediate)
    elif kind == X86_FIXED and operands.displacement == 4:
        part.reference("short")
    elif kind == X86_PE and operands.scale is not None:
        table = part.reference("based"), operands.scale
    else:
        part.operand(operands.displacement)
    if kind == X86_FIXED and operands.immediate == 4:
        part.reference("short")
    else:
        part.operand(operands.immediate)
    return table


class CodeWithTables:
    """Code of a PE file, with the tables that it jumps by in between."""

    def __init__(self, part, range_):
        self.part, self.range = part, range_
        self.ahead = {}  # of what is a table, by place
        self.targets = 0  # of the last table of targets

    def make(self):
        part = self.part
        while part.left:
            while self.ahead and min(self.ahead) < part.place:
                del self.ahead[min(self.ahead)]
            what = self.ahead.pop(part.place, None)
            try:
                if what == TARGETS:
                    self.make_targets()
                elif what == BYTES:
                    self.make_bytes()
                elif table := instruction(part, X86_PE):
                    self.note(*table)
            except Cut:
                continue

    def place(self, offset):
        """The place of what is at an offset from the image's base, if that is in the range."""
        place = self.part.executable.new.place_of(self.part.executable.new.image_base + offset)
        return place if place is not None and self.range.begin <= place < self.range.end else None

    def note(self, offset, scale):
        place = self.place(offset)
        if place is not None and place > self.part.place and scale in (BYTES, TARGETS) and len(self.ahead) < TABLES_MAX:
            self.ahead.setdefault(place, scale)

    def make_targets(self):
        count = 0
        while self.place(self.part.reference("from image")) is not None and self.part.place not in self.ahead:
            count += 1
        self.targets = count

    def make_bytes(self):
        while self.part.byte() < self.targets and self.part.place not in self.ahead:
            pass
