"""gzip files, to images and back."""

import struct
import zlib

from deflate import deflated, inflated
from wire import Reader, check

HAS_CHECKSUM, HAS_EXTRA, HAS_NAME, HAS_COMMENT = 2, 4, 8, 16


def pack(image, rows, most):
    data = bytearray()
    for row in rows:
        data += image.bytes(image.little(4))
        content = image.bytes(row.number)
        data += deflated(content, row.method) + trailer(content)
        check(len(data) <= most, "a packed container is too long")
    return bytes(data + image.rest())


def unpack(data, rows, most):
    image, at = bytearray([2]), 0
    for row in rows:
        begin = at + header_length(data[at:])
        image += struct.pack("<I", begin - at) + data[at:begin]
        content, packed = inflated(data[begin:], row.number)
        at = begin + packed + 8
        check(len(content) == row.number, "a gzip member has another length")
        check(data[at - 8 : at] == trailer(content), "what is behind a gzip member does not follow from it")
        image += content
        check(len(image) <= most, "an image is too long")
    return bytes(image + data[at:])


def trailer(content):
    return struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF)


def header_length(data):
    """The length of the header that a gzip member begins with."""
    reader = Reader(data, "the header of a gzip member")
    check(reader.bytes(3) == b"\x1f\x8b\x08", "this is no gzip member")
    flags = reader.byte()
    reader.bytes(6)
    if flags & HAS_EXTRA:
        reader.bytes(reader.little(2))
    for text in (HAS_NAME, HAS_COMMENT):
        while flags & text and reader.byte():
            pass
    if flags & HAS_CHECKSUM:
        reader.bytes(2)
    return reader.at
