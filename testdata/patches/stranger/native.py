"""The method `native`: executables, whose references are found and predicted."""

from bisect import bisect_left, bisect_right
from collections import namedtuple
from heapq import heappop, heappush

import arm64
import ranges
from layout import read_layouts
from pointers import pointers
from tape import OPERAND, OTHER, WIDE, References, Tape

LAYOUTS, CALLS, JUMPS, ADDRESSES, STEPS = 3, 6, 7, 8, 9  # streams
LEARNED_MAX = 1_048_576
ADDRESSES_END = 1 << 64
CHAINED = (1 << 36) - 1

# What the value of a reference counts from.
NOTHING, OWN, BEHIND, REGION, NAMES, ANCHOR, IMAGE = range(7)

# A kind of reference: how many bytes it has; whether its value is signed, and what that counts from; the stream that
# tells a new one, if any; and the lane that its bytes are in if it is neither told nor predicted.
Form = namedtuple("Form", "width is_signed start told lane")
FORMS = {
    "relative": Form(4, True, OWN, None, OTHER),
    "call": Form(4, True, BEHIND, CALLS, OPERAND),
    "jump": Form(4, True, BEHIND, JUMPS, OPERAND),
    "operand": Form(4, True, BEHIND, ADDRESSES, OPERAND),
    "short": Form(4, False, NOTHING, None, WIDE),
    "based": Form(4, False, IMAGE, None, WIDE),
    "pointer": Form(8, False, NOTHING, None, OTHER),
    "chained": Form(8, False, IMAGE, None, OTHER),
    "from image": Form(4, False, IMAGE, None, OTHER),
    "from region": Form(4, True, REGION, None, OTHER),
    "from": Form(4, True, ANCHOR, None, OTHER),
    "name": Form(4, False, NAMES, None, OTHER),
    "back": Form(4, False, OWN, None, OTHER),
    "step": Form(4, False, IMAGE, STEPS, OTHER),
}


class Native:
    """Makes the outputs of a group."""

    def __init__(self, streams, old, instructions):
        self.streams, self.old, self.instructions = streams, old, instructions
        self.layouts, self.references = streams.reader(LAYOUTS), References(streams)

    def output(self, length):
        layouts = read_layouts(self.layouts, [len(base) for base in self.old.bases], length)
        tape = Tape(self.streams, self.references, self.old, self.instructions, length, not layouts)
        for layout in layouts:
            tape.take(layout.begin - tape.at, OTHER)
            Executable(tape, layout).make()
        tape.take(length - tape.at, OTHER)
        return bytes(tape.out)


class Moves:
    """Where copies moved the places of an old executable."""

    def __init__(self, copies):
        """A copy is an old place, a new place and a length; they are in the order of the new places."""
        ahead = sorted(range(len(copies)), key=lambda n: copies[n][0], reverse=True)
        edges = sorted({edge for old, _, length in copies for edge in (old, old + length)})
        self.begins, self.parts, open = [], [], []
        for begin, end in zip(edges, edges[1:]):
            while ahead and copies[ahead[-1]][0] <= begin:
                number = ahead.pop()
                heappush(open, (-copies[number][2], number))
            while open and copies[open[0][1]][0] - open[0][0] <= begin:
                heappop(open)
            if open:
                old, new, _ = copies[open[0][1]]
                self.begins.append(begin)
                self.parts.append((begin, end, new - old))

    def moved(self, place):
        """Where a place went, or would have gone with what is nearest; None if nothing was copied."""
        at = bisect_right(self.begins, place)
        near = [(max(0, place - end), by) for _, end, by in self.parts[max(0, at - 1) : at]]
        near += [(begin - place, by) for begin, _, by in self.parts[at : at + 1]]
        return max(0, place + min(near, key=lambda part: part[0])[1]) if near else None


class Executable:
    """A new executable while it is made, and its old one. Places in either count from where it begins."""

    def __init__(self, tape, layout):
        self.tape, self.layout = tape, layout
        self.old, self.new = layout.old, layout.new
        self.old_begin = tape.old.begins[layout.base] + layout.offset
        self.old_length = layout.old_length
        self.moves = Moves([copy for copy in map(self.own_part, tape.pieces) if copy])
        self.pages = arm64.Pages()
        self.learned = {}  # by the old address of a target, its new one
        self.pointers = pointers(self.old_bytes(0, self.old_length), layout.tables, layout.old)

    def own_part(self, piece):
        """The part of a piece that is copied from the old executable into this one."""
        at, source, length = piece
        if source is None:
            return None
        old, new = source - self.old_begin, at - self.layout.begin
        skip = max(0, -old, -new)
        end = min(length, self.old_length - old, self.layout.end - self.layout.begin - new)
        return (old + skip, new + skip, end - skip) if skip < end else None

    def old_bytes(self, place, length):
        return self.tape.old.bytes(self.old_begin + place, length)

    @property
    def place(self):
        return self.tape.at - self.layout.begin

    def make(self):
        for number, part in enumerate(self.layout.ranges):
            self.plain(part.begin)
            ranges.make(self, part, self.layout.ranges[number + 1 :])
            self.plain(part.end)
        self.plain(self.layout.end - self.layout.begin)

    def plain(self, end):
        """Makes bytes up to the place `end` that nobody looks at; some are pointers that the old tables name."""
        while self.place < end:
            place, left = self.tape.next()
            count = min(left, end - self.place)
            distance, kind = self.next_pointer(place) if place is not None else (count, None)
            if distance > 0:
                self.tape.take(min(distance, count), OTHER)
            elif FORMS[kind].width > count or not self.predict(kind):
                self.tape.take(min(FORMS[kind].width, count), OTHER)

    def next_pointer(self, place):
        """How far behind a place of the old image the next pointer lies that the old tables name, and its kind."""
        at = bisect_left(self.pointers, (max(0, place - self.old_begin), ""))
        if at == len(self.pointers):
            return ADDRESSES_END, None
        return self.pointers[at][0] + self.old_begin - place, self.pointers[at][1]

    def from_base(self, width):
        """The place of the next bytes in the old executable, if one instruction copies all of them from there."""
        place = self.tape.copied(width)
        if place is None or not 0 <= place - self.old_begin <= self.old_length - width:
            return None
        return place - self.old_begin

    def went(self, target):
        """The new address of what had the address `target`; None if nothing had."""
        number = self.old.region_of(target)
        if number is None or target in self.learned:
            return self.learned.get(target)
        old, new = self.old.regions[number], self.new.regions[number]
        place = self.old.place_of(target)
        if place is None:
            return (new.address + target - old.address) % ADDRESSES_END
        moved = self.moves.moved(place)
        if moved is None:
            return None
        address = self.new.address_of(moved)
        return (new.address + moved - new.place) % ADDRESSES_END if address is None else address

    def learn(self, target, went):
        if target in self.learned or len(self.learned) < LEARNED_MAX:
            self.learned[target] = went % ADDRESSES_END

    def start(self, kind, space, place, detail):
        """What the value of a reference at `place` counts from; None if that is not there."""
        start = FORMS[kind].start
        if start == REGION:
            number = space.region_at(place)
            return None if number is None else space.regions[number].address
        if start == NAMES:
            return None if detail is None else space.regions[detail].address
        if start in (NOTHING, IMAGE):
            return space.image_base if start == IMAGE else 0
        address = space.address_of(detail if start == ANCHOR else place)
        return address if address is None or start != BEHIND else address + 4 + detail

    def predict(self, kind, detail=0):
        """Makes the next reference if it can be predicted, and tells whether it could."""
        width, place = FORMS[kind].width, self.from_base(FORMS[kind].width)
        if place is None:
            return False
        old_detail = place - (self.place - detail) if FORMS[kind].start == ANCHOR else detail
        old_start = self.start(kind, self.old, place, old_detail)
        new_start = self.start(kind, self.new, self.place, detail)
        if old_start is None or new_start is None:
            return False
        old_value = int.from_bytes(self.old_bytes(place, width), "little")
        target = target_of(kind, old_start, old_value)
        went = self.went(target)
        if went is None:
            return False
        correction = self.tape.references.correction()
        self.tape.put(value_of(kind, new_start, went, old_value) + correction, width)
        if correction % (1 << 8 * width):
            self.learn(target, target_of(kind, new_start, int.from_bytes(self.tape.out[-width:], "little")))
        return True

    def is_told(self):
        """Whether the next four bytes are new, or copied from elsewhere than the old executable."""
        if self.tape.are_inserted(4):
            return True
        place = self.tape.copied(4)
        return place is not None and not 0 <= place - self.old_begin < self.old_length

    def width(self, kind):
        return FORMS[kind].width

    def reference(self, kind, detail=0):
        """Makes the next reference, and answers with its value.

        `detail` is what its kind needs to know: how many bytes are between it and the end of its instruction, the place
        that it counts from, the number of the region of the names, or the offset that a step is told from.
        """
        begin, form = self.tape.at, FORMS[kind]
        start = -detail if kind == "step" else self.start(kind, self.new, self.place, detail)
        if not self.predict(kind, detail):
            if form.told and start is not None and self.is_told():
                self.tape.put(self.tape.streams.reader(form.told).big(4) - start, 4)
            elif form.lane == WIDE:
                self.tape.take_operand(4)
            else:
                self.tape.take(form.width, form.lane)
        return int.from_bytes(self.tape.out[begin:], "little")


def target_of(kind, start, value):
    """What a value refers to."""
    if kind == "chained":
        value &= CHAINED
    if FORMS[kind].is_signed and value >> 31:
        value -= 1 << 32
    return (start - value if kind == "back" else start + value) % ADDRESSES_END


def value_of(kind, start, target, old_value):
    """What refers to `target`, and was `old_value`."""
    if kind == "chained":
        return old_value & ~CHAINED | (target - start) & CHAINED
    return start - target if kind == "back" else target - start
