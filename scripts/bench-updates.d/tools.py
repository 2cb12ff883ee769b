"""The tools, each with the commands that make and apply its update of a tree.

Those that know only files get every changed file with the old one at the same path; a file that is new at its path
travels compressed with zstd -19. What they would have to say about names and modes is not counted. `zstd-image` and
`plain` put files one behind the other first. HDiffPatch and Updraft take the two trees as they are, and what they send
is counted whole.
"""
import filecmp
import os
import re
import shutil
import subprocess
import sys

from meter import Failed, Meter
from pairs import concatenate, digest, listing

ZSTD = ["zstd", "-q", "-f", "-19", "--long=31"]
UNZSTD = ["zstd", "-q", "-f", "-d", "--long=31"]


def output(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout.strip()


def debian(package):
    """A program of Debian, with the version that the package has."""
    if not shutil.which(package):
        sys.exit(f"{package} is missing: apt-get install bsdiff xdelta3 zstd")
    return f"{package} {output('dpkg-query', '-W', '-f', '${Version}', package)}"


class Files:
    """A tool that turns one file into another."""

    def __init__(self, name, version, make, apply):
        self.name, self.version, self.source, self.make, self.apply = name, version, version, make, apply
        self.commands = [" ".join(map(str, make("OLD", "NEW", "PATCH"))), " ".join(map(str, apply("OLD", "PATCH", "NEW")))]

    def measure(self, pair, scratch):
        making, applying, total = Meter(), Meter(), 0
        patch, made = scratch / "patch", scratch / "made"
        for path in pair.changed:
            old, new = pair.old / path, pair.new / path
            if pair.has_base(path):
                making.run(self.make(old, new, patch))
                applying.run(self.apply(old, patch, made))
            else:
                making.run([*ZSTD, new, "-o", patch])
                applying.run([*UNZSTD, patch, "-o", made])
            if not filecmp.cmp(made, new, shallow=False):
                raise Failed(f"{path} is not what it should be")
            total += os.path.getsize(patch)
            patch.unlink()
            made.unlink()
        return {"bytes": total, "make": making.cost(), "apply": applying.cost()}


class Image:
    """zstd on all changed files behind each other, with everything old as its dictionary or with nothing."""

    def __init__(self, name, version, with_old):
        self.name, self.version, self.source, self.with_old = name, version, version, with_old
        from_old = " --patch-from=OLD" if with_old else ""
        self.commands = [" ".join(ZSTD) + from_old + " NEW -o PATCH", " ".join(UNZSTD) + from_old + " PATCH -o NEW"]

    def measure(self, pair, scratch):
        making, applying = Meter(), Meter()
        old, new, patch, made = (scratch / name for name in ("old", "new", "patch", "made"))
        concatenate([pair.new / path for path in pair.changed], new)
        base = []
        if self.with_old:
            concatenate([pair.old / path for path in pair.old_files], old)
            base = [f"--patch-from={old}"]
        making.run([*ZSTD, *base, new, "-o", patch])
        applying.run([*UNZSTD, *base, patch, "-o", made])
        if not filecmp.cmp(made, new, shallow=False):
            raise Failed("what came out is not what went in")
        return {"bytes": os.path.getsize(patch), "make": making.cost(), "apply": applying.cost()}


class Trees:
    """A tool that turns one directory into another."""

    def __init__(self, name, version, make, apply, keep=None, source=None):
        self.name, self.version, self.make, self.apply = name, version, make, apply
        self.keep, self.source = keep, source or version
        shown = lambda command: " ".join([os.path.basename(str(command[0])), *map(str, command[1:])])
        self.commands = [shown(make("OLD", "NEW", "PATCH")), shown(apply("OLD", "PATCH", "NEW"))]

    def measure(self, pair, scratch):
        making, applying = Meter(), Meter()
        patch, made = scratch / "patch", scratch / "made"
        making.run(self.make(pair.old, pair.new, patch))
        applying.run(self.apply(pair.old, patch, made))
        self.compare(made, pair.new)
        if self.keep:
            shutil.copyfile(patch, self.keep / f"{pair.name}.{self.name}.patch")
        return {"bytes": os.path.getsize(patch), "make": making.cost(), "apply": applying.cost()}

    def compare(self, made, new):
        found, wanted = listing(made), listing(new)
        if self.name == "hdiffpatch":  # it carries contents only, and follows links
            found, wanted = ({path: content for path, (content, _) in tree.items() if not isinstance(content, str)}
                             for tree in (found, wanted))
            found = {path: content for path, content in found.items() if path in wanted}
        wrong = sorted(path for path in found.keys() | wanted.keys() if found.get(path) != wanted.get(path))
        if wrong:
            raise Failed(f"{len(wrong)} files are not what they should be: {', '.join(wrong[:5])}")


def hdiffpatch():
    hdiffz, hpatchz = os.environ.get("HDIFFZ"), os.environ.get("HPATCHZ")
    if not hdiffz or not hpatchz:
        return None
    version = re.search(r"hdiffz v(\S+)", output(hdiffz, "-v"))[1]
    return Trees("hdiffpatch", f"HDiffPatch {version}",
                 lambda old, new, patch: [hdiffz, "-m", "-c-lzma2-9-8m", "-p-1", "-d", old, new, patch],
                 lambda old, patch, new: [hpatchz, old, patch, new])


def updraft(program, source, keep):
    return Trees("updraft", f"{output(program, '--version')} (build {digest(program).hex()[:12]})",
                 lambda old, new, patch: [program, "patch", "make", old, new, "-o", patch],
                 lambda old, patch, new: [program, "patch", "apply", old, patch, "-o", new], keep, source)


def source_window(old):
    """The whole old file, as xdelta3 wants it: by default it sees 64 MiB of it. It clears them all, so no more than needed."""
    return "LEN" if old == "OLD" else 1 << max(20, (os.path.getsize(old) - 1).bit_length())


def xdelta3():
    return Files("xdelta3", debian("xdelta3"),
                 lambda old, new, patch: ["xdelta3", "-e", "-9", "-f", "-B", source_window(old), "-s", old, new, patch],
                 lambda old, patch, new: ["xdelta3", "-d", "-f", "-B", source_window(old), "-s", old, patch, new])


def zstd_files():
    return Files("zstd", debian("zstd"),
                 lambda old, new, patch: [*ZSTD, f"--patch-from={old}", new, "-o", patch],
                 lambda old, patch, new: [*UNZSTD, f"--patch-from={old}", patch, "-o", new])


def bsdiff():
    return Files("bsdiff", debian("bsdiff"),
                 lambda old, new, patch: ["bsdiff", old, new, patch],
                 lambda old, patch, new: ["bspatch", old, new, patch])


# In the order in which they run: the strongest peers first, the slowest last.
NAMES = ["updraft", "hdiffpatch", "bsdiff", "zstd", "plain", "xdelta3", "zstd-image"]


def choose(names, built, keep):
    """The tools of these names. HDiffPatch is not packaged, so it may be missing, and that is said."""
    made = {"updraft": lambda: updraft(*built(), keep), "hdiffpatch": hdiffpatch, "bsdiff": bsdiff, "zstd": zstd_files,
            "plain": lambda: Image("plain", debian("zstd"), False), "xdelta3": xdelta3,
            "zstd-image": lambda: Image("zstd-image", debian("zstd"), True)}
    chosen = [made[name]() for name in names]
    if "hdiffpatch" in names and None in chosen:
        print("HDiffPatch is left out: HDIFFZ and HPATCHZ do not name a build of it", file=sys.stderr)
    return [tool for tool in chosen if tool]
