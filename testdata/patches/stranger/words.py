"""The method `words`: a word becomes what it became last."""

import re

WORD = re.compile(rb"[A-Za-z0-9_$]{1,24}")


class Words:
    def __init__(self):
        self.memory = {}  # by place: the word that was copied last, and what it became

    def copied(self, old, differences):
        """What a copy of `old` becomes."""
        new, at = bytearray(), 0
        for word in WORD.finditer(old):
            new += differences.added(old[at : word.start()])
            new += self.word(word.group(), differences)
            at = word.end()
        return new + differences.added(old[at:])

    def word(self, word, differences):
        place = place_of(word)
        last, became = self.memory.get(place, (None, None))
        new = differences.added(became if last == word else word)
        self.memory[place] = word, new
        return new


def place_of(word):
    """The FNV-1a hash of 32 bits, its upper half XORed with its lower."""
    fnv = 0x811C9DC5
    for byte in word:
        fnv = (fnv ^ byte) * 0x01000193 & 0xFFFFFFFF
    return fnv >> 16 ^ fnv & 0xFFFF
