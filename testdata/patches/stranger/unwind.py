"""What a PE file needs to unwind its functions: `.pdata`, and the unwind information that it names."""

from part import Cut

CHAINED = 4


def functions(part):
    end = information = 0
    while part.left >= 12:
        _, end, information = function(part, end, information)


def function(part, begin, information):
    """Where a function begins and ends, and its unwind information; `begin` and `information` are what is told from."""
    begin = part.reference("step", begin)
    end = part.reference("step", begin)
    return begin, end, part.reference("step", information)


def information(part):
    begin = info = handler = 0
    while part.left >= 4:
        head = word(part)
        version, flags, codes = head & 7, head >> 3 & 31, 2 * ((head >> 16 & 255) + 1 & ~1)
        if version not in (1, 2) or flags > CHAINED or codes > part.left:
            continue
        part.plain(codes)
        try:
            if flags == CHAINED:
                begin, _, info = function(part, begin, info)
            elif flags:
                handler = part.reference("step", handler)
        except Cut:
            continue


def word(part):
    """Four bytes that are looked at, although they may be an offset that `.pdata` leads to."""
    place, _ = part.tape.next()
    is_pointer = place is not None and part.executable.next_pointer(place) == (0, "from image")
    if is_pointer and part.executable.predict("from image"):
        return int.from_bytes(part.tape.out[-4:], "little")
    return part.number(4)
