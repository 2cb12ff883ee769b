"""The section on updates of docs/benchmarks.md, written between two marks; the rest of the page stays as it is."""
import os
import re
import time

import meter

BEGIN = "<!-- updates: written by scripts/bench-updates -->"
END = "<!-- end of updates -->"
# Column by column: the tool, and what a reader calls it.
PEERS = [("plain", "plain"), ("xdelta3", "xdelta3"), ("zstd", "zstd"), ("zstd-image", "zstd, image"), ("bsdiff", "bsdiff"),
         ("hdiffpatch", "HDiffPatch")]
# Those of which an update may never be more than 2 % larger than the best.
RULE = ["plain", "zstd", "zstd-image", "bsdiff", "hdiffpatch"]
SLACK = 1.02
# What making and applying may cost: times the CPU of bsdiff, times the old files, seconds per 100 MB that change, MiB.
LIMITS = {"of bsdiff's CPU": 1.2, "of the old files": 12, "s per 100 MB": 3, "MiB": 256}
# Where less than this changes, nearly all of applying is copying the rest, which says nothing of a patch.
CHANGED_MIN = 20_000_000

INTRO = """## Updates: bytes, CPU and memory of a patch

Written by `HDIFFZ=... HPATCHZ=... scripts/bench-updates`, which runs every tool on the same pair of trees and compares
what comes out with the real tree. The pairs, with package, versions and sha256, are in `scripts/pairs.tsv`. Sizes are
exact and repeatable.

Versions: {versions}.
Machine: one core of {model}. {date}. Updraft: {ours}.

- *plain* is zstd -19 of all changed files as one stream; *zstd, image* the same with all old files, one behind the
  other, as its dictionary (`--patch-from`).
- *xdelta3*, *zstd* (`--patch-from`) and *bsdiff* know only files: each changed file is compared with the old one at the
  same path, and a file that is new travels as zstd -19. A file whose content is anywhere in the old tree is free for
  all of these, and names and modes are not counted.
- *HDiffPatch* and *Updraft* take the directories, and every byte that they send is counted.
- HDiffPatch is given `-m -c-lzma2-9-8m`, its smallest ready-made setting; xdelta3 a window as large as the old file.
- A run is cut off after {minutes} minutes of CPU. A program that does nothing shows {floor} MB here, so smaller figures
  of memory cannot be told apart.
"""

MAKING = f"""### Making

CPU seconds and peak memory. The last columns are Updraft's share of bsdiff's CPU (goal: {LIMITS["of bsdiff's CPU"]}), and its memory
as so many times the bytes of the old files (goal: {LIMITS["of the old files"]}).
"""

APPLYING = f"""### Applying

Updraft and HDiffPatch write the whole new tree, and check it; the others write the files that changed. The last columns
are Updraft's seconds per 100 MB of files that change, where that is {CHANGED_MIN / 1e6:.0f} MB at least (goal for native code:
{LIMITS["s per 100 MB"]}), and its memory (goal: {LIMITS["MiB"]} MiB).
"""


def machine():
    return next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))


def table(head, body):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(row) + " |" for row in body]


class Results:
    """What was measured, by pair and tool."""

    def __init__(self, measured):
        self.by = {(result["pair"], result["tool"]): result for result in measured}

    def size(self, pair, tool):
        return self.by.get((pair, tool), {}).get("bytes")

    def best(self, pair, tools):
        return min((size for tool in tools if (size := self.size(pair, tool)) is not None), default=None)

    def shown(self, pair, tool, value):
        """A figure, or why there is none."""
        result = self.by.get((pair, tool))
        if result is None:
            return "-"
        return "cut off" if "cut" in result else "failed" if "failed" in result else value(result)

    def ratio(self, pair, tools):
        ours, best = self.size(pair, "updraft"), self.best(pair, tools)
        return ours / best if ours and best else None

    def versions(self, tool):
        return sorted({result["key"]["tool"] for (_, name), result in self.by.items() if name == tool})


def sizes(rows, results, held_out):
    tools = [tool for tool, _ in PEERS]
    head = ["pair", "from, to", *(title for _, title in PEERS), "**Updraft**"]
    head += [] if held_out else ["goal", "stretch"]
    head += ["of the best other"]
    body = []
    for name, row in rows.items():
        if (row["goal"] is None) != held_out:
            continue
        size = lambda result: f"{result['bytes']:,}"
        cells = [name, f"{row['package']} {row['old']}, {row['new']}: {row['what']}"]
        cells += [results.shown(name, tool, size) for tool in tools] + [f"**{results.shown(name, 'updraft', size)}**"]
        if not held_out:
            ours = results.size(name, "updraft")
            cells += [f"{row[goal]:,}" + ("" if ours is None else " met" if ours <= row[goal] else f" (+{ours / row[goal] - 1:.0%})")
                      for goal in ("goal", "stretch")]
        ratio = results.ratio(name, tools)
        cells.append("-" if ratio is None else f"{ratio:.2f}")
        body.append(cells)
    return table(head, body)


def limits(results, pair, side):
    """What one side of our work costs, in the units of its limits."""
    ours, peer = results.by.get((pair, "updraft"), {}), results.by.get((pair, "bsdiff"), {})
    if side not in ours:
        return {}
    if side == "apply":
        found = {"s per 100 MB": ours[side]["cpu"] * 1e8 / ours["changed"]} if ours["changed"] >= CHANGED_MIN else {}
        return found | {"MiB": ours[side]["bytes"] / 2**20}
    found = {"of bsdiff's CPU": ours[side]["cpu"] / peer[side]["cpu"]} if side in peer else {}
    return found | {"of the old files": ours[side]["bytes"] / ours["old"]}


def costs(rows, results, side, columns):
    tools = [*PEERS, ("updraft", "**Updraft**")]
    cost = lambda result: f"{result[side]['cpu']:.1f} s, {result[side]['bytes'] / 1e6:.0f} MB"
    body = []
    for name in rows:
        found = limits(results, name, side)
        mark = lambda column: f"**{found[column]:.1f}**" if found[column] > LIMITS[column] else f"{found[column]:.1f}"
        body.append([name, *(results.shown(name, tool, cost) for tool, _ in tools),
                     *(mark(column) if column in found else "-" for column in columns)])
    return table(["pair", *(title for _, title in tools), *columns], body)


def broken(rows, results):
    """Where the rule does not hold, in words."""
    found = []
    for name in rows:
        ratio = results.ratio(name, RULE)
        if ratio is not None and ratio > SLACK:
            best = results.best(name, RULE)
            [winner] = [title for tool, title in PEERS if tool in RULE and results.size(name, tool) == best][:1]
            found.append(f"- **{name}**: {results.size(name, 'updraft'):,} bytes are {ratio - 1:.1%} more than the {best:,} of {winner}.")
    found += [f"- **{name}**: no patch; {result['failed']}" for name in rows
              if "failed" in (result := results.by.get((name, "updraft"), {}))]
    missing = [name for name in rows if results.ratio(name, RULE) is None]
    lines = ["The rule: no update is more than 2 % larger than the best of plain, zstd `--patch-from` (either way), bsdiff and",
             f"HDiffPatch. It was looked at on {len(rows) - len(missing)} pairs of {len(rows)}, and "
             + (f"does not hold for {len(found)}:" if found else "holds.")]
    return lines + ([""] if found else []) + found


def mean(rows, results, held_out):
    """The geometric mean of our size over the best other's."""
    ratios = [ratio for name, row in rows.items() if (row["goal"] is None) == held_out
              and (ratio := results.ratio(name, [tool for tool, _ in PEERS])) is not None]
    product = 1.0
    for ratio in ratios:
        product *= ratio
    return f"Geometric mean of the last column: {product ** (1 / len(ratios)):.2f}." if ratios else ""


def measured_from(rows, results):
    """Which of our commits was measured, and on which pairs, where there are several."""
    sources = {}
    for name in rows:
        if result := results.by.get((name, "updraft")):
            sources.setdefault(result["source"], []).append(name)
    if len(sources) < 2:
        return "".join(sources) or "not measured"
    return "; ".join(f"{source} ({', '.join(names)})" for source, names in sources.items())


def section(rows, results):
    peers = ("bsdiff", "xdelta3", "zstd", "hdiffpatch")
    versions = "; ".join(version for tool in peers for version in results.versions(tool))
    text = INTRO.format(versions=versions, model=machine(), date=time.strftime("%Y-%m-%d"),
                        ours=measured_from(rows, results), minutes=meter.CPU_SECS_MAX // 60,
                        floor=round(meter.floor() / 1e6))
    lines = [BEGIN, "", *text.splitlines(), "", "### Bytes that travel", ""]
    lines += [*sizes(rows, results, False), "", mean(rows, results, False), "", "Held out, so that general beats tuned:", ""]
    lines += [*sizes(rows, results, True), "", mean(rows, results, True), "", *broken(rows, results), ""]
    lines += [*MAKING.splitlines(), "", *costs(rows, results, "make", ["of bsdiff's CPU", "of the old files"]), ""]
    lines += [*APPLYING.splitlines(), "", *costs(rows, results, "apply", ["s per 100 MB", "MiB"]), "", END]
    return "\n".join(lines) + "\n"


def write(page, rows, measured):
    """Puts the section where its marks are, or at the end of a page that has none yet."""
    text = page.read_text() if page.exists() else "# Benchmarks\n"
    fresh = section(rows, Results([result for result in measured if result["pair"] in rows]))
    marked = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END) + "\n", re.S)
    text = marked.sub(lambda _: fresh, text) if marked.search(text) else text.rstrip("\n") + "\n\n" + fresh
    partial = page.with_suffix(".partial")
    partial.write_text(text)
    os.replace(partial, page)
