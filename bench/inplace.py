# SPDX-License-Identifier: BSD-3-Clause
"""Reads and writes of data that are there."""

from instrument import Workload
from image import full_names

FULL = full_names()


def prepare(bench):
    bench.images.make_full(bench.size["data"])


def in_place(name, title, unit, *args, **kwargs):
    def one(bench, kind):
        return bench.run(kind, FULL[kind.family], unit, args)
    return Workload(name, title, unit, one, prepare=prepare, **kwargs)


def workloads(size):
    seconds = "--seconds=%g" % size["seconds"]
    raw = ("raw", 0.97)
    for cycle, what in (("r", "read"), ("w", "write")):
        for depth, connections in ((1, 1), (32, 1), (32, 2), (32, 4),
                                   (32, 8), (32, 16)):
            args = ("--cycle=" + cycle, "--depth=%d" % depth,
                    "--connections=%d" % connections, seconds)
            where = "depth %d" % depth
            if connections > 1:
                where += ", %d connections" % connections
            yield in_place("place-%s-4k-%d-%d" % (what, depth, connections),
                           "random %s 4 KiB, %s" % (what, where), "/s",
                           "--random", *args, readme=connections in (1, 16),
                           targets=(raw, ("raw cpu", 1.05)),
                           curve=("connections", what, connections)
                           if depth == 32 else None)
            if connections in (2, 8):   # for the curve
                continue
            yield in_place("place-%s-1m-%d-%d" % (what, depth, connections),
                           "sequential %s 1 MiB, %s" % (what, where),
                           "MiB/s", "--size=1M", *args, targets=(raw,),
                           readme=connections == 1)
    yield in_place("place-flush", "write 4 KiB and flush, in place, depth 1",
                   "/s", "--cycle=wf", "--random", seconds,
                   places=("tmpfs", "ext4", "xfs", "btrfs"), readme=True)
