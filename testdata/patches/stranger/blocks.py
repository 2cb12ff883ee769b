"""Blocks of deflate, written as gzip and zip write them. What RFC 1951 says is not explained again."""

SYMBOLS, DISTANCES, LENGTHS, END = 286, 30, 19, 256
ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]
LENGTH_EXTRA = [0] * 8 + [bits for bits in range(1, 6) for _ in range(4)] + [0]
DISTANCE_EXTRA = [0, 0] + [bits for bits in range(14) for _ in range(2)]
TOLD_EXTRA = [0] * 16 + [2, 3, 7]


def firsts(extra, first):
    """The smallest number of each symbol."""
    numbers = [first]
    for bits in extra[:-1]:
        numbers.append(numbers[-1] + (1 << bits))
    return numbers


LENGTH_FIRST = firsts(LENGTH_EXTRA, 3)
LENGTH_FIRST[28] = 258
DISTANCE_FIRST = firsts(DISTANCE_EXTRA, 1)
LENGTH_SYMBOL = [max(n for n in range(29) if LENGTH_FIRST[n] <= length) for length in range(3, 259)]


def distance_symbol(distance):
    if distance <= 4:
        return distance - 1
    bits = (distance - 1).bit_length() - 1
    return 2 * bits + (distance - 1 >> bits - 1 & 1)


def symbol_extra(symbol):
    return LENGTH_EXTRA[symbol - 257] if symbol > END else 0


class Block:
    def __init__(self):
        self.tape, self.repeats = [], 0
        self.symbols, self.distances = [0] * SYMBOLS, [0] * DISTANCES
        self.symbols[END] = 1

    def literal(self, byte):
        self.tape.append((byte, None))
        self.symbols[byte] += 1

    def repeat(self, length, distance):
        self.tape.append((length, distance))
        self.repeats += 1
        self.symbols[257 + LENGTH_SYMBOL[length - 3]] += 1
        self.distances[distance_symbol(distance)] += 1

    def is_over(self, covered, may_be_short):
        count = len(self.tape)
        if not may_be_short or count % 4_096:
            return count == 32_767
        bits = sum(often * (5 + extra) for often, extra in zip(self.distances, DISTANCE_EXTRA))
        return self.repeats < count // 2 and (8 * count + bits) // 8 < covered // 2


class Writer:
    def __init__(self):
        self.data, self.bits, self.count = bytearray(), 0, 0

    def put(self, number, bits):
        self.bits |= number << self.count
        self.count += bits
        while self.count >= 8:
            self.data.append(self.bits & 0xFF)
            self.bits >>= 8
            self.count -= 8

    def fill_byte(self):
        self.put(0, -self.count % 8)

    def finish(self):
        self.fill_byte()
        return bytes(self.data)

    def write(self, block, content, is_last):
        symbols, distances = code(block.symbols, 15), code(block.distances, 15)
        runs = told(symbols) + told(distances)
        often = [sum(run[0] == symbol for run in runs) for symbol in range(LENGTHS)]
        lengths = code(often, 7)
        own_lengths = trimmed([lengths[symbol] for symbol in ORDER], 4)
        own = 3 + 14 + 3 * len(own_lengths) + cost(often, lengths, TOLD_EXTRA) + cost_of(block, symbols, distances)
        fixed_codes = [8] * 144 + [9] * 112 + [7] * 24 + [8] * 8, [5] * DISTANCES
        fixed = 3 + cost_of(block, *fixed_codes)
        best = min((own + 7) // 8, (fixed + 7) // 8)
        if content is not None and len(content) + 4 <= best:
            self.put(is_last, 3)
            self.fill_byte()
            self.put(len(content), 16)
            self.put(len(content) ^ 0xFFFF, 16)
            self.data += content
        elif (fixed + 7) // 8 == best:
            self.put(is_last | 1 << 1, 3)
            self.put_symbols(block, *fixed_codes)
        else:
            self.put(is_last | 2 << 1, 3)
            self.put(len(trimmed(symbols, 257)) - 257, 5)
            self.put(len(trimmed(distances, 1)) - 1, 5)
            self.put(len(own_lengths) - 4, 4)
            for length in own_lengths:
                self.put(length, 3)
            of_lengths = words(lengths)
            for symbol, extra in runs:
                self.put(*of_lengths[symbol])
                self.put(extra, TOLD_EXTRA[symbol])
            self.put_symbols(block, symbols, distances)

    def put_symbols(self, block, symbols, distances):
        symbols, distances = words(symbols), words(distances)
        for number, distance in block.tape:
            if distance is None:
                self.put(*symbols[number])
                continue
            symbol = LENGTH_SYMBOL[number - 3]
            self.put(*symbols[257 + symbol])
            self.put(number - LENGTH_FIRST[symbol], LENGTH_EXTRA[symbol])
            symbol = distance_symbol(distance)
            self.put(*distances[symbol])
            self.put(distance - DISTANCE_FIRST[symbol], DISTANCE_EXTRA[symbol])
        self.put(*symbols[END])


def cost(often, lengths, extra):
    return sum(n * (length + bits) for n, length, bits in zip(often, lengths, extra))


def cost_of(block, symbols, distances):
    extra = [symbol_extra(symbol) for symbol in range(SYMBOLS)]
    return cost(block.symbols, symbols, extra) + cost(block.distances, distances, DISTANCE_EXTRA)


def trimmed(lengths, least):
    end = len(lengths)
    while end > least and lengths[end - 1] == 0:
        end -= 1
    return lengths[:end]


def words(lengths):
    """The word of each symbol, its first bit lowest, and its length."""
    found, word = [(0, 0)] * len(lengths), 0
    for length in range(1, 16):
        for symbol, own in enumerate(lengths):
            if own == length:
                found[symbol] = int(f"{word:0{length}b}"[::-1], 2), length
                word += 1
        word <<= 1
    return found


def told(lengths):
    """Runs of lengths: symbols, and what is behind them."""
    lengths, runs = trimmed(lengths, 1), []
    while lengths:
        value = lengths[0]
        count = next((n for n, length in enumerate(lengths) if length != value), len(lengths))
        lengths = lengths[count:]
        is_first = True
        while count:
            piece = min(count, 138 if value == 0 else 7 if is_first else 6)
            count -= piece
            if value == 0 and piece >= 3:
                runs.append((18, piece - 11) if piece >= 11 else (17, piece - 3))
            elif value and is_first and piece >= 4:
                runs += [(value, 0), (16, piece - 4)]
            elif value and not is_first and piece >= 3:
                runs.append((16, piece - 3))
            else:
                runs += [(value, 0)] * piece
            is_first = False
    return runs


def code(often, limit):
    """The lengths of the words of all symbols."""
    count = len(often)
    weight, depth = list(often), [0] * count
    heap = [symbol for symbol in range(count) if often[symbol]]
    while len(heap) < 2:
        largest = heap[-1] if heap else -1
        added = largest + 1 if largest < 2 else 0
        weight[added] = 1
        heap.append(added)

    def is_before(one, two):
        return (weight[one], depth[one]) <= (weight[two], depth[two])

    def sink(at):
        item = heap[at]
        while 2 * at + 1 < len(heap):
            below = 2 * at + 1
            if below + 1 < len(heap) and is_before(heap[below + 1], heap[below]):
                below += 1
            if is_before(item, heap[below]):
                break
            heap[at] = heap[below]
            at = below
        heap[at] = item

    for at in reversed(range(len(heap) // 2)):
        sink(at)
    joined, node_of = [], {}
    while len(heap) > 1:
        one, heap[0] = heap[0], heap[-1]
        heap.pop()
        sink(0)
        two, node = heap[0], len(weight)
        weight.append(weight[one] + weight[two])
        depth.append(max(depth[one], depth[two]) + 1)
        node_of[one] = node_of[two] = node
        joined += [one, two]
        heap[0] = node
        sink(0)
    return limited(joined, node_of, heap[0], count, limit)


def limited(joined, node_of, root, count, limit):
    lengths, below = {root: 0}, 0
    for item in reversed(joined):
        length = lengths[node_of[item]] + 1
        below += length > limit
        lengths[item] = min(length, limit)
    symbols = [item for item in joined if item < count]
    if below:
        numbers = [0] * (limit + 1)
        for symbol in symbols:
            numbers[lengths[symbol]] += 1
        while below > 0:
            length = max(length for length in range(1, limit) if numbers[length])
            numbers[length] -= 1
            numbers[length + 1] += 2
            numbers[limit] -= 1
            below -= 2
        again = [length for length in range(limit, 0, -1) for _ in range(numbers[length])]
        lengths = dict(zip(symbols, again))
    return [lengths.get(symbol, 0) for symbol in range(count)]
