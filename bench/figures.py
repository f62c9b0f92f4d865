# SPDX-License-Identifier: BSD-3-Clause
"""What the samples say: medians, ratios within each round, tables.

A ratio above 1 says that ours is better: faster, or less.  It is made
within each round; what is printed is the median of the rounds' ratios with
the lowest and the highest.
"""

import os
import platform
import re
import statistics
import subprocess


def more_is_better(unit):
    return unit in ("/s", "MiB/s")


def number(x):
    return "%.0f" % x if x >= 100 else "%.3g" % x


def value(result, kind, field="value"):
    """The median of a server's rounds, or None."""
    values = [s[field] for s in result["samples"].get(kind, ())
              if s[field] is not None]
    return statistics.median(values) if values else None


def ratios(result, what, ours="vdi"):
    """Of each round.  what: another server's name, or "best" (the better of
    all others), or either with " cpu" or " memory" behind it: of what the
    servers used.
    """
    other, _, field = what.partition(" ")
    samples = result["samples"]
    others = [k for k in samples if k != ours] if other == "best" else [other]
    if ours not in samples or not others or \
       any(k not in samples for k in others):
        return []
    rounds = []
    for i, sample in enumerate(samples[ours]):
        mine = sample[field or "value"]
        theirs = [samples[k][i][field or "value"] for k in others]
        if not mine or not all(theirs):
            return []
        if field:
            rounds.append(mine / min(theirs))   # how much more of it
        elif more_is_better(result["unit"]):
            rounds.append(mine / max(theirs))
        else:
            rounds.append(min(theirs) / mine)
    return rounds


def ratio(result, what, ours="vdi"):
    """As it is printed."""
    r = ratios(result, what, ours)
    return spread(r) if r else ""


def spread(figures):
    text = "%.3g" % statistics.median(figures)
    if len(figures) > 1:
        text += " (%.3g..%.3g)" % (min(figures), max(figures))
    return text


def target(result, what, bound):
    """Is the target met?"""
    r = ratios(result, what)
    less = " " in what
    text = "%s%g of %s" % ("<= " if less else ">= ", bound, what)
    if r:
        median = statistics.median(r)
        text += ": " + ("met" if (median <= bound if less
                                  else median >= bound) else "MISSED")
    return text


def cell(result, kind, field="value", unit=1):
    v = value(result, kind, field)
    return "" if v is None else number(v / unit)


def table(head, rows):
    """A Markdown table; all but the first column are numbers."""
    lines = ["| " + " | ".join(head) + " |",
             "|---|" + "--:|" * (len(head) - 1)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def speed_table(results):
    return table(
        ("workload", "on", "unit", "vdi", "raw", "qemu", "of raw", "of qemu",
         "target"),
        [(r["title"], r["place"], r["unit"], *(cell(r, k) for k in (
            "vdi", "raw", "qemu")), ratio(r, "raw"), ratio(r, "qemu"),
          "; ".join(target(r, *t) for t in r["targets"])) for r in results])


def usage_table(results):
    """What the servers used, where the client counts its requests."""
    kinds = ("vdi", "raw", "qemu")
    return table(
        ("workload", "on", *("CPU, " + k for k in kinds), "of raw",
         *("calls, " + k for k in kinds), *("MiB, " + k for k in kinds)),
        [(r["title"], r["place"], *(cell(r, k, "cpu") for k in kinds),
          ratio(r, "raw cpu"), *(calls(r, k) for k in kinds),
          *(cell(r, k, "memory", 1 << 20) for k in kinds))
         for r in results if value(r, "vdi", "memory") is not None])


def calls(result, kind):
    if value(result, kind, "cpu") is None:
        return ""
    counts = result["calls"].get(kind)
    return number(counts["all"]) if counts else "not measured"


def report(data):
    """All there is to say about a session of bench/run."""
    results = data["results"]
    return "\n".join(
        ["- " + line for line in data["machine"]] + [""] +
        speed_table(results) +
        ["", "What the servers used: microseconds of processor time and "
         "system calls a request, peak memory in MiB.", ""] +
        usage_table(results) + [""])


def calls_list(results):
    """Which system calls, for those who want to have fewer."""
    for r in results:
        for kind, counts in r["calls"].items():
            if counts:
                yield "%s, %s, %s: %s" % (r["name"], r["place"], kind, " ".join(
                    "%s %.3g" % (name, n) for name, n in sorted(
                        counts.items(), key=lambda c: -c[1]) if n >= 0.001))


def output(*args):
    try:
        return subprocess.run(args, stdout=subprocess.PIPE, check=True,
                              stderr=subprocess.DEVNULL
                              ).stdout.decode().strip()
    except (OSError, subprocess.CalledProcessError):
        return "?"


def revision():
    return output("git", "-C", os.path.dirname(os.path.abspath(__file__)),
                  "describe", "--always", "--dirty")


def machine():
    """What it was measured on, as text."""
    with open("/proc/cpuinfo") as f:
        cpu = re.search(r"model name\s*: (.*)", f.read())
    with open("/proc/meminfo") as f:
        memory = int(re.search(r"MemTotal:\s+(\d+)", f.read())[1]) / (1 << 20)
    return ["%s, %d CPUs, %d GiB of memory, Linux %s" % (
                cpu[1] if cpu else platform.machine(), os.cpu_count(),
                round(memory), platform.release()),
            "%s; %s; libnbd %s; this plugin: %s" % (
                output("nbdkit", "--version"),
                output("qemu-nbd", "--version").splitlines()[0],
                output("pkg-config", "--modversion", "libnbd"), revision())]


class Load:
    """What else the machine did: the load before, and while we ran."""

    def __init__(self):
        self.before = os.getloadavg()[0]

    def __str__(self):
        return "load average before: %.1f, at the end: %.1f" % (
            self.before, os.getloadavg()[0])
