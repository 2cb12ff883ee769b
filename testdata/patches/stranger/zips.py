"""Zip files, to images and back."""

import struct
import zlib
from collections import namedtuple

from deflate import deflated, inflated
from wire import Reader, check

MEMBERS_MAX, DIRECTORY_MAX, TABLE_MAX = 262_144, 64 << 20, 32 << 20
KEPT_MAX = 4 << 20
COMMENT_MAX = 65_535
WORD = 0xFFFFFFFF
ENCRYPTED, FOLLOWED = 1, 8  # flags
STORED, DEFLATED = 0, 8  # methods

# The records of a zip. Two fields that one column tells are one number here.
LOCAL, ENTRY, END = struct.Struct("<4sIHIIIIHH"), struct.Struct("<4sHIHIIIIHHHIII"), struct.Struct("<4sIHHIIH")
LOCATOR, END64 = struct.Struct("<4sIQI"), struct.Struct("<4s36xQQ")
Local = namedtuple("Local", "signature needed method time crc packed length name extra")
Entry = namedtuple(
    "Entry",
    "signature made_by needed method time crc packed length name extra comment internal external place",
)
End = namedtuple("End", "signature disks here entries length place comment")
Sizes = namedtuple("Sizes", "crc packed length")
NOTHING = Sizes(0, 0, 0)

# An image: what it begins with, and the columns of its table. Three columns of sizes are each in a row.
IMAGE, RUN, MEMBER = struct.Struct("<IIII"), struct.Struct("<II"), struct.Struct("<IH")
COLUMNS = (
    "needed method time extra crc packed length made_by entry_needed entry_method entry_time entry_crc entry_packed"
    " entry_length entry_extra comment internal external place order told_crc told_packed told_length descriptor behind"
)
Row = namedtuple("Row", COLUMNS)

DESCRIPTORS = [struct.Struct(form) for form in ("<", "<4sIII", "<4sIQQ", "<III", "<IQQ")]


def descriptor(form, sizes):
    """What follows a member whose sizes were not known in front of it."""
    check(form < len(DESCRIPTORS), "a descriptor is not known")
    fields = [b"PK\7\10", *sizes] if form in (1, 2) else sizes if form else []
    return DESCRIPTORS[form].pack(*fields)


def plus(numbers, others):
    return [one + other & WORD for one, other in zip(numbers, others)]


def less(numbers, others):
    return [one - other & WORD for one, other in zip(numbers, others)]


def methods(rows, members):
    """How each member was packed, in the order in which they lie."""
    check(rows or not members, "there are parameters of fewer members")
    each = []
    for row in rows:
        each += [row.method] * min(row.number or members, members - len(each))
    return each


def is_deflated(needed, method):
    """Whether a member that the parameters tell of is deflated; else it is stored."""
    check(not needed >> 16 & ENCRYPTED and method in (STORED, DEFLATED), "a member is not packed as its parameters say")
    return method == DEFLATED


def is_followed(needed):
    """Whether a member's sizes are said behind it."""
    return bool(needed >> 16 & FOLLOWED)


def is_told(needed, content):
    """Whether the table tells the sizes of a member because it is too long to be kept until they are known."""
    return len(content) > KEPT_MAX and not is_followed(needed)


# Packing


def pack(image, rows, most):
    members, before, between, table_length = IMAGE.unpack(image.bytes(IMAGE.size))
    check(members <= MEMBERS_MAX and table_length <= TABLE_MAX, "an image has too many members")
    table = read_table(Reader(image.bytes(table_length), "the table of an image"), members)
    data, entries = bytearray(image.bytes(before)), []
    for row, method in zip(table, methods(rows, members)):
        member, entry = pack_member(image, row, method, len(data))
        data += member
        entries.append(entry)
        check(len(data) <= most, "a packed container is too long")
    begin, number = len(data), -1
    for row in table:
        number = number + 1 + row.order & WORD
        check(number < members and entries[number] is not None, "a member is not once in the directory")
        data += entries[number]
        entries[number] = None
    length = len(data) - begin
    data += image.bytes(between) + pack_end(image.bytes(END.size), members, length, begin)
    return bytes(data + image.rest())


def read_table(reader, members):
    columns = []
    for _ in Row._fields:
        column = []
        while True:
            count, value = RUN.unpack(reader.bytes(RUN.size))
            column += [value] * min(count or members, members - len(column))
            if count == 0:
                break
        columns.append(column)
    reader.end()
    return [Row(*values) for values in zip(*columns)]


def pack_member(image, row, method, place):
    """A member with what is in front of it and behind it, and its entry in the directory."""
    length, name_length = MEMBER.unpack(image.bytes(MEMBER.size))
    extra_lengths = row.extra & 0xFFFF, row.entry_extra & 0xFFFF, row.comment & 0xFFFF
    name, extra, entry_extra, comment = (image.bytes(length) for length in (name_length, *extra_lengths))
    content = image.bytes(length)
    needed, kind, time = plus(row[8:11], row[0:3])
    if method == 0:
        packed, sizes = content, Sizes(row.told_crc, length, row.told_length)
    else:
        packed = deflated(content, method) if is_deflated(needed, kind & 0xFFFF) else content
        sizes = Sizes(zlib.crc32(content), len(packed), length)
        check(not is_told(row.needed, content) or row[20:22] == sizes[:2], "a long member is not what is said of it")
    said = plus(row[4:7], NOTHING if is_followed(row.needed) else sizes)
    local = Local(b"PK\3\4", row.needed, row.method & 0xFFFF, row.time, *said, name_length, extra_lengths[0])
    entry = Entry(
        *(b"PK\1\2", row.made_by & 0xFFFF, needed, kind & 0xFFFF, time, *plus(row[11:14], sizes)),
        *(name_length, *extra_lengths[1:], row.internal, row.external, row.place + place & WORD),
    )
    behind = descriptor(row.descriptor, sizes) + image.bytes(row.behind)
    return LOCAL.pack(*local) + name + extra + packed + behind, ENTRY.pack(*entry) + name + entry_extra + comment


def pack_end(record, members, length, place, sign=1):
    """An end record with what it is less in an image; or, with a sign of -1, less that."""
    end = End(*END.unpack(record))
    here, entries = (count + sign * members & 0xFFFF for count in (end.here, end.entries))
    length, place = end.length + sign * length & WORD, end.place + sign * place & WORD
    return END.pack(*end._replace(here=here, entries=entries, length=length, place=place))


# Unpacking

Listed = namedtuple("Listed", "place number entry sizes name extra comment")


def unpack(data, rows, most):
    begin, end, record, shift = find_directory(data)
    members = sorted(read_directory(Reader(data[begin:end], "the directory of a zip"), shift))
    ends = [member.place for member in members[1:]] + [begin]
    order = sorted(range(len(members)), key=lambda n: members[n].number)
    orders = [number - before - 1 & WORD for before, number in zip([-1, *order], order)]
    table, bodies = [], bytearray()
    for listed, until, method, gap in zip(members, ends, methods(rows, len(members)), orders):
        check(listed.place <= until, "this is no zip here: its members overlap")
        row, body = unpack_member(Reader(data[:until], "a member of a zip"), listed, method, gap, most)
        table.append(row)
        bodies += body
        check(len(bodies) <= most, "an image is too long")
    columns = b"".join(runs([row[n] for row in table]) for n in range(len(Row._fields)))
    first = members[0].place if members else begin
    head = bytes([1]) + IMAGE.pack(len(members), first, record - end, len(columns)) + columns + data[:first]
    last = pack_end(data[record : record + END.size], len(members), end - begin, begin, -1)
    return head + bodies + data[end:record] + last + data[record + END.size :]


def find_directory(data):
    """Where the directory begins and ends, where the end record is, and how far members lie behind where it says."""
    at = data.rfind(b"PK\5\6", max(0, len(data) - END.size - COMMENT_MAX), max(0, len(data) - END.size + 4))
    check(at >= 0, "this is no zip: it has no end record")
    end = End(*END.unpack_from(data, at))
    length, place, until = end.length, end.place, at
    if (end.entries == 0xFFFF or WORD in (length, place)) and at >= LOCATOR.size:
        signature, _, record, _ = LOCATOR.unpack_from(data, at - LOCATOR.size)
        if signature == b"PK\6\7" and record + 56 <= at - LOCATOR.size and data.startswith(b"PK\6\6", record):
            _, length, place = END64.unpack_from(data, record)
            until = record
    begin = until - length
    check(length <= DIRECTORY_MAX and begin >= place, "this is no zip here: its directory lies elsewhere")
    return begin, until, at, begin - place


def read_directory(directory, shift):
    while not directory.is_at_end():
        number, entry = directory.at, Entry(*ENTRY.unpack(directory.bytes(ENTRY.size)))
        check(entry.signature == b"PK\1\2", "this is no zip here: something is between the entries of its directory")
        name, extra, comment = (directory.bytes(length) for length in (entry.name, entry.extra, entry.comment))
        packed, length, place = long_numbers(entry, extra)
        check(packed < WORD and length < WORD, "this is no zip here: a member is too long")
        yield Listed(place + shift, number, entry, Sizes(entry.crc, packed, length), name, extra, comment)


def long_numbers(entry, extra):
    """Packed length, length and place of a member; those that do not fit into the entry are in the field of zip64."""
    numbers = [entry.length, entry.packed, entry.place]
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            field = Reader(extra[at + 4 : at + 4 + length], "a field of zip64")
            numbers = [field.little(8) if number == WORD else number for number in numbers]
            break
        at += 4 + length
    length, packed, place = numbers
    return packed, length, place


def unpack_member(data, listed, method, order, most):
    """The row of a member, and its part of the image. `data` ends where the next member begins."""
    entry, sizes = listed.entry, listed.sizes
    data.bytes(listed.place)
    local = Local(*LOCAL.unpack(data.bytes(LOCAL.size)))
    name = data.bytes(local.name)
    check(local.signature == b"PK\3\4" and name == listed.name, "this is no zip here: a member has two names")
    extra, packed, behind = data.bytes(local.extra), data.bytes(sizes.packed), data.rest()
    content, told = packed, (sizes.crc, 0, sizes.length)
    if method:
        if is_deflated(entry.needed, entry.method):
            content, used = inflated(packed, most)
            check(used == len(packed), "a member is longer than its content")
        found = Sizes(zlib.crc32(content), len(packed), len(content))
        check(found == sizes, "a member is not what the directory says of it")
        told = (sizes.crc, sizes.packed, 0) if is_told(local.needed, content) else NOTHING
    forms = (1, 2, 3, 4) if is_followed(local.needed) else ()
    form = next((form for form in forms if behind.startswith(descriptor(form, sizes))), 0)
    behind = behind[len(descriptor(form, sizes)) :]
    row = Row(
        *(*local[1:4], local.extra, *less(local[4:7], NOTHING if is_followed(local.needed) else sizes)),
        *(entry.made_by, *less(entry[2:5], local[1:4]), *less(entry[5:8], sizes), entry.extra, entry.comment),
        *(entry.internal, entry.external, entry.place - listed.place & WORD, order, *told, form, len(behind)),
    )
    head = MEMBER.pack(len(content), len(name))
    return row, head + name + extra + listed.extra + listed.comment + content + behind


def runs(column):
    """A column as it lies in the table."""
    found = []
    for value in column or [0]:
        if found and found[-1][1] == value:
            found[-1][0] += 1
        else:
            found.append([1, value])
    found[-1][0] = 0
    return b"".join(RUN.pack(*run) for run in found)
