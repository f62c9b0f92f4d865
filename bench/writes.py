# SPDX-License-Identifier: BSD-3-Clause
"""Writes that allocate: into a disk of which nothing is there yet."""

from instrument import Sample, Workload
from image import G, K, M

ALL = ("tmpfs", "ext4", "xfs", "btrfs")
DISKS = ("ext4", "xfs", "btrfs")        # where a flush is not for nothing


def into_empty(bench, kind, size, unit, args, repeats=1):
    """A run on a disk made for it, or on several, one after the other."""
    name = "empty-" + kind.family
    samples = []
    for _ in range(repeats):
        bench.images.make_empty(kind.family, name, size)
        bench.quiesce()
        samples.append(bench.run(kind, name, unit, args))
        bench.images.remove(name)
    # Of rates of the same number of requests: the harmonic mean.
    return Sample(repeats / sum(1 / s.value for s in samples),
                  sum(s.cpu or 0 for s in samples) / repeats or None,
                  max(s.memory for s in samples))


def workloads(size):
    yield from guest_like(size)
    yield from first_touch(size)
    yield from sequential(size)
    yield from flushed(size)


def empty(name, title, unit, disk, *args, repeats=1, **kwargs):
    def one(bench, kind):
        return into_empty(bench, kind, disk, unit, args, repeats)
    return Workload(name, title, unit, one, **kwargs)


def guest_like(size):
    seconds = "--seconds=%g" % size["seconds"]
    yield empty("journal", "new block, flush, journal, flush", "/s",
                64 * G, "--cycle=wfjf", "--first=1M", "--stride=1M", seconds,
                places=ALL, targets=(("raw", 0.9),), readme=True)
    yield empty("trickle", "a new block every %g s, latency" % size["pause"],
                "us", 64 * G, "--stride=1M", "--pause=%g" % size["pause"],
                "--requests=%d" % size["trickle"], families=("vdi", "raw"),
                targets=(("raw", 0.8),), readme=True)
    yield empty("beside-flush", "new blocks beside a flush of %d MiB" %
                (size["dirty"] // M), "/s", 64 * G, "--first=1M",
                "--stride=1M", "--beside=%d" % size["dirty"], places=DISKS,
                targets=(("raw", 0.8),), readme=True)


def first_touch(size):
    def large(bench, kind, depth):
        blocks = size["touch_qemu" if kind.family == "qemu" else "touch"]
        return into_empty(bench, kind, 64 * G, "/s", [
            "--stride=1M", "--depth=%d" % depth, "--requests=%d" % blocks])

    for depth, target in ((1, 0.85), (32, 0.9)):
        targets = (("raw", target), ("qemu", 25), ("raw cpu", 1.3))
        yield Workload("touch-64g-%d" % depth, "4 KiB per MiB, %d blocks of "
                       "64 GiB, depth %d" % (size["touch"], depth), "/s",
                       lambda bench, kind, d=depth: large(bench, kind, d),
                       places=ALL, targets=targets, readme=True)
        yield empty("touch-small-%d" % depth, "4 KiB per MiB, all of %d MiB, "
                    "depth %d" % (size["small"], depth), "/s",
                    size["small"] * M, "--stride=1M", "--depth=%d" % depth,
                    "--requests=%d" % size["small"], targets=targets,
                    repeats=size["repeats"])
    for depth in (1, 32):
        yield empty("random-empty-%d" % depth, "random write 4 KiB, empty "
                    "image, depth %d" % depth, "/s", 2 * G, "--random",
                    "--depth=%d" % depth, "--requests=%d" % size["random"],
                    targets=(("raw", 0.9),), readme=True)


def sequential(size):
    for n in (64 * K, 256 * K, M):
        requests = "--requests=%d" % (size["fill"] // n)
        args = "--size=%dk" % (n // K), "--depth=4", requests
        yield empty("fill-%dk" % (n // K), "sequential write %d KiB, empty "
                    "image, depth 4" % (n // K), "MiB/s", size["fill"],
                    *args, targets=(("raw", 0.95),), readme=True)
        if n == 64 * K:
            yield empty("fill-flush-64k", "the same, 64 KiB, and a flush",
                        "MiB/s", size["fill"], *args, "--flush-end",
                        places=("ext4",))


def flushed(size):
    for clients in (1, 16):
        yield empty("alloc-flush-%d" % clients, "write 4 KiB and flush, "
                    "allocating, %d client%s" % (clients, "s"[clients < 2:]),
                    "/s", 64 * G, "--cycle=wf", "--stride=1M",
                    "--depth=%d" % clients, "--connections=%d" % clients,
                    "--seconds=%g" % size["seconds"], places=ALL,
                    targets=(("raw", 0.95),), readme=True)
