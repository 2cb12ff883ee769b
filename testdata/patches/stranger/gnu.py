"""What gzip and zip packed, which is no zlib: the bytes and their repeats. How those are written is in `blocks`."""

from blocks import Block, Writer

LEVELS = {  # good, lazy, nice, places
    1: (4, 4, 8, 4),
    2: (4, 5, 16, 8),
    3: (4, 6, 32, 32),
    4: (4, 4, 16, 16),
    5: (8, 16, 32, 32),
    6: (8, 16, 128, 128),
    7: (8, 32, 128, 256),
    8: (32, 128, 258, 1_024),
    9: (32, 258, 258, 4_096),
}
HALF, LONGEST, AHEAD, REACH = 32_768, 258, 262, 32_506


def deflated(content, is_zip, level):
    return Packer(content, is_zip, level).run()


class Packer:
    def __init__(self, content, is_zip, level):
        self.good, self.lazy, self.nice, self.places = LEVELS[level]
        self.content, self.filled, self.is_zip, self.level = content, 0, is_zip, level
        self.window, self.at, self.ahead = bytearray(2 * HALF), 0, 0
        self.last, self.before = [0] * HALF, [0] * HALF
        self.writer, self.block, self.block_at = Writer(), Block(), 0
        self.found, self.waits = None, False

    def run(self):
        step = self.step_of_levels_1_to_3 if self.level <= 3 else self.step_of_levels_4_to_9
        self.fill()
        is_over = False
        while True:
            while self.ahead >= AHEAD or is_over and self.ahead:
                step()
            if is_over:
                break
            if self.at >= HALF + REACH:
                self.slide()
            is_over = self.filled == len(self.content)
            if is_over:
                end = self.at + self.ahead
                self.window[end : end + 2] = b"\0\0"
            else:
                self.fill()
        if self.waits:
            self.block.literal(self.window[self.at - 1])
        self.end_block(is_last=True)
        return self.writer.finish()

    def fill(self):
        end = self.at + self.ahead
        more = self.content[self.filled : self.filled + 2 * HALF - end]
        self.window[end : end + len(more)] = more
        self.filled += len(more)
        self.ahead += len(more)

    def slide(self):
        self.window[:HALF] = self.window[HALF:]
        self.at -= HALF
        self.block_at -= HALF
        self.last = [max(0, place - HALF) for place in self.last]
        self.before = [max(0, place - HALF) for place in self.before]

    def note(self, place):
        a, b, c = self.window[place : place + 3]
        digest = (1_024 * a ^ 32 * b ^ c) % HALF
        first = self.before[place % HALF] = self.last[digest]
        self.last[digest] = place
        return first

    def look(self, place, beaten):
        """The longest repeat of more than `beaten` bytes: its length and distance."""
        at = self.at
        if place == 0 or at - place > REACH or not self.is_zip and at > HALF + REACH:
            return None
        nice = min(self.nice, self.ahead) if self.is_zip else self.nice
        left = self.places // 4 if beaten >= self.good else self.places
        best, found = beaten, None
        while True:
            same = self.same(place, best)
            if same > best:
                best, found = same, at - place
                if same >= nice:
                    break
            place, left = self.before[place % HALF], left - 1
            if place == 0 or at - place >= REACH or left == 0:
                break
        length = min(best, self.ahead)
        return (length, found) if found and length >= 3 else None

    def same(self, place, beaten):
        """How many bytes are the same there and here, if that is more than `beaten`; else anything that is not."""
        there, here = self.window[place : place + LONGEST], self.window[self.at : self.at + LONGEST]
        if there[: beaten + 1] != here[: beaten + 1]:
            return 0
        # Zip comes close to the end of the window, but what is behind it does not matter there.
        pairs = zip(there, here)
        return next((n for n, (one, two) in enumerate(pairs) if one != two), min(len(there), len(here)))

    def step_of_levels_1_to_3(self):
        begin = self.at
        repeat = self.look(self.note(begin), 2)
        if repeat is None:
            self.block.literal(self.window[begin])
            length = 1
        else:
            self.block.repeat(*repeat)
            length = repeat[0]
            if length <= self.lazy:
                for place in range(begin + 1, begin + length):
                    self.note(place)
        is_over = self.is_block_over()
        self.skip(length)
        if is_over:
            self.end_block()

    def step_of_levels_4_to_9(self):
        known, self.found = self.found, None
        first = self.note(self.at)
        length = known[0] if known else 2
        if length < self.lazy:
            self.found = self.look(first, length)
            if self.found and self.found[0] == 3 and self.found[1] > 4_096:
                self.found = None
        is_over = False
        if known and (self.found is None or self.found[0] <= length):
            self.block.repeat(*known)
            is_over = self.is_block_over()
            for place in range(self.at + 1, self.at - 1 + length):
                self.note(place)
            self.found, self.waits = None, False
            self.skip(length - 1)
            if is_over:
                self.end_block()
            return
        if self.waits:
            self.block.literal(self.window[self.at - 1])
            if self.is_block_over():
                self.end_block()
        self.waits = True
        self.skip(1)

    def skip(self, length):
        self.at += length
        self.ahead -= length

    def is_block_over(self):
        return self.block.is_over(self.at - self.block_at, self.level > 2)

    def end_block(self, is_last=False):
        content = self.window[self.block_at : self.at] if self.block_at >= 0 else None
        self.writer.write(self.block, content, is_last)
        self.block, self.block_at = Block(), self.at
