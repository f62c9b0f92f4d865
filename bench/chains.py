# SPDX-License-Identifier: BSD-3-Clause
"""Reads through differencing images: all the data are in the base.

The other side is a chain of qcow2 images: qemu-nbd refuses such VDIs.
"""

import subprocess

from instrument import Workload
from image import full_names

DEPTHS = (1, 2, 4, 8, 16)


def name_of(kind, depth):
    if depth == 1:
        return full_names()["vdi"] if kind.family == "vdi" else "base.qcow2"
    return "over-%d.%s" % (depth, "vdi" if kind.family == "vdi" else "qcow2")


def prepare(bench):
    images = bench.images
    images.make_full(bench.size["data"])
    for family in {k.family for k in bench.kinds} - {"raw"}:
        kind = next(k for k in bench.kinds if k.family == family)
        if family == "qemu":
            subprocess.run(["qemu-img", "convert", "-f", "raw", "-O",
                            "qcow2", images.path("source.img"),
                            images.path("base.qcow2")], check=True)
        below = name_of(kind, 1)
        for depth in range(2, DEPTHS[-1] + 1):
            name = name_of(kind, depth)
            if family == "vdi":
                images.make_child(name, below)
            else:
                subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2",
                                "-b", images.path(below), "-F", "qcow2",
                                images.path(name)], check=True)
            below = name


def reading(depth, name, title, unit, args, **kwargs):
    def one(bench, kind):
        return bench.run(kind, name_of(kind, depth), unit, args, "qcow2")
    return Workload("chain-%d-%s" % (depth, name), "chain of %d: %s (qemu: "
                    "qcow2)" % (depth, title), unit, one,
                    families=("vdi", "qemu"), places=("tmpfs",),
                    prepare=prepare, readme=depth in (1, 8), **kwargs)


def workloads(size):
    seconds = "--seconds=%g" % size["seconds"]
    for depth in DEPTHS:
        yield reading(depth, "4k", "random read 4 KiB, depth 32", "/s",
                      ("--cycle=r", "--random", "--depth=32", seconds),
                      curve=("chain", "4k", depth))
        yield reading(depth, "1m", "sequential read 1 MiB, depth 4", "MiB/s",
                      ("--cycle=r", "--size=1M", "--depth=4", seconds),
                      curve=("chain", "1m", depth))
