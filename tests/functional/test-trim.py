# SPDX-License-Identifier: BSD-3-Clause
"""Trim gives space back at once, and what was trimmed reads as zeros."""

import os
import tempfile

import nbd

import vdi
import vditest
from vditest import K, M


def used(filename):
    return os.stat(filename).st_blocks * 512


def needs_punch():
    """Does this file system give space back?"""
    probe = vditest.write_file("probe", b"x" * M)
    try:
        vditest.run("fallocate", "--punch-hole", "-o", 0, "-l", M, probe)
    except (AssertionError, FileNotFoundError):
        vditest.skip("this file system cannot punch holes")


def aligned(**kw):
    return vdi.make(vditest.path("disk.vdi"), map_off=M, data_off=2 * M, **kw)


def filled(h, size):
    h.pwrite(vditest.pattern(1, 0, M) * (size // M), 0)
    h.flush()


def test_space():
    needs_punch()
    image = aligned(size=24 * M)
    with vditest.serve(image) as s:
        h = s.connect()
        filled(h, 24 * M)
        full = used(image)
        assert full >= 24 * M
        h.trim(16 * M, 4 * M)
        assert used(image) <= full - 16 * M + 64 * K
        assert not any(h.pread(16 * M, 4 * M))
        assert h.pread(M, 3 * M) == vditest.pattern(1, 0, M)
        assert h.pread(M, 20 * M) == vditest.pattern(1, 0, M)
        # And it can be written again.
        h.pwrite(b"again" * 1000, 10 * M - 2500)
        assert h.pread(5000, 10 * M - 2500) == b"again" * 1000
    assert vdi.Image(image).problems() == []
    vditest.qemu_check(image)


def test_zero_may_trim():
    """So does zero, unless NO_HOLE asks for the space to be kept."""
    needs_punch()
    image = aligned(size=16 * M)
    with vditest.serve(image) as s:
        h = s.connect()
        filled(h, 16 * M)
        full = used(image)
        h.zero(4 * M, 0, nbd.CMD_FLAG_NO_HOLE)
        assert used(image) >= full - 64 * K
        h.zero(4 * M, 8 * M)
        assert used(image) <= full - 4 * M + 64 * K
        assert not any(h.pread(4 * M, 0))
        assert not any(h.pread(4 * M, 8 * M))
        assert h.pread(M, 4 * M) == vditest.pattern(1, 0, M)


def test_partial():
    """Down to the byte: nothing beside it is touched."""
    image = aligned(size=4 * M)
    want = bytearray(vditest.pattern(1, 0, M) * 4)
    with vditest.serve(image) as s:
        h = s.connect()
        filled(h, 4 * M)
        for offset, count in [(5, 1), (4096, 4096), (M - 3, 7),
                              (2 * M + 100, M), (3 * M + 511, 513)]:
            h.trim(count, offset)
            got = h.pread(count, offset)
            old = want[offset:offset + count]
            assert got == old or not any(got) or \
                all(b in (0, a) for a, b in zip(old, got))
            want[offset:offset + count] = got
            assert vditest.read_all(h) == want
    assert vdi.Image(image).read() == want


def test_unallocated():
    """Nothing to give back: nothing is written, not even a first time."""
    image = aligned(size=8 * M, blocks={3: b"x" * M})
    with vditest.unchanged(image):
        with vditest.serve(image) as s:
            h = s.connect()
            h.trim(2 * M, 0)
            h.zero(2 * M, 4 * M)
            h.zero(M, 6 * M, nbd.CMD_FLAG_FAST_ZERO)
            assert not any(h.pread(3 * M, 0))


def test_child():
    """A trim in a child never uncovers the parent's other content, and
    takes no space."""
    base = vdi.make(vditest.path("base.vdi"), size=6 * M,
                    blocks={b: bytes([0x40 + b]) * M for b in range(6)})
    child = vdi.child(vditest.path("child.vdi"), base, block_size=64 * K)
    with vditest.unchanged(base):
        with vditest.serve(child) as s:
            h = s.connect()
            h.pwrite(b"c" * (2 * M), M)
            h.flush()
            h.trim(M, M)                # written here
            got = h.pread(M, M)
            assert got in (b"c" * M, vditest.zeros(M)), "the parent is back"
            h.trim(2 * M, 3 * M)        # not written here
            got = h.pread(2 * M, 3 * M)
            assert got in (b"\x43" * M + b"\x44" * M, vditest.zeros(2 * M))
            seen = vditest.read_all(h)
        with vditest.serve(child, readonly=True) as s:
            assert vditest.read_all(s.connect()) == seen
    assert vdi.Image(child).read(vdi.Image(base)) == seen


def test_fast_zero():
    """Fast where it is fast, and refused with nothing changed where it would
    have to write."""
    base = vdi.make(vditest.path("base.vdi"), size=4 * M,
                    blocks={b: b"p" * M for b in range(4)})
    child = vdi.child(vditest.path("child.vdi"), base)
    with vditest.serve(child) as s:
        h = s.connect()
        assert h.can_fast_zero()
        with vditest.unchanged(child):
            with vditest.raises(95):            # ENOTSUP
                h.zero(1000, 500, nbd.CMD_FLAG_FAST_ZERO)
            with vditest.raises(95):
                h.zero(2 * M, M + 1, nbd.CMD_FLAG_FAST_ZERO)
            assert vditest.read_all(h) == b"p" * (4 * M)
        h.zero(2 * M, M, nbd.CMD_FLAG_FAST_ZERO)
        assert vditest.read_all(h) == \
            b"p" * M + vditest.zeros(2 * M) + b"p" * M
    assert vdi.Image(child).n_alloc == 0


def test_device():
    """A device that cannot give space back: the kernel finds that out only
    after it has thrown away what it had cached, and what shows then is
    what the device held before."""
    # On tmpfs, if there is one: it cannot zero a range.
    with tempfile.NamedTemporaryFile(dir="/dev/shm" if os.path.isdir(
            "/dev/shm") else None) as f:
        on_device(f.name)


def on_device(image):
    vdi.make(image, size=2 * M, block_size=64 * K)
    with open(image, "ab") as f:
        f.write(b"\xdb" * (3 * M))      # somebody's old data
    want = bytearray(2 * M)
    with vditest.device(image) as device:
        with vditest.serve(device) as s:
            h = s.connect()
            for n in range(8):
                at = n * 128 * K
                h.pwrite(b"w" * 8192, at)
                want[at:at + 8192] = b"w" * 8192
                if n % 2:
                    h.trim(4096, at + 2048)
                    got = h.pread(4096, at + 2048)
                    assert got in (b"w" * 4096, vditest.zeros(4096)), got[:9]
                    want[at + 2048:at + 6144] = got
                else:
                    # This teaches the loop driver what its file cannot do.
                    h.zero(4096, at + 2048, nbd.CMD_FLAG_NO_HOLE)
                    want[at + 2048:at + 6144] = vditest.zeros(4096)
                assert vditest.read_all(h) == want
        with vditest.serve(device, readonly=True) as s:
            assert vditest.read_all(s.connect()) == want
        assert vdi.Image(device).read() == want


vditest.main()
