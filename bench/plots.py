# SPDX-License-Identifier: BSD-3-Clause
"""The pictures of bench/results/, by gnuplot."""

import os
import re
import shutil
import statistics
import subprocess
import sys

import figures

SERVERS = (("vdi", "this plugin", "#c0392b"), ("raw", "raw file", "#7f8c8d"),
           ("qemu", "QEMU", "#2471a3"))

# (curve, line) -> title, x axis, y axis, scale of both axes
PANELS = (
    (("connections", "read"), "random read 4 KiB, 32 in flight",
     "connections", "requests/s", "x"),
    (("connections", "write"), "random write 4 KiB, 32 in flight",
     "connections", "requests/s", "x"),
    (("size", "random"), "opening, full in random order (QEMU: qemu-img "
     "info)", "size, TiB", "seconds", "xy"),
    (("extents", ""), "block status of 1 TiB, one extent a call", "extents",
     "seconds", "xy"),
    (("chain", "4k"), "random read 4 KiB through a chain (QEMU: qcow2)",
     "images", "requests/s", "x"),
    (("chain", "1m"), "sequential read 1 MiB through a chain (QEMU: qcow2)",
     "images", "MiB/s", "x"),
)

# (server, file system), where the point is in its row, colour
SERIES = (("raw", "tmpfs", 0.2, "#c0392b"), ("raw", "ext4", 0.0, "#e59866"),
          ("qemu", "ext4", -0.2, "#2471a3"))


def draw(results, directory):
    if shutil.which("gnuplot") is None:
        print("gnuplot is missing: no pictures", file=sys.stderr)
        return
    rows = ratio_rows(results)
    for name, height, script in (
            ("curves.svg", 900, curves(results)),
            ("speed.svg", 90 + 22 * len(rows), ratios(rows))):
        if any(line.startswith("plot ") for line in script):
            gnuplot(os.path.join(directory, name), 900, height, script)
        else:
            print("%s: nothing to draw was measured" % name, file=sys.stderr)


def gnuplot(path, width, height, script):
    head = ['set terminal svg size %d,%d font "sans,12" background "white"' %
            (width, height)]
    r = subprocess.run(["gnuplot"], check=True, text=True,
                       stdout=subprocess.PIPE,
                       input="\n".join(head + script) + "\n")
    with open(path, "w") as f:
        # Half of what it writes are groups with nothing in them, and what
        # holds anyway.
        f.write(re.sub(r'<g [^>]*>\s*</g>\s*|\t| stroke-width="1.00"| stroke-'
                       'linecap="butt" stroke-linejoin="miter"', "",
                       r.stdout))


def data(name, lines):
    return ["$%s << END" % name] + lines + ["END"]


def curves(results):
    """Each panel: a line for each server, with the rounds' spread."""
    script, panels = [], []
    for n, (curve, title, x, y, logs) in enumerate(PANELS):
        points = [r for r in results if r["curve"] and
                  tuple(r["curve"][:2]) == curve and r["place"] == "tmpfs"]
        lines = []
        for kind, name, colour in SERVERS:
            rows = [spread_row(r, kind) for r in sorted(
                points, key=lambda r: r["curve"][2]) if r["samples"].get(kind)]
            if rows:
                script += data("p%d%s" % (n, kind), rows)
                lines.append('$p%d%s with yerrorlines lc "%s" pt 7 ps 0.5 '
                             'title "%s"' % (n, kind, colour, name))
        if lines:
            panels.append(["set title '%s'" % title, "set xlabel '%s'" % x,
                           "set ylabel '%s'" % y, "unset logscale",
                           "set logscale x %d" % (10 if logs == "xy" else 2),
                           "set logscale y" if logs == "xy" else "",
                           "set yrange [%s:*]" % ("*" if logs == "xy" else 0),
                           "set format y '%s'" % (
                               "%g" if logs == "xy" else "%.0s%c"),
                           "set offsets graph 0.05, graph 0.05",
                           "plot " + ", ".join(lines)])
    script += ["set multiplot layout 3,2", "set grid",
               "set key below horizontal"]
    return script + [line for panel in panels for line in panel]


def spread_row(result, kind):
    values = [s["value"] for s in result["samples"][kind]]
    return "%g %g %g %g" % (result["curve"][2], statistics.median(values),
                            min(values), max(values))


def ratio_rows(results):
    """[(title, {(server, file system): ratios})] of the README's table."""
    rows = {}
    for r in results:
        if not r["readme"]:
            continue
        title, found = rows.setdefault(r["name"], (r["title"], {}))
        for other, place, _, _ in SERIES:
            # What is not measured on ext4 is there as it is on tmpfs.
            if place == r["place"] or (other == "qemu" and place not in found
                                       and r["place"] == "tmpfs"):
                ratio = figures.ratios(r, other)
                if ratio:
                    found[other, place] = ratio
    return [row for row in rows.values() if row[1]]


def ratios(rows):
    script, lines = [], []
    for n, (other, place, shift, colour) in enumerate(SERIES):
        points = ["%g %g %g %g" % (statistics.median(found[other, place]),
                                   len(rows) - i + shift,
                                   min(found[other, place]),
                                   max(found[other, place]))
                  for i, (_, found) in enumerate(rows)
                  if (other, place) in found]
        if points:
            script += data("s%d" % n, points)
            lines.append('$s%d using 1:2:3:4 with xerrorbars lc "%s" pt 7 '
                         'ps 0.6 title "of %s"' % (
                             n, colour, "QEMU" if other == "qemu"
                             else "raw, " + place))
    ticks = ", ".join("'%s' %d" % (title, len(rows) - i)
                      for i, (title, _) in enumerate(rows))
    return script + [
        "set title 'This plugin beside others: right of 1 it is better'",
        "set ytics (%s)" % ticks, "set logscale x", "set grid",
        "set xrange [0.02:200]", "set yrange [0:%d]" % (len(rows) + 1),
        "set key below horizontal", "set lmargin 68",
        "set arrow from 1, graph 0 to 1, graph 1 nohead lw 1.5",
        *(["plot " + ", ".join(lines)] if lines else [])]
