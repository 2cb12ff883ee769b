"""Numbers, and the coders of streams."""

import lzma

DICTIONARY_MAX = 23  # as a power of two


class Refused(Exception):
    """The patch, or what it is applied to, is not what the format allows."""


def check(holds, what):
    if not holds:
        raise Refused(what)


def unzigzag(number):
    """From 0, 1, 2, 3, 4 and so on: 0, -1, 1, -2, 2."""
    return number >> 1 ^ -(number & 1)


class Reader:
    """Bytes that are read from the first to the last."""

    def __init__(self, data, what):
        self.data, self.what, self.at = data, what, 0

    @property
    def left(self):
        return len(self.data) - self.at

    def is_at_end(self):
        return self.left == 0

    def end(self):
        check(self.is_at_end(), f"{self.what}: bytes are left over")

    def bytes(self, length):
        check(length <= self.left, f"{self.what}: bytes are missing")
        self.at += length
        return self.data[self.at - length : self.at]

    def rest(self):
        return self.bytes(self.left)

    def byte(self):
        return self.bytes(1)[0]

    def little(self, length):
        return int.from_bytes(self.bytes(length), "little")

    def big(self, length):
        return int.from_bytes(self.bytes(length), "big")

    def varint(self):
        """LEB128 in its shortest form, of 64 bits at most."""
        number = shift = 0
        while True:
            byte = self.byte()
            number |= (byte & 0x7F) << shift
            check(number < 1 << 64, f"{self.what}: a number has more than 64 bits")
            if byte < 0x80:
                check(byte or not shift, f"{self.what}: a number has a needless byte")
                return number
            shift += 7

    def zigzag(self):
        return unzigzag(self.varint())

    def count(self, most, what):
        number = self.varint()
        check(number <= most, f"{self.what}: {number} {what} are too many")
        return number


def read_coder(reader):
    """A coder: None for raw bytes, else what `lzma` calls a filter."""
    kind = reader.byte()
    check(kind <= 1, f"a coder {kind} is not known")
    if kind == 0:
        return None
    properties, power = reader.byte(), reader.byte()
    lc, lp, pb = properties % 9, properties // 9 % 5, properties // 45
    check(lc + lp <= 4 and pb <= 4, "LZMA does not have these properties here")
    check(power <= DICTIONARY_MAX, "a dictionary is too large")
    # Python wants 4 KiB at least, and a larger dictionary decodes the same.
    return {"id": lzma.FILTER_LZMA1, "lc": lc, "lp": lp, "pb": pb, "dict_size": max(4_096, 1 << power)}


def decode(coder, coded, length, what):
    """The `length` bytes that `coded` holds."""
    if coder is None:
        check(len(coded) == length, f"{what}: raw bytes have two lengths")
        return coded
    try:
        data = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[coder]).decompress(coded, length)
    except lzma.LZMAError as error:
        raise Refused(f"{what}: {error}") from error
    check(len(data) == length, f"{what}: bytes are missing")
    return data
