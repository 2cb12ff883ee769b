"""A second decoder of Updraft's patches, written from section 9 of docs/format.md.

    python3 testdata/patches/stranger PATCH OLD > NEW

Somebody who had only the text wrote it, and wherever that was not enough, the text was mended. So it shows that the
format is what the document says, and it can be read beside it: a file for each part, in the words of the text, as plain
as can be. It needs Python 3.8 and nothing else, holds everything in memory and is slow; what devices run is crates/delta.
`crates/differ/tests/it/stranger.rs` runs it on every patch of testdata/patches.

Begin at `patch.apply`. `wire` has numbers and coders, `words` the method of that name, `native` the one for executables,
with `layout`, `tape`, `ranges` and what these name. `container` unpacks and packs archives; what no zlib
makes is in `gnu` and `blocks`.

What it leaves out: it makes the outputs of a patch between two trees, but does not fill in the masked document; and it
does not see bytes that are left over behind the end of an LZMA stream, because Python does not tell.
"""

import sys
from pathlib import Path

sys.dont_write_bytecode = True  # Nothing is left beside the golden files.

from patch import apply
from wire import Refused, check


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    patch, old = (Path(name).read_bytes() for name in sys.argv[1:])
    try:
        outputs = apply(patch, {0: old})
        check(len(outputs) == 1, "this is no patch between two files")
    except Refused as refused:
        sys.exit(f"refused: {refused}")
    sys.stdout.buffer.write(outputs[0])


if __name__ == "__main__":
    main()
