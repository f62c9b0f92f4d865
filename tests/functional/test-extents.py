# SPDX-License-Identifier: BSD-3-Clause
"""What is a hole, what is zero and what is data, as clients see it and as
QEMU sees it in the file."""

import json
import os
import random

import nbd

import vdi
import vditest
from vditest import K, M

DATA = 0
ZERO = nbd.STATE_ZERO
HOLE = nbd.STATE_HOLE | nbd.STATE_ZERO


def aligned(name="disk.vdi", **kw):
    return vdi.make(vditest.path(name), map_off=M, data_off=2 * M, **kw)


def test_map():
    image = aligned(size=10 * M, blocks={
        1: b"x" * M, 2: b"y" * M, 4: vdi.ZERO, 5: b"z" * M, 9: b"w" * M})
    with vditest.serve(image, readonly=True) as s:
        assert vditest.extents(s.connect()) == [
            (0, M, HOLE), (M, 2 * M, DATA), (3 * M, 2 * M, HOLE),
            (5 * M, M, DATA), (6 * M, 3 * M, HOLE), (9 * M, M, DATA)]


def test_holes_in_blocks():
    """Parts of a block that take no space are holes too."""
    image = aligned(size=8 * M)
    with vditest.serve(image) as s:
        h = s.connect()
        h.pwrite(b"x" * 64 * K, 2 * M + 256 * K)
        assert vditest.extents(h) == [
            (0, 2 * M + 256 * K, HOLE), (2 * M + 256 * K, 64 * K, DATA),
            (2 * M + 320 * K, 6 * M - 320 * K, HOLE)]
        h.trim(32 * K, 2 * M + 256 * K)
        if vditest.extents(h)[0][1] != 2 * M + 288 * K:
            vditest.skip("this file system cannot punch holes")
        h.pwrite(b"y" * M, 2 * M)
        assert vditest.extents(h)[1] == (2 * M, M, DATA)


def test_clamped():
    """Never more than was asked for; one extent if one was asked for."""
    image = aligned(size=10 * M, blocks={b: b"x" * M for b in (2, 3, 7)})
    with vditest.serve(image, readonly=True) as s:
        h = s.connect()
        for count, offset in [(1, 0), (100, 3 * M - 50), (3 * M, M + 1),
                              (M, 2 * M), (512, 10 * M - 512), (10 * M, 0)]:
            for flags in 0, nbd.CMD_FLAG_REQ_ONE:
                got = []
                h.block_status(count, offset, lambda c, o, e, err:
                               got.extend(e), flags)
                total = sum(got[0::2])
                assert total == count or (flags and total < count), got
                assert not flags or len(got) == 2, got


def qemu_map(*args):
    return [(e["start"], e["length"], e["data"], e["zero"])
            for e in json.loads(vditest.qemu_img("map", "--output=json",
                                                 *args))]


def merged(extents):
    result = []
    for start, length, data, zero in extents:
        if result and result[-1][2:] == [data, zero]:
            result[-1][1] += length
        else:
            result.append([start, length, data, zero])
    return result


def test_as_qemu_sees_it():
    """qemu-img map of the file and through us: what is data for the one is
    data for the other.  (Blocks are full: QEMU does not look for holes in
    those of dynamic images.)"""
    image = aligned(size=12 * M, blocks={
        b: vditest.pattern(b, 0, M) for b in (0, 1, 4, 8, 9, 11)})
    direct = merged(qemu_map("-f", "vdi", image))
    with vditest.serve(image, readonly=True) as s:
        ours = merged(qemu_map(s.uri))
    assert [e[:3] for e in direct] == [e[:3] for e in ours], (direct, ours)
    for start, length, data, zero in ours:
        assert data != zero


def file_holes(image):
    """What the kernel says of the file, seen through its map: the extents
    of the disk."""
    i = vdi.Image(image)
    fd = os.open(image, os.O_RDONLY)
    pieces = []

    def next_of(whence, offset, end):
        try:
            return min(os.lseek(fd, offset, whence), end)
        except OSError:
            return end

    for block in range(i.n_blocks):
        pos, end = block * M, (block + 1) * M
        if block not in i.allocated():
            pieces.append([pos, M, False, True])
            continue
        base = i.block_offset(i.map[block]) - pos
        while pos < end:
            data = next_of(os.SEEK_DATA, base + pos, base + end) - base
            if data > pos:
                pieces.append([pos, data - pos, False, True])
            pos = data
            if pos < end:
                hole = next_of(os.SEEK_HOLE, base + pos, base + end) - base
                pieces.append([pos, hole - pos, True, False])
                pos = hole
    os.close(fd)
    return [(p, n, DATA if data else HOLE) for p, n, data, _ in
            merged(pieces)]


def test_stays_exact():
    """What was found out once is not said of what has become a hole since,
    nor the other way round: at every moment as the kernel says, as a whole
    and in one extent after the other."""
    image = aligned(size=24 * M)
    rng = random.Random(7)
    with vditest.serve(image, "commit=0") as s:
        h = s.connect()
        for n in range(120):
            block = rng.randrange(24)
            offset, count = rng.choice([
                (block * M, M), (block * M, M), (block * M + 256 * K, 64 * K),
                (block * M, min(3, 24 - block) * M)])
            act = rng.choice([h.trim, h.zero, lambda c, o: h.pwrite(
                b"x" * c, o)])
            try:
                act(count, offset)
            except nbd.Error:
                if act != h.trim:
                    raise
            got = vditest.extents(h)
            want = file_holes(image)
            assert got == want, (n, got, want)
            if n % 10 == 0:
                got = vditest.extents(h, flags=nbd.CMD_FLAG_REQ_ONE)
                assert got == want, (n, got, want)


def test_nbdinfo():
    vditest.requires("nbdinfo")
    image = aligned(size=4 * M, blocks={2: b"x" * M})
    with vditest.serve(image, readonly=True) as s:
        got = json.loads(vditest.run("nbdinfo", "--map", "--json", s.uri))
        assert [(e["offset"], e["length"], e["type"]) for e in got] == [
            (0, 2 * M, 3), (2 * M, M, 0), (3 * M, M, 3)], got
        info = json.loads(vditest.run("nbdinfo", "--json", s.uri))
        export = info["exports"][0]
        assert export["export-size"] == 4 * M
        assert export["can_multi_conn"] is True


def test_child():
    """Free in the child: the parent decides.  ZERO in the child: zero."""
    base = aligned("base.vdi", size=8 * M, blocks={
        b: b"b" * M for b in (1, 2, 3, 6)})
    child = vdi.child(vditest.path("child.vdi"), base, map_off=M,
                      data_off=2 * M, size=10 * M, block_size=512 * K,
                      blocks={2: vdi.ZERO, 8: b"c" * 512 * K,
                              19: b"d" * 512 * K})
    with vditest.serve(child, readonly=True) as s:
        h = s.connect()
        got = vditest.extents(h)
        data = [(o, c) for o, c, kind in got if not kind & ZERO]
        assert data == [(M + 512 * K, 3 * M), (6 * M, M),
                        (9 * M + 512 * K, 512 * K)], got
        for o, c, kind in got:
            if kind & ZERO:
                assert not any(h.pread(c, o))


def test_fixed():
    """Space that is reserved and not written is not called a hole by
    mistake, nor data that is zero called zero that is not."""
    image = vditest.path("fixed.vdi")
    with vditest.serve(image, "create=fixed", "size=8M") as s:
        h = s.connect()
        h.pwrite(b"f" * M, 3 * M)
        for o, c, kind in vditest.extents(h):
            if kind & ZERO:
                assert not any(h.pread(c, o))
                assert o >= 4 * M or o + c <= 3 * M


vditest.main()
