"""Containers: their parameters; and archives become images, and images archives."""

import zlib
from collections import namedtuple

import gzips
import zips
from deflate import METHODS, is_stock
from wire import Reader, check

NO_IMAGE, ZIP, GZIP = range(3)
ROWS_MAX = 262_144

Parameters = namedtuple("Parameters", "kind rows")
Row = namedtuple("Row", "number method")  # of members in a row, or of inflated bytes


def read_parameters(reader):
    """The parameters of a container; None for what is taken as it is."""
    kind = reader.byte()
    check(kind <= GZIP, f"a container of kind {kind} is not known")
    if kind == NO_IMAGE:
        return None
    rows = [Row(reader.varint(), reader.varint()) for _ in range(reader.count(ROWS_MAX, "rows of parameters"))]
    for n, row in enumerate(rows):
        check(row.method < METHODS and (row.method or kind == ZIP), "a method of a member is not known")
        is_last = n + 1 == len(rows)
        check(kind == GZIP or (row.number == 0) == is_last, "the last row holds for all others, and only that one")
    return Parameters(kind, rows)


def unpack(data, parameters, length):
    """The image of a container, which has this length."""
    image = (zips if parameters.kind == ZIP else gzips).unpack(data, parameters.rows, length)
    check(len(image) == length, "an image has another length")
    return image


def pack(image, parameters, length):
    """The container of this length that an image becomes."""
    check(is_stock(), f"the zlib of this Python, {zlib.ZLIB_RUNTIME_VERSION}, packs otherwise than stock zlib: use another Python")
    reader = Reader(image, "an image")
    check(reader.byte() == parameters.kind, "an image is of another kind")
    data = (zips if parameters.kind == ZIP else gzips).pack(reader, parameters.rows, length)
    check(len(data) == length, "a packed container has another length")
    return data
