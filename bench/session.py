# SPDX-License-Identifier: BSD-3-Clause
"""One session with the instrument: its options, and all that it measures."""

import argparse
import json
import os
import signal
import sys
import tempfile

import chains
import copies
import inplace
import opening
import place
import status
import writes
from instrument import Bench

MODULES = (writes, inplace, copies, chains, status, opening)
PLUGIN = "plugin/.libs/nbdkit-vdi-plugin.so"


def parser(doc):
    """What run and compare have in common."""
    p = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--only", metavar="REGEXP",
                   help="only the workloads whose name it matches")
    p.add_argument("--list", action="store_true", help="print the names")
    p.add_argument("--fs", help="comma-separated; default: tmpfs,ext4,xfs,"
                   "btrfs, each\nworkload on those where it tells something;"
                   "\nhere: all of them in the work directory")
    p.add_argument("--rounds", type=int, help="default: 5; with --quick: 3")
    p.add_argument("--quick", action="store_true",
                   help="a few minutes: smaller, shorter")
    p.add_argument("--tiny", action="store_true",
                   help="does the tool work?  The figures mean nothing")
    p.add_argument("--no-calls", dest="calls", action="store_false",
                   help="do not count system calls")
    p.add_argument("--which-calls", action="store_true",
                   help="and print which of them there are")
    p.add_argument("--json", metavar="FILE", help="the raw data")
    p.add_argument("--work", metavar="DIR", default=".", help="a directory "
                   "for up to 15 GiB of files\n(default: the current one)")
    return p


def measure(opts, kinds):
    """All rounds of all workloads that are wanted: the results, without what
    was interrupted or has failed, and whether anything has.
    """
    size = 2 if opts.tiny else 1 if opts.quick else 0
    opts.rounds = opts.rounds or (5, 3, 1)[size]
    bench = Bench(opts, kinds, size)
    workloads = [w for m in MODULES for w in m.workloads(bench.size)]
    if opts.list:
        for w in workloads:
            print("%-24s %s (%s)" % (w.name, w.title, ", ".join(w.places)))
        sys.exit()
    for program in (bench.client, bench.create, *(
            k.plugin for k in kinds if k.plugin)):
        if not os.path.exists(program):
            sys.exit("%s is missing: run this in the build directory, "
                     "after: make && make bench" % program)

    def interrupt(*_):
        raise KeyboardInterrupt
    signal.signal(signal.SIGTERM, interrupt)
    results = []
    can_mount = place.private_mounts()
    try:
        if not opts.tiny:
            place.touch_memory()
        with tempfile.TemporaryDirectory(
                prefix="bench-", dir=os.path.abspath(opts.work)) as work:
            for name in opts.fs.split(",") if opts.fs else place.NAMES:
                if name not in place.NAMES + ("here",):
                    sys.exit("no such file system: " + name)
                bench.run_place(name, work, can_mount, workloads, results)
    except KeyboardInterrupt:
        print("interrupted: what there is", file=sys.stderr)
    return results, bench.failed


def save(opts, data):
    if opts.json:
        with open(opts.json, "w") as f:
            json.dump(data, f, indent=1)
