"""An output of the method `native` while it comes into being, and where its bytes come from."""

from bisect import bisect_right

from wire import check, unzigzag

COPIES_MAX = 1_048_576
GAPS, DIFFERING = 4, 5  # the streams of references that differ
OTHER, CODE, OPERAND, WIDE = range(4)  # the lanes


class References:
    """What the streams of a group say of references that were predicted."""

    def __init__(self, streams):
        self.gaps, self.differing = streams.reader(GAPS), streams.reader(DIFFERING)
        self.next_gap()

    def next_gap(self):
        """How many references are as predicted; None for all that are left."""
        self.gap = None if self.gaps.is_at_end() else self.gaps.varint()

    def correction(self):
        """What is added to the next reference."""
        if self.gap == 0:
            correction = unzigzag(self.differing.varint())
            self.next_gap()
            return correction
        if self.gap is not None:
            self.gap -= 1
        return 0


class Tape:
    """The bytes of an output from its beginning to `at`, and all of its instructions."""

    def __init__(self, streams, references, old, instructions, length, is_plain):
        self.streams, self.references, self.old = streams, references, old
        self.out = bytearray()
        # Where each piece begins; and the same, with where it is copied from (None if it is inserted) and its length.
        self.begins, self.pieces = [], []
        at = copies = 0
        while at < length:
            inserted, place, copied = instructions.next(length - at)
            copies += copied > 0
            check(is_plain or copies <= COPIES_MAX, "an output with executables has too many copies")
            for source, count in ((None, inserted), (place, copied)):
                if count:
                    self.begins.append(at)
                    self.pieces.append((at, source, count))
                    at += count

    @property
    def at(self):
        return len(self.out)

    def number(self):
        """The number of the piece that the next byte is of."""
        return bisect_right(self.begins, self.at) - 1

    def next(self):
        """Where the next byte is copied from, None if it is inserted; and how many bytes of its piece are left."""
        begin, source, count = self.pieces[self.number()]
        done = self.at - begin
        return (None if source is None else source + done), count - done

    def copied(self, length):
        """The place of the next `length` bytes, if one instruction copies all of them."""
        place, left = self.next()
        return place if left >= length else None

    def are_inserted(self, length):
        """Whether all of the next `length` bytes are new, by however many instructions."""
        end, number = self.at + length, self.number()
        while number < len(self.pieces) and self.begins[number] < end:
            if self.pieces[number][1] is not None:
                return False
            number += 1
        return True

    def put(self, number, width):
        """Makes the next bytes: a number, modulo what fits."""
        self.out += (number & (1 << 8 * width) - 1).to_bytes(width, "little")

    def take(self, length, lane):
        """Makes the next bytes: inserted ones, and copied ones that are predicted as they were."""
        begin = self.at
        while length:
            place, left = self.next()
            count = min(left, length)
            if place is None:
                self.out += self.streams.inserted(count, lane)
            else:
                self.out += self.streams.differences[lane].added(self.old.bytes(place, count))
            length -= count
        return bytes(self.out[begin:])

    def take_operand(self, length):
        """Makes the next bytes, an operand. One of four bytes that come from one place has a lane of its own."""
        is_whole = self.copied(length) is not None or self.are_inserted(length)
        return self.take(length, WIDE if length == 4 and is_whole else OPERAND)
