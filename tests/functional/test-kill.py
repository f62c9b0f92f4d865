# SPDX-License-Identifier: BSD-3-Clause
"""SIGKILL of the server, without any flush: a base image loses nothing that
was acknowledged, and is at every moment one that QEMU opens."""

import shutil
import signal

import vdi
import vditest
from vditest import K, M


def check_killed(image, want):
    """Nothing is wrong but the count, which covers the reserve."""
    out = vditest.qemu_img("check", "-f", "vdi", image, status=None)
    for line in out.splitlines():
        assert not line.startswith("ERROR:") or \
            line.startswith("ERROR: allocated blocks mismatch"), out
    i = vdi.Image(image)
    used = list(i.allocated().values())
    assert len(used) == len(set(used)), i.map
    assert not used or max(used) < i.n_alloc <= i.n_blocks
    assert i.file_size >= i.exact_size()
    raw = vditest.write_file("want", bytes(want))
    vditest.qemu_compare(image, raw)


def test_kill_after_each_write():
    image = vditest.make_vdi(size=12 * M)
    want = bytearray(12 * M)
    for n in range(16):
        count = [512, 4096, 1, 70000, 2 * M][n % 5]
        offset = (n * 2654435761) % (12 * M - count)
        data = bytes([n + 1]) * count
        with vditest.serve(image) as s:
            h = s.connect()
            h.pwrite(data, offset)
            want[offset:offset + count] = data
            s.kill()
        check_killed(image, want)


def test_kill_after_reuse():
    """Blocks that a crash has left unused, full of old data, take new ones:
    also these are there after a kill, and nothing of the old is."""
    order = [0, None, 2, None, None, 5]
    image = vdi.make(vditest.path("disk.vdi"), size=6 * M, order=order,
                     blocks={b: b"o" * M for b in (0, 2, 5)})
    with open(image, "r+b") as f:
        for index, number in enumerate(order):
            if number is None:
                f.seek(vdi.Image(image).block_offset(index))
                f.write(b"\xdb" * M)
    want = bytearray(vdi.Image(image).read())
    for n in 1, 3, 4:
        with vditest.serve(image) as s:
            s.connect().pwrite(bytes([n]) * 5000, n * M + 777)
            want[n * M + 777:n * M + 5777] = bytes([n]) * 5000
            s.kill()
        check_killed(image, want)
    assert vdi.Image(image).problems() == []
    vditest.qemu_check(image)


def test_kill_after_zero():
    image = vditest.make_vdi(size=12 * M)
    want = bytearray(12 * M)
    with vditest.serve(image) as s:
        s.connect().pwrite(b"x" * (6 * M), 0)
    want[0:6 * M] = b"x" * (6 * M)
    for n in range(4):
        offset, count = 1000 + n * M, M + n * 777
        with vditest.serve(image) as s:
            s.connect().zero(count, offset)
            want[offset:offset + count] = vditest.zeros(count)
            s.kill()
        check_killed(image, want)


def test_term_with_idle_client():
    """nbdkit does not stop on SIGTERM while a client is connected, so it is
    killed in the end: the image is good all the time."""
    image = vditest.make_vdi(size=12 * M)
    want = bytearray(12 * M)
    with vditest.serve(image) as s:
        h = s.connect()
        for n in range(5):
            h.pwrite(bytes([n + 1]) * 5000, n * 2 * M + 300)
            want[n * 2 * M + 300:n * 2 * M + 5300] = bytes([n + 1]) * 5000
        s.process.send_signal(signal.SIGTERM)
        vditest.wait_for_signal(s.process, signal.SIGTERM)
        # What a copy of the file at this moment would hold.
        copy = vditest.path("copy.vdi")
        with vditest.frozen(s.process):
            shutil.copy(image, copy)
        check_killed(copy, want)
        s.kill()
    check_killed(image, want)


def test_two_connections():
    """What was written on one connection is covered by a flush on another,
    in a child, where it would be lost without."""
    base = vdi.make(vditest.path("base.vdi"), size=8 * M,
                    blocks={b: b"p" * M for b in range(8)})
    child = vdi.child(vditest.path("child.vdi"), base, block_size=64 * K)
    want = bytearray(b"p" * (8 * M))
    with vditest.serve(child, "commit=0") as s:
        a, b = s.connect(), s.connect()
        for n in range(10):
            offset = n * 700000 + 5
            a.pwrite(bytes([n + 1]) * 1000, offset)
            want[offset:offset + 1000] = bytes([n + 1]) * 1000
            # Read-your-writes, both ways.
            assert b.pread(1002, offset - 1) == \
                want[offset - 1:offset + 1001]
            b.pwrite(b"\xbb", offset + 500)
            want[offset + 500] = 0xbb
            assert a.pread(1000, offset) == want[offset:offset + 1000]
        b.flush()
        a.pwrite(b"lost or not", 4 * M + 1)
        s.kill()
    got = vdi.Image(child).read(vdi.Image(base))
    rest = bytearray(want)
    rest[4 * M + 1:4 * M + 12] = b"lost or not"
    assert got in (want, rest)
    with vditest.serve(child, readonly=True) as s:
        assert vditest.read_all(s.connect()) == got


def test_fua():
    """FUA is a flush of what it writes, on all connections."""
    import nbd
    base = vdi.make(vditest.path("base.vdi"), size=4 * M,
                    blocks={b: b"p" * M for b in range(4)})
    child = vdi.child(vditest.path("child.vdi"), base)
    want = bytearray(b"p" * (4 * M))
    with vditest.serve(child, "commit=0") as s:
        a = s.connect()
        a.pwrite(b"f" * 3000, M - 1500, nbd.CMD_FLAG_FUA)
        want[M - 1500:M + 1500] = b"f" * 3000
        a.zero(M, 2 * M, nbd.CMD_FLAG_FUA)
        want[2 * M:3 * M] = vditest.zeros(M)
        s.kill()
    assert vdi.Image(child).read(vdi.Image(base)) == want


def test_commit_by_itself():
    """Without any flush, commit=1 saves a child's new blocks."""
    base = vdi.make(vditest.path("base.vdi"), size=4 * M,
                    blocks={b: b"p" * M for b in range(4)})
    child = vdi.child(vditest.path("child.vdi"), base)
    want = bytearray(b"p" * (4 * M))
    want[5:8] = b"new"
    with vditest.serve(child, "commit=1") as s:
        s.connect().pwrite(b"new", 5)
        vditest.wait_until(lambda: vdi.Image(child).map[0] != vdi.FREE,
                           "never committed")
        s.kill()
    assert vdi.Image(child).read(vdi.Image(base)) == want


vditest.main()
