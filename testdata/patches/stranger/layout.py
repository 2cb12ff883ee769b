"""The layouts of an output: where executables lie in it, and where what lies in both, on disk and in memory."""

from bisect import bisect_right
from collections import namedtuple

from wire import check

LAYOUTS_MAX, REGIONS_MAX, PARTS_MAX = 1_024, 256, 65_536
EXECUTABLE_MAX = 2 << 30
ADDRESS_MAX = (1 << 62) - 1
KINDS = 18

Region = namedtuple("Region", "place length address size")
Part = namedtuple("Part", "kind begin end")  # a table of the old executable, or a range of the new one
Layout = namedtuple("Layout", "begin end base offset old_length old new tables ranges")


class Space:
    """One of both executables: its regions, found by place and by address."""

    def __init__(self, image_base, regions):
        self.image_base, self.regions = image_base, regions
        self.by_place = sorted((region.place, n) for n, region in enumerate(regions) if region.length)
        self.by_address = sorted((region.address, n) for n, region in enumerate(regions) if extent(region))

    def region_at(self, place):
        """The number of the region that a place in the file belongs to, if any."""
        number = last_up_to(self.by_place, place)
        if number is None or place >= self.regions[number].place + self.regions[number].length:
            return None
        return number

    def address_of(self, place):
        """The address of a place in the file, if it has one."""
        number = self.region_at(place)
        return None if number is None else self.regions[number].address + place - self.regions[number].place

    def region_of(self, address):
        """The number of the region that has an address, or ends there."""
        number = last_up_to(self.by_address, address)
        if number is None or address > self.regions[number].address + extent(self.regions[number]):
            return None
        return number

    def place_of(self, address):
        """The place in the file of what has an address, if there is one."""
        number = self.region_of(address)
        if number is None:
            return None
        region = self.regions[number]
        distance = address - region.address
        return region.place + distance if distance < region.length else None


def extent(region):
    """How many addresses a region has."""
    return max(region.size, region.length)


def last_up_to(begins, value):
    """Of pairs of a beginning and a number, in order: the number of the last that begins at `value` or before."""
    at = bisect_right(begins, (value, REGIONS_MAX))
    return begins[at - 1][1] if at else None


def read_layouts(reader, bases, length):
    """The layouts of an output of `length` bytes. `bases` are the lengths of the bases, or of their images."""
    layouts, end, parts = [], 0, 0
    for _ in range(reader.count(LAYOUTS_MAX, "layouts")):
        layout = read_layout(reader, bases, end)
        end = layout.end
        parts += len(layout.tables) + len(layout.ranges)
        check(end <= length, "an executable is not in its output")
        check(parts <= PARTS_MAX, "there are too many ranges and tables")
        layouts.append(layout)
    return layouts


def read_layout(reader, bases, before):
    begin = before + reader.varint()
    length = reader.count(EXECUTABLE_MAX, "bytes of an executable")
    base, offset = reader.varint(), reader.varint()
    old_length = reader.count(EXECUTABLE_MAX, "bytes of an executable")
    check(base < len(bases) and offset + old_length <= bases[base], "an old executable is not in its base")
    check(length > 0, "an executable is empty")
    old_image, new_image = (reader.count(ADDRESS_MAX, "as an image base") for _ in range(2))
    old_regions, new_regions = read_regions(reader, old_length, length)
    tables, ranges = read_parts(reader, old_length), read_parts(reader, length)
    check(sum(table.end - table.begin for table in tables) <= 4 * length, "the tables of an executable are too long")
    old, new = Space(old_image, old_regions), Space(new_image, new_regions)
    return Layout(begin, begin + length, base, offset, old_length, old, new, tables, ranges)


def read_regions(reader, *lengths):
    """The regions of the old and of the new executable, which have these lengths."""
    both, last = ([], []), [Region(0, 0, 0, 0)] * 2
    for _ in range(reader.count(REGIONS_MAX, "regions")):
        for side, regions in enumerate(both):
            before = last[side]
            place = before.place + before.length + reader.zigzag()
            length = reader.varint()
            address = before.address + before.size + reader.zigzag()
            size = length + reader.zigzag()
            check(0 <= place and place + length <= lengths[side], "a region is not in its file")
            check(0 <= address <= ADDRESS_MAX and 0 <= size <= ADDRESS_MAX, "an address is too large")
            last[side] = Region(place, length, address, size)
            regions.append(last[side])
    return both


def read_parts(reader, length):
    """The tables or ranges of an executable of `length` bytes."""
    parts, end = [], 0
    for _ in range(reader.count(PARTS_MAX, "ranges")):
        kind, begin = reader.byte(), end + reader.varint()
        end = begin + reader.varint()
        check(kind < KINDS, f"a range of kind {kind} is not known")
        check(begin < end <= length, "a range is empty, or not in its file")
        parts.append(Part(kind, begin, end))
    return parts
