"""A pair of trees, and how they differ for a tool that knows only files."""
import hashlib
import os
import pathlib

TABLE = pathlib.Path(__file__).resolve().parent.parent / "pairs.tsv"
SLICE = 1 << 20


def rows():
    """The table of scripts/fetch-corpus by name, with what only a report needs of it."""
    found = {}
    for line in open(TABLE):
        if line.startswith("#"):
            continue
        name, _, package, old, new, _, old_sha, new_sha, goal, stretch, what = line.rstrip("\n").split("\t")
        number = lambda text: None if text == "-" else int(text)
        found[name] = {"name": name, "package": package, "old": old, "new": new, "digests": [old_sha, new_sha],
                       "goal": number(goal), "stretch": number(stretch), "what": what}
    return found


def files(tree):
    """The regular files of a tree as relative paths, in one order everywhere."""
    found = []
    for folder, _, names in os.walk(tree):
        found += [os.path.relpath(os.path.join(folder, name), tree) for name in names
                  if not os.path.islink(os.path.join(folder, name))]
    return sorted(found)


def digest(path):
    state = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(SLICE):
            state.update(piece)
    return state.digest()


def concatenate(paths, into):
    with open(into, "wb") as out:
        for path in paths:
            with open(path, "rb") as file:
                while piece := file.read(SLICE):
                    out.write(piece)


def listing(tree):
    """Everything that an update has to get right: contents, which files run, and where links lead."""
    found = {}
    for folder, folders, names in os.walk(tree):
        for name in names + [name for name in folders if os.path.islink(os.path.join(folder, name))]:
            path = os.path.join(folder, name)
            link = os.path.islink(path)
            found[os.path.relpath(path, tree)] = (os.readlink(path) if link else digest(path),
                                                  link or bool(os.stat(path).st_mode & 0o100))
    return found


class Pair:
    """What was released, and what changed: a file whose content is anywhere in the old tree costs nobody anything."""

    def __init__(self, row, dest):
        self.name, self.digests = row["name"], row["digests"]
        self.old, self.new = dest / self.name / "old", dest / self.name / "new"
        old = {path: digest(self.old / path) for path in files(self.old)}
        had, seen = set(old.values()), set()
        self.old_files, self.changed = list(old), []
        for path in files(self.new):
            content = digest(self.new / path)
            if content not in had | seen:
                self.changed.append(path)
            seen.add(content)
        self.old_len = sum(os.path.getsize(self.old / path) for path in self.old_files)
        self.changed_len = sum(os.path.getsize(self.new / path) for path in self.changed)

    def has_base(self, path):
        """Whether a tool that compares files by their path has something to compare with."""
        return path in self.old_files and os.path.getsize(self.old / path) > 0 and os.path.getsize(self.new / path) > 0
