# SPDX-License-Identifier: BSD-3-Clause
"""Whole disks copied by nbdcopy: out of the server, and into it."""

from instrument import Sample, Workload
from image import M, full_names


def prepare(bench):
    bench.images.make_full(bench.size["data"])


def prepare_half(bench):
    bench.images.make_full(bench.size["data"], half=True)


def nbdcopy(bench, kind, name, *args):
    """"NBD" in the arguments is the server."""
    with bench.serve(kind, name) as server:
        uri = "nbd+unix:///?socket=" + server.socket
        _, seconds, _ = bench.command(server, ["nbdcopy", *(
            uri if a == "NBD" else a for a in args)])
        return Sample(bench.size["data"] / M / seconds, None,
                      server.peak_memory())


def out(half):
    names = full_names(half)
    return lambda bench, kind: nbdcopy(bench, kind, names[kind.family],
                                       "NBD", "null:")


def into(*flush):
    def one(bench, kind):
        name = "empty-" + kind.family
        bench.images.make_empty(kind.family, name, bench.size["data"])
        try:
            return nbdcopy(bench, kind, name, *flush,
                           bench.images.path("source.img"), "NBD")
        finally:
            bench.images.remove(name)
    return one


def workloads(size):
    best = (("best", 0.97),)
    yield Workload("copy-out-half", "nbdcopy out, half empty", "MiB/s",
                   out(True), prepare=prepare_half, targets=best, readme=True)
    yield Workload("copy-out", "nbdcopy out, dense", "MiB/s", out(False),
                   prepare=prepare, targets=best, readme=True)
    yield Workload("copy-in", "nbdcopy in", "MiB/s", into(), prepare=prepare,
                   readme=True)
    yield Workload("copy-in-flush", "nbdcopy in --flush", "MiB/s",
                   into("--flush"), prepare=prepare, places=("ext4",),
                   readme=True)
