"""Members of containers, deflated and inflated."""

import zlib

import gnu
from wire import Refused, check

GNU = 1 + 9 * 9 * 5 * 7
METHODS = GNU + 2 * 9
PIECE = 64 << 10

# What stock zlib makes of a sample: its length and CRC-32. Others write valid deflate, but choose other matches.
SAMPLE = b"".join(b"%d times %d is %d\n" % (n, n, n * n) for n in range(4_000))
STOCK = 36_411, 0xF9B9EC0D


def is_stock():
    packed = deflated(SAMPLE, 1 + 5 + 9 * 7)  # level 6, memory level 8: what is usual
    return (len(packed), zlib.crc32(packed)) == STOCK


def deflated(content, method):
    """What becomes of `content` by this method."""
    if method >= GNU:
        return gnu.deflated(content, method >= GNU + 9, (method - GNU) % 9 + 1)
    number = method - 1
    level, memory, strategy, window = number % 9 + 1, number // 9 % 9 + 1, number // 81 % 5, 15 - number // 405
    deflater = zlib.compressobj(level, zlib.DEFLATED, -window, memory, strategy)
    pieces = [deflater.compress(content[at : at + PIECE]) for at in range(0, len(content), PIECE)]
    return b"".join(pieces) + deflater.flush(zlib.Z_FINISH)


def inflated(data, most):
    """What is deflated at the beginning of `data`, `most` bytes at most; and how many bytes that took."""
    inflater = zlib.decompressobj(-15)
    try:
        content = inflater.decompress(data, most + 1)
    except zlib.error as error:
        raise Refused(f"a member cannot be inflated: {error}") from error
    check(inflater.eof and len(content) <= most, "a member is longer than it may be")
    return content, len(data) - len(inflater.unused_data)
