"""A patch: its header, the streams of a group, and the instructions that make an output of them."""

from collections import namedtuple

import container
from native import Native
from wire import Reader, check, decode, read_coder, unzigzag
from words import Words

MAGIC = bytes.fromhex("8D 55 50 44 50 0D 0A 01")
HEADER_MAX, LISTS_MAX = 16 << 20, 32 << 20
BASES_MAX, GROUPS_MAX, OUTPUTS_MAX = 1_000_000, 16, 1_000_001
BYTES_MAX = 16 << 40
SAME, WORDS, NATIVE = range(3)

INSERT_LENGTHS, COPY_LENGTHS, SEEKS = range(3)
LANES = range(4)

Header = namedtuple("Header", "source target bases groups outputs")
Base = namedtuple("Base", "index length image")
Group = namedtuple("Group", "method streams")
Stream = namedtuple("Stream", "kind coder length coded_length")
Output = namedtuple("Output", "group length image")
Image = namedtuple("Image", "parameters length")


def apply(patch, files):
    """The outputs of `patch`. `files` has the bases by their numbers."""
    header, rest = read_header(patch)
    old = OldImage([old_part(base, files) for base in header.bases])
    outputs = [None] * len(header.outputs)
    for number, group in enumerate(header.groups):
        streams = Streams(group, rest)
        maker = maker_of(group.method, streams, old)
        for index, output in enumerate(header.outputs):
            if output.group == number:
                outputs[index] = make(maker, output)
        streams.end()
    rest.end()
    return outputs


def old_part(base, files):
    """A base, or the image that stands for it."""
    check(len(files.get(base.index, b"")) == base.length, f"base {base.index} is missing, or has another length")
    data = files[base.index]
    return data if base.image is None else container.unpack(data, *base.image)


def make(maker, output):
    if output.image is None:
        return maker.output(output.length)
    return container.pack(maker.output(output.image.length), output.image.parameters, output.length)


# The header


def read_header(patch):
    """The header, and a reader of the coded streams behind it."""
    reader = Reader(patch, "the patch")
    check(reader.bytes(len(MAGIC)) == MAGIC, "this is no patch of format 1")
    length, whole = reader.little(4), reader.little(8)
    check(length <= HEADER_MAX, "the header is too long")
    check(whole == len(patch), "the patch has another length than it says")
    header = Reader(reader.bytes(length), "the header")
    source, target, coder = header.bytes(32), header.bytes(32), read_coder(header)
    lists_length = header.count(LISTS_MAX, "bytes of lists")
    lists = Reader(decode(coder, header.rest(), lists_length, "the lists"), "the lists")
    bases, groups = read_bases(lists), read_groups(lists)
    outputs = read_outputs(lists, len(groups))
    lists.end()
    return Header(source, target, bases, groups, outputs), reader


def read_bases(lists):
    bases, index = [], -1
    for _ in range(lists.count(BASES_MAX, "bases")):
        index += 1 + lists.varint()
        length = lists.count(BYTES_MAX, "bytes of a base")
        check(length > 0, "a base is empty")
        bases.append(Base(index, length, read_image(lists, length)))
    return bases


def read_image(lists, length):
    """What is known of the image of a base or output of `length` bytes; None if it is taken as it is."""
    parameters = container.read_parameters(lists)
    return parameters and Image(parameters, lists.count(64 * length + (1 << 20), "bytes of an image"))


def read_groups(lists):
    groups = []
    for _ in range(lists.count(GROUPS_MAX, "groups")):
        method = lists.byte()
        check(method <= NATIVE, f"method {method} is not known")
        groups.append(Group(method, [read_stream(lists) for _ in range(lists.count(32, "streams"))]))
        kinds = [stream.kind for stream in groups[-1].streams]
        check(kinds == sorted(set(kinds)), "streams are out of order")
    return groups


def read_stream(lists):
    kind, coder = lists.byte(), read_coder(lists)
    stream = Stream(kind, coder, lists.count(BYTES_MAX, "bytes of a stream"), lists.varint())
    check(stream.length > 0, "a stream is empty")
    return stream


def read_outputs(lists, groups):
    outputs = []
    for _ in range(lists.count(OUTPUTS_MAX, "outputs")):
        group, length = lists.varint(), lists.count(BYTES_MAX, "bytes of an output")
        check(group < groups, "an output is of a group that is not there")
        outputs.append(Output(group, length, read_image(lists, length)))
    check(not outputs or outputs[0].group == 0, "the first output is not of the first group")
    return outputs


# Bases and streams


class OldImage:
    """All bases, or their images, one behind the other."""

    def __init__(self, bases):
        self.bases, self.begins, self.data = bases, [], b"".join(bases)
        end = 0
        for base in bases:
            self.begins.append(end)
            end += len(base)

    def bytes(self, place, length):
        check(0 <= place and place + length <= len(self.data), "a copy is not from within the old image")
        return self.data[place : place + length]


class Streams:
    """The streams of one group. One that is left out is empty."""

    def __init__(self, group, patch):
        self.readers = {}
        for kind, coder, length, coded_length in group.streams:
            what = f"stream {kind}"
            self.readers[kind] = Reader(decode(coder, patch.bytes(coded_length), length, what), what)
        self.differences = [Differences(self, lane) for lane in LANES]

    def reader(self, kind):
        return self.readers.setdefault(kind, Reader(b"", f"stream {kind}"))

    def inserted(self, length, lane):
        return self.reader(16 + 4 * lane).bytes(length)

    def end(self):
        for reader in self.readers.values():
            reader.end()


class Differences:
    """What is added to the copied bytes of one lane: to each, or to those behind gaps."""

    def __init__(self, streams, lane):
        self.each, self.gaps, self.differing = (streams.reader(kind + 4 * lane) for kind in (17, 18, 19))
        self.is_each = not self.each.is_at_end()
        check(self.gaps.is_at_end() == self.differing.is_at_end(), "gaps and differing bytes come together")
        check(not self.is_each or self.gaps.is_at_end(), "differences and gaps do not come together")
        self.next_gap()

    def next_gap(self):
        """How many bytes are as predicted before the next that is not; None for all that are left."""
        self.gap = None if self.gaps.is_at_end() else self.gaps.varint()

    def added(self, predicted):
        """What becomes of the next copied bytes."""
        if self.is_each:
            return bytes(one + other & 0xFF for one, other in zip(predicted, self.each.bytes(len(predicted))))
        new, at = bytearray(predicted), 0
        while self.gap is not None and self.gap < len(new) - at:
            at += self.gap
            new[at] = new[at] + self.differing.byte() & 0xFF
            at += 1
            self.next_gap()
        if self.gap is not None:
            self.gap -= len(new) - at
        return bytes(new)


# Instructions


class Instructions:
    """Tells where the bytes of outputs come from."""

    def __init__(self, streams, old):
        self.old, self.place = old, 0
        self.inserts, self.copies = streams.reader(INSERT_LENGTHS), streams.reader(COPY_LENGTHS)
        self.seeks = streams.reader(SEEKS)

    def next(self, left):
        """How many bytes are inserted, and then from which place of the old image how many are copied."""
        inserted, copied = self.inserts.varint(), self.copies.varint()
        check(0 < inserted + copied <= left, "an instruction makes nothing, or too much")
        if copied == 0:
            return inserted, None, 0
        place = self.place + unzigzag(self.seeks.varint())
        check(0 <= place <= len(self.old.data) - copied, "a copy is not from within the old image")
        self.place = place + copied
        return inserted, place, copied


class Same:
    """Predicts the old byte."""

    def copied(self, old, differences):
        return differences.added(old)


class Copier:
    """Makes the outputs of a group whose method looks at one copy after the other."""

    def __init__(self, method, streams, old):
        self.method, self.streams, self.old = method, streams, old
        self.instructions = Instructions(streams, old)

    def output(self, length):
        out = bytearray()
        while len(out) < length:
            inserted, place, copied = self.instructions.next(length - len(out))
            out += self.streams.inserted(inserted, 0)
            if copied:
                out += self.method.copied(self.old.bytes(place, copied), self.streams.differences[0])
        return bytes(out)


def maker_of(method, streams, old):
    if method == NATIVE:
        return Native(streams, old, Instructions(streams, old))
    return Copier(Words() if method == WORDS else Same(), streams, old)
