"""What an ELF file needs to unwind its functions: `.eh_frame`, and the index of it."""

from collections import namedtuple

from part import Cut, Part

COMMON_MAX, LETTERS_MAX = 4_096, 8
RELATIVE, INDIRECT = 0x1B, 0x9B

# How the entries that name a common entry write where their function begins, and what there is to know of it.
Encoding = namedtuple("Encoding", "function data")


def index(part):
    part.number(4)
    part.reference("relative")
    part.number(4)
    part.row("from region")


def entries(part):
    common = {}
    while part.left >= 8:
        begin, length = part.place, part.number(4)
        if not 4 <= length <= min(part.left, 0xFFFFFFFE):
            return
        entry = Part(part.executable, part.place + length)
        try:
            make_entry(entry, begin, common)
        except Cut:
            pass
        entry.plain(entry.left)


def make_entry(entry, begin, common):
    place, back = entry.place, entry.reference("back")
    if back == 0:
        encoding = common_entry(entry)
        if encoding and len(common) < COMMON_MAX:
            common[begin] = encoding
    elif place - back in common:
        function_entry(entry, common[place - back])


def common_entry(entry):
    """What is in front of the entries of functions; how these write addresses, if that can be told."""
    entry.byte()  # version
    letters = bytearray()
    while letter := entry.byte():
        if len(letters) == LETTERS_MAX:
            return None
        letters.append(letter)
    for _ in range(3):  # two alignments, and where the return address is
        entry.leb()
    function = data = None
    if letters[:1] == b"z":
        entry.leb()
        for letter in letters[1:].decode("latin-1"):
            if letter == "R":
                function = entry.byte()
            elif letter == "L":
                data = entry.byte()
            elif letter == "P" and entry.byte() in (RELATIVE, INDIRECT):
                entry.reference("relative")
            elif letter not in "SBG":
                break
    return Encoding(function, data)


def function_entry(entry, encoding):
    if encoding.function != RELATIVE:
        return
    entry.reference("relative")
    entry.number(4)
    if encoding.data == RELATIVE and entry.byte() == 4:
        entry.reference("relative")
