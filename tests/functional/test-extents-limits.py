# SPDX-License-Identifier: BSD-3-Clause
"""Requests as long as the protocol allows, on a disk that is longer.
Extents that were longer than the request would abort nbdkit
(CVE-2025-47711)."""

import nbd

import vdi
import vditest
from vditest import G, K, M

LONGEST = 2**32 - 1
SIZE = 5 * G + 512


def block_status(h, count, offset, flags=0):
    got = []

    def remember(context, start, entries, error):
        assert start == offset
        got.extend(entries)

    h.block_status(count, offset, remember, flags)
    assert got and sum(got[0::2]) <= count, got
    if not flags & nbd.CMD_FLAG_REQ_ONE:
        assert sum(got[0::2]) == count, got
    return list(zip(got[0::2], got[1::2]))


def aligned():
    """Blocks begin where pages of the file do, so that holes in the file
    are to be seen exactly."""
    return vdi.make(vditest.path("disk.vdi"), size=SIZE, map_off=M,
                    data_off=2 * M)


HOLE = nbd.STATE_HOLE | nbd.STATE_ZERO


def check(h):
    assert block_status(h, LONGEST, 0) == [(LONGEST, HOLE)]
    assert block_status(h, LONGEST, 0, nbd.CMD_FLAG_REQ_ONE) == \
        [(LONGEST, HOLE)]
    assert block_status(h, LONGEST, SIZE - LONGEST) == [(LONGEST, HOLE)]
    assert block_status(h, LONGEST, 12345) == [(LONGEST, HOLE)]
    assert block_status(h, 1, SIZE - 1) == [(1, HOLE)]
    # It is still there.
    assert h.pread(512, SIZE - 512) == vditest.zeros(512)


def test_empty():
    with vditest.serve(vditest.make_vdi(size=SIZE)) as s:
        check(s.connect())


def test_empty_small_blocks():
    image = vdi.make(vditest.path("disk.vdi"), size=SIZE, block_size=4 * K)
    with vditest.serve(image) as s:
        check(s.connect())


def test_empty_child():
    base = vdi.make(vditest.path("base.vdi"), size=G)
    child = vdi.child(vditest.path("child.vdi"), base, size=SIZE,
                      block_size=64 * K)
    with vditest.serve(child) as s:
        check(s.connect())


def test_data():
    with vditest.serve(aligned()) as s:
        h = s.connect()
        h.pwrite(b"x" * 8192, 3 * G)
        h.pwrite(b"x" * 8192, 4 * G - 4096)
        assert block_status(h, LONGEST, 0) == [
            (3 * G, HOLE), (8192, 0), (G - 12288, HOLE), (4095, 0)]
        assert block_status(h, LONGEST, 4 * G - 1 - LONGEST)[-1] == (4095, 0)
        assert block_status(h, 2 * M, 4 * G - 4096, nbd.CMD_FLAG_REQ_ONE) == \
            [(8192, 0)]


def test_zero_and_trim():
    with vditest.serve(aligned()) as s:
        h = s.connect()
        h.pwrite(b"x" * M, 3 * G + 5)
        h.pwrite(b"x" * M, 4 * G - M)
        h.trim(LONGEST, 0)
        h.pwrite(b"x" * M, 3 * G + 5)
        h.zero(LONGEST, 0)
        assert h.pread(2 * M, 3 * G) == vditest.zeros(2 * M)
        # One byte is not in it.
        assert h.pread(M, 4 * G - M) in (
            vditest.zeros(M - 1) + b"x", vditest.zeros(M))
        h.zero(LONGEST, SIZE - LONGEST)
        if h.can_cache():
            h.cache(LONGEST, 0)
        assert vditest.extents(h) == [(0, SIZE, HOLE)]


vditest.main()
