# SPDX-License-Identifier: BSD-3-Clause
"""Opening a large image, to read it, beside "qemu-img info": the time until
a client could send its first request, the server's own start included, or
until the information is there.
"""

import os
import subprocess
import time

from instrument import Sample, Workload
from image import G, T

NAME = "large.vdi"
SHAPES = {"empty": "empty", "full": "full", "random": "random order"}


def workloads(size):
    for disk in size["opening"]:
        for shape in SHAPES:
            yield opening(disk, shape)


def opening(disk, shape):
    tib = "%g TiB" % (disk / T) if disk >= T else "%g GiB" % (disk / G)

    def prepare(bench):
        if shape == "empty":
            bench.images.make_empty("vdi", NAME, disk)
        else:
            bench.images.make_sparse("vdi", NAME, disk, 1, 0,
                                     shape == "random")

    def one(bench, kind):
        if kind.family == "qemu":
            return info(bench.images.path(NAME))
        with bench.serve(kind, NAME, read_only=True) as server:
            return Sample(server.open_seconds, None, server.peak_memory())

    large = disk in (T, 16 * T, 64 * T)
    return Workload(
        "open-%s-%s" % (tib.replace(" ", "").lower(), shape),
        "opening %s, %s (qemu-img info)" % (tib, SHAPES[shape]), "s", one,
        families=("vdi", "qemu"),
        places=("tmpfs", "xfs") if large else ("tmpfs",), prepare=prepare,
        targets=(("qemu", 1.5),) if large else (),
        curve=("size", shape, disk / T),
        readme=disk in (T, 64 * T) and shape != "full")


def info(path):
    start = time.monotonic()
    process = subprocess.Popen(["qemu-img", "info", "-f", "vdi", path],
                               stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise OSError("qemu-img info failed")
    return Sample(seconds, None, usage.ru_maxrss << 10)
