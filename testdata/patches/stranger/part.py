"""What is left of a range, or of an entry in it, while its bytes are made."""

from tape import OTHER


class Cut(Exception):
    """Something does not end in its range."""


class Part:
    def __init__(self, executable, end):
        self.executable, self.tape, self.end = executable, executable.tape, end

    @property
    def place(self):
        return self.executable.place

    @property
    def left(self):
        return self.end - self.place

    def need(self, length):
        if self.left < length:
            raise Cut

    def byte(self, lane=OTHER):
        self.need(1)
        return self.tape.take(1, lane)[0]

    def number(self, length):
        """Bytes that are looked at. As many as there are left are made, even if that are too few."""
        return sum(self.byte() << 8 * n for n in range(length))

    def leb(self):
        while self.byte() & 0x80:
            pass

    def plain(self, length):
        self.executable.plain(self.place + min(length, self.left))

    def operand(self, length):
        """An operand that is no reference."""
        self.need(length)
        self.tape.take_operand(length)

    def reference(self, kind, detail=0):
        self.need(self.executable.width(kind))
        return self.executable.reference(kind, detail)

    def row(self, kind, detail=0):
        """References, one behind the other."""
        while True:
            self.reference(kind, detail)
