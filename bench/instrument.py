# SPDX-License-Identifier: BSD-3-Clause
"""Runs workloads against servers in turn, round after round.

Whatever else the machine does meets all servers of a round alike, so what
counts are the ratios within a round, and how far those of several rounds
lie apart.  After the rounds of a workload each server runs it once more
with its system calls counted, which takes time and is not timed.
"""

import collections
import ctypes
import dataclasses
import os
import re
import statistics
import subprocess
import sys
import time

from image import Images, G, K, M, T
from place import place
from server import Server, count_calls

THREADS = 16                    # of each connection (QEMU: connections)

FEW = 50                        # requests: too few for an average

# A server: its name in the tables, its family (see image.py), its plugin.
Kind = collections.namedtuple("Kind", "name family plugin")

# What one run has brought.  The processor time is the server's while the
# client was at work, in microseconds per request; the memory its peak, in
# bytes; None is what does not apply.
Sample = collections.namedtuple("Sample", "value cpu memory",
                                defaults=(None, None))

# How large things are: by default, with --quick, in the test of the tool.
SIZES = {
    "data": (G, 256 * M, 32 * M),       # disk with data in place
    "seconds": (0.5, 0.3, 0.02),        # of a run by time
    "touch": (20000, 4000, 100),        # blocks of the 64 GiB disk
    "touch_qemu": (512, 256, 20),       # the same for QEMU: 1 MiB each
    "small": (512, 512, 16),            # blocks of a small disk
    "repeats": (4, 2, 1),               # small disks a run
    "fill": (512 * M, 256 * M, 16 * M),
    "random": (20000, 4000, 100),       # writes into an empty disk
    "trickle": (4, 3, 2),               # blocks
    "pause": (2.0, 2.0, 0.02),          # between them, seconds
    "dirty": (256 * M, 128 * M, 4 * M), # flushed beside others' writes
    "extents": (8192, 8192, 16),        # of the 1 TiB disk
    "dense": (2048, 512, 16),           # such of 1 MiB
    "curve_extents": ((64, 512, 4096, 32768), (64, 4096), (16, 64)),
    "opening": ((T // 16, T, 4 * T, 16 * T, 64 * T), (T, 16 * T, 64 * T),
                (T // 64, T)),
}


@dataclasses.dataclass
class Workload:
    """one (bench, kind) makes a run of it and returns a Sample."""

    name: str                   # for --only
    title: str                  # for the tables
    unit: str                   # "/s", "MiB/s": more is better, else less
    one: object
    families: tuple = ("vdi", "raw", "qemu")
    places: tuple = ("tmpfs", "ext4")
    prepare: object = None      # makes images that several workloads share
    targets: tuple = ()         # (what, ratio); see figures.py
    curve: tuple = None         # (curve, line, x); see plots.py
    readme: bool = False        # in the README's table


class Bench:
    def __init__(self, opts, kinds, size):
        self.opts = opts
        self.kinds = kinds
        self.size = {k: v[size] for k, v in SIZES.items()}
        self.client = os.path.abspath("bench/client")
        self.create = os.path.abspath("bench/create")
        self.images = None      # of the current place
        self.prepared = None    # by this function of a workload
        self.failed = False     # some workload
        self.counting = False
        self.counts = None      # of the last run, when counting
        self.libc = ctypes.CDLL(None)

    # For workloads.

    def serve(self, kind, name, format=None, read_only=False):
        path = self.images.path(name)
        r = ["-r"] if read_only else []
        if kind.family == "qemu":
            return Server(["qemu-nbd", *r, "-t", "-e", str(THREADS), "-f",
                           format or "vdi", "-k", "SOCKET", path])
        return Server(["nbdkit", *r, "-f", "-t", str(THREADS), "-U",
                       "SOCKET", kind.plugin or "file", path])

    def command(self, server, args):
        """Run a client; returns its output, the seconds, the server's."""
        if self.counting:
            counted = count_calls(server.pid, args,
                                  self.opts.which_calls)
            if counted is not None:
                self.counts = counted[1]
                return counted[0], 1, 0
        cpu, start = server.cpu(), time.monotonic()
        r = subprocess.run(args, stdout=subprocess.PIPE, check=True)
        return (r.stdout, time.monotonic() - start, server.cpu() - cpu)

    def run_client(self, server, *args):
        """Requests, seconds, median latency, processor time."""
        out, _, cpu = self.command(server,
                                   [self.client, *args, server.socket])
        requests, seconds, median = out.split()
        if self.counting and self.counts:
            self.counts = {k: v / int(requests)
                           for k, v in self.counts.items()}
        return int(requests), float(seconds), float(median), cpu

    def run(self, kind, name, unit, args, format=None):
        """Start a server, run the client, stop the server."""
        with self.serve(kind, name, format) as server:
            n, seconds, median, cpu = self.run_client(server, *args)
            memory = server.peak_memory()
        if unit == "us":
            value = median * 1e6
        elif unit == "s":
            value = seconds
        elif unit == "MiB/s":
            value = n * request_size(args) / M / seconds
        else:
            value = n / seconds
        # Of few requests most would be what the connection costs; and what
        # another connection does meanwhile is not the requests' either.
        if n < FEW or any(a.startswith("--beside=") for a in args):
            self.counts = cpu = None
        return Sample(value, cpu and cpu / n * 1e6, memory)

    # The loop.

    def wanted(self, workload, where):
        only = self.opts.only
        return where in workload.places + ("here",) and \
            (only is None or re.search(only, workload.name) is not None)

    def run_place(self, name, work, can_mount, workloads, results):
        workloads = [w for w in workloads if self.wanted(w, name)]
        if not workloads:
            return
        with place(name, work, can_mount) as directory:
            if directory is None:
                print("%s: not measured, that takes root" % name,
                      file=sys.stderr)
                return
            self.images = Images(directory, self.create)
            self.prepared = None
            try:
                for w in workloads:
                    results.extend(self.attempt(w, name))
            finally:
                self.images.remove_all()

    def attempt(self, w, where):
        """The result; or nothing, and the next workload begins afresh."""
        try:
            if w.prepare is not self.prepared:
                self.images.remove_all()
                self.prepared = None
                if w.prepare:
                    w.prepare(self)
                self.prepared = w.prepare
            return [self.measure(w, where)]
        except (OSError, subprocess.CalledProcessError) as e:
            print("%s, %s: FAILED: %s" % (where, w.title, e),
                  file=sys.stderr)
            self.failed = True
            self.counting = False
            self.images.remove_all()
            self.prepared = None
            return []

    def measure(self, w, where):
        kinds = [k for k in self.kinds if k.family in w.families]
        rounds = {k.name: [] for k in kinds}
        for i in range(self.opts.rounds):
            for j in range(len(kinds)):
                kind = kinds[(i + j) % len(kinds)]
                self.quiesce()
                rounds[kind.name].append(w.one(self, kind))
        calls = {}
        for kind in kinds:
            if self.opts.calls and rounds[kind.name][0].cpu is not None:
                self.counting, self.counts = True, None
                w.one(self, kind)
                self.counting = False
                calls[kind.name] = self.counts
        print("%s, %s: %s" % (where, w.title, "  ".join(
            "%s %.4g %s" % (k, statistics.median(s.value for s in v), w.unit)
            for k, v in rounds.items())), file=sys.stderr)
        return {"name": w.name, "place": where, "title": w.title,
                "unit": w.unit,
                "targets": w.targets, "curve": w.curve, "readme": w.readme,
                "calls": calls,
                "samples": {k: [s._asdict() for s in v]
                            for k, v in rounds.items()}}

    def quiesce(self):
        """What one server has left dirty must not slow down the next."""
        fd = os.open(self.images.directory, os.O_RDONLY)
        self.libc.syncfs(fd)
        os.close(fd)


def request_size(args):
    size = next(a for a in args if a.startswith("--size="))[7:]
    return int(size[:-1]) * {"k": K, "M": M}[size[-1]]
