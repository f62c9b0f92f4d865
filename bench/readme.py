# SPDX-License-Identifier: BSD-3-Clause
"""The README's table and picture, and bench/results/, made anew."""

import os
import statistics
import sys

import figures
import plots

BEGIN = "<!-- bench/run --readme writes from here -->\n"
END = "<!-- to here -->\n"
SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RESULTS = os.path.join(SOURCE, "bench", "results")
COLUMNS = (("tmpfs", "raw"), ("tmpfs", "qemu"), ("ext4", "raw"),
           ("ext4", "qemu"))


def update(data, text):
    """text is the whole report, for those who want more than a table."""
    os.makedirs(RESULTS, exist_ok=True)
    with open(os.path.join(RESULTS, "speed.txt"), "w") as f:
        f.write(text)
    plots.draw(data["results"], RESULTS)
    path = os.path.join(SOURCE, "README.md")
    with open(path) as f:
        old = f.read()
    if BEGIN not in old or END not in old:
        sys.exit("%s has no place for the table" % path)
    before, rest = old.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    with open(path, "w") as f:
        f.write(before + BEGIN + section(data) + END + after)


def section(data):
    by_name = {}
    for r in data["results"]:
        if r["readme"]:
            by_name.setdefault(r["name"], {})[r["place"]] = r
    rows = [row(places) for places in by_name.values()]
    lines = ["- " + line for line in data["machine"]] + [""]
    lines += figures.table(["workload", "this plugin"] + [
        "of %s, %s" % (other, place) for place, other in COLUMNS], rows)
    return "\n".join(lines) + """

![The ratios with their spread](bench/results/speed.svg)

[bench/results/speed.txt](bench/results/speed.txt) has the rest: spread,
processor time, system calls, memory, xfs and btrfs;
[bench/results/curves.svg](bench/results/curves.svg) shows how it grows with
connections, size, extents and the length of a chain.
"""


def row(places):
    """One workload; its figure is that on ext4, if there is one."""
    r = places.get("ext4") or next(iter(places.values()))
    cells = []
    for place, other in COLUMNS:
        ratios = figures.ratios(places[place], other) if place in places \
            else []
        cells.append(figures.number(statistics.median(ratios))
                     if ratios else "")
    return [r["title"], "%s %s" % (figures.cell(r, "vdi"), r["unit"])
            if r["unit"] != "/s" else figures.cell(r, "vdi") + "/s", *cells]
