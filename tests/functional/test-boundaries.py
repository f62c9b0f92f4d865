# SPDX-License-Identifier: BSD-3-Clause
"""Requests across every edge of a block, with odd beginnings and ends, on
blocks that are there and that are not."""

import nbd

import vdi
import vditest
from vditest import K, M

# (before the edge, behind it)
REACH = [(1, 1), (511, 1), (1, 513), (512, 512), (700, 5000)]


def edges(h, disk, block_size, act):
    """act (offset, count) at each edge; the whole disk must then be right
    as well as what is read across each edge."""
    size = len(disk)
    for n, edge in enumerate(range(block_size, size, block_size)):
        before, behind = REACH[n % len(REACH)]
        offset = edge - before
        count = min(before + behind, size - offset)
        act(offset, count, n)
        lo, hi = max(0, offset - 600), min(size, offset + count + 600)
        assert h.pread(hi - lo, lo) == disk[lo:hi], "at edge %d" % edge
    assert vditest.read_all(h) == disk


def layouts():
    yield "4k", dict(size=260 * K + 512, block_size=4 * K)
    yield "64k", dict(size=1 * M + 1024, block_size=64 * K, block_extra=512)
    yield "1m", dict(size=9 * M + 512, block_size=M)
    yield "2m", dict(size=13 * M, block_size=2 * M)


def run(name, params, parent_blocks):
    disk = bytearray(params["size"])
    if parent_blocks:
        size = params["size"]
        raw = vditest.pattern(7, 0, size)
        base = vdi.make(vditest.path(name + "-base.vdi"), size=size,
                        block_size=128 * K,
                        blocks={b: raw[b * 128 * K:(b + 1) * 128 * K]
                                for b in range((size + 128 * K - 1) //
                                               (128 * K))})
        image = vdi.child(vditest.path(name + ".vdi"), base, **params)
        disk[:] = raw
        below = [vdi.Image(base)]
    else:
        image = vdi.make(vditest.path(name + ".vdi"), **params)
        below = []

    with vditest.serve(image) as s:
        h = s.connect()

        def write(offset, count, n):
            data = vditest.pattern(n + 1, offset, count)
            h.pwrite(data, offset)
            disk[offset:offset + count] = data

        def write_or_skip(offset, count, n):
            if n % 2:
                write(offset, count, n)

        def zero(offset, count, n):
            flags = [0, nbd.CMD_FLAG_NO_HOLE, nbd.CMD_FLAG_FUA][n % 3]
            h.zero(count, offset, flags)
            disk[offset:offset + count] = vditest.zeros(count)

        def trim(offset, count, n):
            old = disk[offset:offset + count]
            h.trim(count, offset)
            got = h.pread(count, offset)
            for a, b in zip(old, got):
                assert b in (0, a)
            disk[offset:offset + count] = got

        def extents(offset, count, n):
            for o, c, kind in vditest.extents(h, count, offset):
                if kind & nbd.STATE_ZERO:
                    assert not any(disk[o:o + c])

        block_size = params["block_size"]
        for act in (zero, trim, write_or_skip, extents, trim, write, zero,
                    write, extents):
            edges(h, disk, block_size, act)
        h.flush()
    with vditest.serve(image, readonly=True) as s:
        assert vditest.read_all(s.connect()) == disk
    assert vdi.Image(image).read(*below) == disk
    assert vdi.Image(image).problems() == []


def test_base():
    for name, params in layouts():
        run(name, params, False)


def test_child():
    for name, params in layouts():
        run(name, params, True)


def test_everything_at_once():
    """One request over all blocks, every second of which is stored."""
    size = 9 * M + 512
    image = vdi.make(vditest.path("disk.vdi"), size=size, block_size=64 * K,
                     blocks={b: bytes([b]) * 64 * K for b in range(1, 140, 2)})
    disk = bytearray(vdi.Image(image).read())
    with vditest.serve(image) as s:
        h = s.connect()
        assert h.pread(size, 0) == disk
        data = vditest.pattern(3, 0, size - 2)
        h.pwrite(data, 1)
        disk[1:-1] = data
        assert h.pread(size, 0) == disk
    assert vdi.Image(image).read() == disk


vditest.main()
