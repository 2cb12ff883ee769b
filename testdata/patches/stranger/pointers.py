"""The pointers of an old executable that its tables name."""

from wire import Reader

RELA, RELR, RELOC, PDATA = 2, 6, 8, 14
POINTERS_MAX = 4_194_304
DIR64 = 10
HEADERS, SCOPES_MAX = 4_096, 4_096
FUNCTION_INFO = range(0x19930520, 0x19930523)


def pointers(old, tables, space):
    """The places of pointers in an old executable, in order, and which kind of reference each is."""
    found = Found(old, space)
    for table in tables:
        reader = Reader(old[table.begin : table.end], "a table")
        if table.kind == RELA:
            found.addresses(relocations(reader))
        elif table.kind == RELR:
            found.addresses(packed_relocations(reader))
        elif table.kind == RELOC:
            found.addresses(space.image_base + offset for offset in base_relocations(reader))
        elif table.kind == PDATA:
            found.unwinding(reader)
    # Where both kinds are told for a place, the pointer comes first.
    return sorted(set(found.pointers), key=lambda pointer: (pointer[0], pointer[1] != "pointer"))


def relocations(reader):
    while reader.left >= 24:
        yield reader.little(8)
        reader.bytes(16)


def packed_relocations(reader):
    """An even entry is an address; the bits of an odd one tell of the 63 words behind the last."""
    behind = 0
    while reader.left >= 8:
        entry = reader.little(8)
        if entry & 1:
            yield from (behind + 8 * n for n in range(63) if entry >> n + 1 & 1)
            behind += 8 * 63
        else:
            yield entry
            behind = entry + 8


def base_relocations(reader):
    """Blocks: the offset of a page, the length of the block, and two bytes for each place in the page."""
    while reader.left >= 8:
        page, length = reader.little(4), reader.little(4)
        for _ in range(min(max(0, length - 8), reader.left) // 2):
            entry = reader.little(2)
            if entry >> 12 == DIR64:
                yield page + (entry & 0xFFF)


class Found:
    """Pointers that were found. Those of unwind information are offsets from the image's base, modulo 2^32."""

    def __init__(self, old, space):
        self.old, self.space, self.pointers = old, space, []

    @property
    def is_full(self):
        return len(self.pointers) == POINTERS_MAX

    def addresses(self, addresses):
        for address in addresses:
            if self.is_full:
                break
            place = self.space.place_of(address % (1 << 64))
            if place is not None:
                self.pointers.append((place, "pointer"))

    def place(self, offset):
        """The place of four bytes, if all of them are in the file."""
        address = self.space.image_base + offset % (1 << 32)
        first = self.space.place_of(address)
        return first if first is not None and self.space.place_of(address + 3) == first + 3 else None

    def number(self, offset):
        place = self.place(offset)
        return None if place is None else int.from_bytes(self.old[place : place + 4], "little")

    def pointer(self, offset):
        """Adds the pointer at an offset, and answers with its value; None if it is not in the file."""
        value = self.number(offset)
        if value is not None and not self.is_full:
            self.pointers.append((self.place(offset), "from image"))
        return value

    def rows(self, table, count, width, pointers, then=None):
        """Rows of `width` numbers, of which some are pointers, until one is not in the file."""
        for row in range(table, table + 4 * width * count, 4 * width):
            for n in pointers:
                if self.is_full or self.pointer(row + 4 * n) is None:
                    return
            if then:
                then(row)

    def unwinding(self, reader):
        """What the functions of a `.pdata` lead to."""
        offsets = set()
        while reader.left >= 12:
            reader.bytes(8)
            offsets.add(reader.little(4))
        for offset in sorted(offsets):
            if not self.is_full:
                self.information(offset)

    def information(self, offset):
        head = self.number(offset)
        if head is None:
            return
        flags, codes = head >> 3 & 31, (head >> 16 & 255) + 1 & ~1
        behind = offset + 4 + 2 * codes
        if flags == 4:
            for n in range(3):
                self.pointer(behind + 4 * n)
        elif 1 <= flags <= 3:
            self.pointer(behind)
            self.handled(behind + 4)

    def handled(self, offset):
        """What the handler of a function knows."""
        value = self.number(offset)
        if value is None:
            return
        magic = self.number(value) if value >= HEADERS else None
        if magic is not None:
            self.pointer(offset)
            if magic & 0x1FFFFFFF in FUNCTION_INFO:
                self.function_info(value)
            return
        first, second = self.number(offset + 4), self.number(offset + 8)
        if None not in (first, second) and first < second and self.place(second) is not None and value <= SCOPES_MAX:
            self.rows(offset + 4, value, 4, (0, 1, 2, 3))

    def function_info(self, offset):
        unwinds, unwind_map = self.number(offset + 4), self.pointer(offset + 8)
        tries, try_map = self.number(offset + 12), self.pointer(offset + 16)
        states, state_map = self.number(offset + 20), self.pointer(offset + 24)
        self.pointer(offset + 32)
        if unwinds is not None and unwind_map is not None:
            self.rows(unwind_map, unwinds, 2, (1,))
        if states is not None and state_map is not None:
            self.rows(state_map, states, 2, (0,))
        if tries is not None and try_map is not None:
            self.rows(try_map, tries, 5, (4,), self.handlers)

    def handlers(self, row):
        count, table = self.number(row + 12), self.number(row + 16)
        if count is not None and table is not None:
            self.rows(table, count, 5, (1, 3))
