# SPDX-License-Identifier: BSD-3-Clause
"""Zeros written to a child hide the parent's data for good: at every depth,
after every reopen, whoever stores them."""

import nbd

import vdi
import vditest
from vditest import K, M

SIZE = 8 * M


def chain(depth, block_size=M):
    """depth images; all of the disk is data in the base.  Top first."""
    files = [vdi.make(vditest.path("base.vdi"), size=SIZE,
                      blocks={b: bytes([0x61 + b]) * M for b in range(8)})]
    for level in range(1, depth):
        files.insert(0, vdi.child(vditest.path("level%d.vdi" % level),
                                  files[0], block_size=block_size))
    return files


def read(files):
    return vdi.Image(files[0]).read(*[vdi.Image(f) for f in files[1:]])


def test_whole_blocks():
    """Write zeros, close, reopen, at depth 1 to 4: pitfall 4 of
    VirtualBox."""
    for depth in 1, 2, 3, 4:
        for how in "zero", "no_hole", "fua", "write":
            files = chain(depth)
            want = bytearray(read(files))
            with vditest.unchanged(*files[1:]):
                with vditest.serve(files[0]) as s:
                    h = s.connect()
                    if how == "write":
                        h.pwrite(vditest.zeros(2 * M), 3 * M)
                    else:
                        h.zero(2 * M, 3 * M,
                               {"zero": 0, "no_hole": nbd.CMD_FLAG_NO_HOLE,
                                "fua": nbd.CMD_FLAG_FUA}[how])
                    want[3 * M:5 * M] = vditest.zeros(2 * M)
                    assert vditest.read_all(h) == want, (depth, how)
                with vditest.serve(files[0], readonly=True) as s:
                    assert vditest.read_all(s.connect()) == want, (depth, how)
            assert read(files) == want, (depth, how)
            if depth > 1 and how != "write":
                assert vdi.Image(files[0]).map[3:5] == [vdi.ZERO] * 2


def test_zero_in_the_middle():
    """ZERO at one level hides everything below from all levels above."""
    files = chain(2)
    with vditest.serve(files[0]) as s:
        s.connect().zero(M, 2 * M)
    files.insert(0, vdi.child(vditest.path("top.vdi"), files[0],
                              block_size=64 * K))
    want = bytearray(read(files))
    assert not any(want[2 * M:3 * M])
    with vditest.serve(files[0]) as s:
        h = s.connect()
        assert vditest.read_all(h) == want
        # A partial write there copies zeros up, not the base's data.
        h.pwrite(b"t" * 100, 2 * M + 1000)
        want[2 * M + 1000:2 * M + 1100] = b"t" * 100
        assert vditest.read_all(h) == want
    assert read(files) == want


def test_part_of_a_block():
    """The rest of the block is still the parent's."""
    for depth in 2, 4:
        files = chain(depth, block_size=2 * M)
        want = bytearray(read(files))
        with vditest.serve(files[0]) as s:
            h = s.connect()
            h.zero(M, 2 * M + 512 * K)
            want[2 * M + 512 * K:3 * M + 512 * K] = vditest.zeros(M)
            assert vditest.read_all(h) == want
        assert read(files) == want


def test_last_block():
    """The last block is whole although the disk ends inside it."""
    base = vdi.make(vditest.path("base.vdi"), size=3 * M + 5 * K,
                    blocks={b: b"b" * M for b in range(4)})
    child = vdi.child(vditest.path("child.vdi"), base)
    with vditest.serve(child) as s:
        h = s.connect()
        h.zero(5 * K, 3 * M)
        assert not any(h.pread(5 * K, 3 * M))
    assert vdi.Image(child).map[3] == vdi.ZERO
    assert vdi.Image(child).n_alloc == 0
    assert read([child, base]) == b"b" * (3 * M) + vditest.zeros(5 * K)


def test_zero_then_write():
    """A write to a ZERO block finds zeros around it, also after a kill."""
    files = chain(3)
    want = bytearray(read(files))
    with vditest.serve(files[0], "commit=0") as s:
        h = s.connect()
        h.zero(M, 5 * M)
        h.flush()
        h.pwrite(b"w" * 10, 5 * M + 5)
        assert h.pread(M, 5 * M) == \
            vditest.zeros(5) + b"w" * 10 + vditest.zeros(M - 15)
        s.kill()
    want[5 * M:6 * M] = vditest.zeros(M)
    old = bytes(want)
    want[5 * M + 5:5 * M + 15] = b"w" * 10
    assert read(files) in (old, want)


vditest.main()
