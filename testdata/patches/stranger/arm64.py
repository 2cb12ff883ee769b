"""Code of arm64: which instructions refer to something, and to what."""

from tape import WIDE

REACH = 64
PAGE = 4_096
ADDRESSES_END = 1 << 64

# Which bits of an instruction are looked at, what they are, and what that means. The first that fits counts.
BRANCH, ADR, ADRP, IN_PAGE = range(4)
ADD_MASK, ADD = 0xFFC00000, 0x91000000  # immediate, of 64 bits, not shifted
INSTRUCTIONS = [
    (0x7C000000, 0x14000000, BRANCH, 0, 26),  # B, BL
    (0xFF000000, 0x54000000, BRANCH, 5, 19),  # B.cond
    (0x7E000000, 0x34000000, BRANCH, 5, 19),  # CBZ, CBNZ
    (0x3B000000, 0x18000000, BRANCH, 5, 19),  # LDR (literal)
    (0x7E000000, 0x36000000, BRANCH, 5, 14),  # TBZ, TBNZ
    (0x9F000000, 0x10000000, ADR, None, None),
    (0x9F000000, 0x90000000, ADRP, None, None),
    (ADD_MASK, ADD, IN_PAGE, 10, 12),
    (0x3B000000, 0x39000000, IN_PAGE, 10, 12),  # loads and stores
]
CALL_MASK, CALL = 0xFC000000, 0x94000000
SPLIT = 0x60FFFFE0


class Instruction:
    def __init__(self, word):
        self.word, self.what = word, None
        for mask, value, what, at, bits in INSTRUCTIONS:
            if word & mask == value:
                self.what, self.at, self.bits = what, at, bits
                break
        self.is_call = word & CALL_MASK == CALL
        self.target_register, self.base_register = word & 31, word >> 5 & 31

    @property
    def mask(self):
        """The bits that say what it refers to."""
        return SPLIT if self.what in (ADR, ADRP) else (1 << self.bits) - 1 << self.at

    @property
    def value(self):
        """What those bits say. In ADR and ADRP the lowest two are elsewhere; places in a page are never negative."""
        if self.what in (ADR, ADRP):
            return signed((self.word >> 5 & 0x7FFFF) << 2 | self.word >> 29 & 3, 21)
        value = self.word >> self.at & (1 << self.bits) - 1
        return value if self.what == IN_PAGE else signed(value, self.bits)

    def with_value(self, value):
        """The instruction with other such bits."""
        bits = (value & 3) << 29 | (value >> 2 & 0x7FFFF) << 5 if self.what in (ADR, ADRP) else value << self.at
        return self.word & ~self.mask | bits & self.mask

    @property
    def scale(self):
        """The unit of a place in a page, as a power of two: 16 bytes at most, as much as a load loads."""
        if self.word & ADD_MASK == ADD:
            return 0
        return 4 if self.word & 0x04800000 == 0x04800000 else self.word >> 30

    @property
    def place_in_page(self):
        return self.value << self.scale

    def page(self, address):
        return (address // PAGE + self.value) * PAGE % ADDRESSES_END

    def target(self, address, pages, behind):
        """What it refers to, if that can be told. `behind` are the bytes behind it."""
        if self.what == BRANCH:
            return (address + 4 * self.value) % ADDRESSES_END
        if self.what == ADR:
            return (address + self.value) % ADDRESSES_END
        if self.what == ADRP:
            register = self.target_register
            users = (user for user in each(behind) if user.what == IN_PAGE and user.base_register == register)
            return (self.page(address) + next((user.place_in_page for user in users), 0)) % ADDRESSES_END
        page = pages.held_by(self.base_register, address) if self.what == IN_PAGE else None
        return None if page is None else (page + self.place_in_page) % ADDRESSES_END

    def aimed(self, address, target):
        """The same instruction at `address` when it refers to `target`."""
        if self.what == BRANCH:
            return self.with_value(target - address >> 2)
        if self.what == ADR:
            return self.with_value(target - address)
        if self.what == ADRP:
            return self.with_value(target // PAGE - address // PAGE)
        return self.with_value(target % PAGE >> self.scale)

    def really(self, address, target):
        """What it refers to if it was expected to refer to `target`."""
        if self.what == ADRP:
            return self.page(address) | target % PAGE
        if self.what == IN_PAGE:
            return target // PAGE * PAGE + self.place_in_page
        return self.target(address, None, b"")


class Pages:
    """The pages that registers hold in the old executable, as far as the instructions before tell, of the same copy."""

    def __init__(self):
        self.copy, self.held = None, {}

    def enter(self, copy):
        if copy != self.copy:
            self.copy, self.held = copy, {}

    def note(self, instruction, address):
        if instruction.what == ADRP:
            self.held[instruction.target_register] = instruction.page(address), address + REACH

    def held_by(self, register, address):
        page, end = self.held.get(register, (None, 0))
        return page if address < end else None


def make(part):
    while part.left >= 4:
        if not predict(part):
            make_new(part)


def predict(part):
    """Makes the next instruction if it can be predicted, and tells whether it could."""
    executable, tape = part.executable, part.tape
    place = executable.from_base(4)
    if place is None:
        return False
    old, new = executable.old.address_of(place), executable.new.address_of(part.place)
    if old is None or new is None:
        return False
    source, left = tape.next()
    bytes_ = tape.old.bytes(source, min(left, 4 + REACH))
    instruction, behind = first(bytes_), bytes_[4:]
    executable.pages.enter(tape.number())
    target = instruction.target(old, executable.pages, behind)
    executable.pages.note(instruction, old)
    went = None if target is None else executable.went(target)
    if went is None:
        return False
    predicted = instruction.aimed(new, went)
    tape.put(predicted + tape.references.correction(), 4)
    made = first(tape.out[-4:])
    if made.word != predicted and (made.word ^ predicted) & ~instruction.mask == 0:
        executable.learn(target, made.really(new, went))
    return True


def make_new(part):
    """Makes the next instruction as it is told; a new call or ADRP is told by where it leads."""
    address = part.executable.new.address_of(part.place)
    if address is None or not part.tape.are_inserted(4):
        part.operand(4)
        return
    told = first(part.tape.streams.inserted(4, WIDE))
    word = told.word
    if told.is_call:
        word = told.with_value(told.value - address // 4)
    elif told.what == ADRP:
        word = told.with_value(told.value - address // PAGE)
    part.tape.put(word, 4)


def signed(value, bits):
    return value - (1 << bits) if value >> bits - 1 else value


def first(data):
    return Instruction(int.from_bytes(data[:4], "little"))


def each(data):
    return (first(data[at:]) for at in range(0, len(data) - 3, 4))
