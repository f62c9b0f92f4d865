# SPDX-License-Identifier: BSD-3-Clause
"""Block status: where the data of a large disk are."""

from instrument import Workload
from image import FORMATS, G, K, M, T

PLACES = ("tmpfs", "ext4", "xfs")
WALKS = (("one", "one a call", ("--one", "--size=4095M")),
         ("128m", "128 MiB a call", ("--size=128M",)))


def name_of(kind):
    return "sparse." + FORMATS[kind.family]


def workloads(size):
    n, dense = size["extents"], size["dense"]
    # QEMU takes a block that is there for data from end to end.  As every
    # extent is in a block of its own, all servers describe as many.
    for name, title, disk, count, stored, random in (
            ("1t", "1 TiB, %d extents of 64 KiB" % n, T, n, 64 * K, False),
            ("1t-dense", "1 TiB, %d extents of 1 MiB" % dense, T, dense, M,
             False),
            ("64g", "64 GiB in random order, %d extents of 4 KiB" % (2 * n),
             64 * G, 2 * n, 4 * K, True),
            ("64g-dense", "64 GiB in random order, %d extents of 1 MiB" %
             dense, 64 * G, dense, M, True)):
        if size["extents"] < 64:        # then nothing is to take long
            disk //= 256
        prepare = layout(disk, count, stored, random)
        for walk, how, args in WALKS:
            yield walking("status-%s-%s" % (name, walk), "block status of "
                          "%s; %s" % (title, how), prepare, args,
                          places=PLACES, targets=(("best", 1.0),),
                          readme=walk == "one")
        if name == "1t":
            yield reading(size, disk, prepare)
    # How it grows with the number of extents.
    for n in size["curve_extents"]:
        yield walking("curve-extents-%d" % n, "block status of 1 TiB, %d "
                      "extents of 64 KiB" % n, layout(T, n, 64 * K, False),
                      WALKS[0][2], places=("tmpfs",), curve=("extents",
                                                             "", n))


def layout(disk, count, stored, random):
    def prepare(bench):
        for family in {FORMATS[k.family]: k.family for k in
                       bench.kinds}.values():
            bench.images.make_sparse(
                family, "sparse." + FORMATS[family], disk,
                disk // M // count, stored, random)
    return prepare


def walking(name, title, prepare, args, **kwargs):
    def one(bench, kind):
        return bench.run(kind, name_of(kind), "s", ("--extents", *args))
    return Workload(name, title, "s", one, prepare=prepare, **kwargs)


def reading(size, disk, prepare):
    def one(bench, kind):
        return bench.run(kind, name_of(kind), "/s", (
            "--cycle=r", "--random", "--depth=32",
            "--seconds=%g" % size["seconds"]))
    return Workload("read-1t", "random read 4 KiB of that disk, depth 32",
                    "/s", one, prepare=prepare, places=("tmpfs",))
