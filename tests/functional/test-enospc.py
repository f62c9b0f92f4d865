# SPDX-License-Identifier: BSD-3-Clause
"""A full file system: clients are told so, nothing that was acknowledged
is lost, and all goes on when there is room again."""

import ctypes
import errno
import os
import subprocess

import nbd

import vdi
import vditest
from vditest import K, M

CLONE_NEWNS = 0x20000


def small_fs(size):
    """A tmpfs that only this process and its children see."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        vditest.skip("needs root, to mount a small file system")
    # tmpfs has no metadata to run out of but the pages themselves.
    where = vditest.path("small")
    os.mkdir(where)
    if subprocess.call(["mount", "--make-rprivate", "/"]) != 0 or \
            subprocess.call(["mount", "-t", "tmpfs", "-o",
                             "size=%d" % size, "small", where]) != 0:
        vditest.skip("cannot mount a small file system")
    return where


def fill(h, disk, step):
    """Write until there is no room; how many writes succeeded."""
    done = 0
    for offset in range(0, len(disk) - step, 3 * step // 2):
        data = vditest.pattern(offset + 1, 0, step)
        try:
            h.pwrite(data, offset)
        except nbd.Error as e:
            assert e.errno == "ENOSPC", e
            got = h.pread(step, offset)
            # Any part of it may have been written.
            for a, b, c in zip(got, disk[offset:offset + step], data):
                assert a in (b, c)
            disk[offset:offset + step] = got
            return done
        disk[offset:offset + step] = data
        done += 1
    raise AssertionError("it never was full")


def full(image, parents, step):
    params = ["parent=" + p for p in parents]
    below = [vdi.Image(p) for p in parents]
    disk = bytearray(vdi.Image(image).read(*below))
    with vditest.serve(image, *params) as s:
        h = s.connect()
        assert fill(h, disk, step) >= 3
        assert vditest.read_all(h) == disk
        h.flush()
        # It goes on, with what is there already...
        h.pwrite(b"again", 100)
        disk[100:105] = b"again"
        # ...and when there is room, with what is not.
        h.trim(step, 0)
        disk[0:step] = h.pread(step, 0)
        last = len(disk) - 4096
        h.pwrite(b"\x99" * 4096, last)
        disk[last:] = b"\x99" * 4096
        h.flush()
        assert vditest.read_all(h) == disk
        s.kill()
    assert vdi.Image(image).read(*below) == disk
    i = vdi.Image(image)
    used = list(i.allocated().values())
    assert len(used) == len(set(used)) and max(used) < i.n_alloc
    with vditest.serve(image, *params) as s:
        h = s.connect()
        assert vditest.read_all(h) == disk
        h.pwrite(b"end", 200)
        disk[200:203] = b"end"
    assert vdi.Image(image).read(*below) == disk
    return vdi.Image(image)


def test_base():
    where = small_fs(3 * M)
    image = vdi.make(os.path.join(where, "disk.vdi"), size=64 * M)
    full(image, [], 300 * K)
    vditest.qemu_img("check", "-f", "vdi", image)
    subprocess.check_call(["umount", where])


def test_small_blocks():
    where = small_fs(2 * M)
    image = vdi.make(os.path.join(where, "disk.vdi"), size=16 * M,
                     block_size=4 * K)
    full(image, [], 100 * K)
    subprocess.check_call(["umount", where])


def test_child():
    base = vdi.make(vditest.path("base.vdi"), size=16 * M,
                    blocks={b: b"b" * M for b in range(16)})
    where = small_fs(4 * M)
    image = vdi.child(os.path.join(where, "child.vdi"), base,
                      block_size=64 * K)
    full(image, [base], 300 * K)
    subprocess.check_call(["umount", where])


def test_zero_no_hole():
    """Blocks that are there but sparse get their space, or the client is
    told."""
    where = small_fs(4 * M)
    image = vdi.make(os.path.join(where, "disk.vdi"), size=64 * M)
    with vditest.serve(image) as s:
        h = s.connect()
        for n in range(16):
            h.pwrite(b"\0", n * M)
        with vditest.raises(errno.ENOSPC):
            for n in range(16):
                h.zero(M, n * M, nbd.CMD_FLAG_NO_HOLE)
        assert not any(h.pread(32 * M, 0))
        h.flush()
    assert not any(vdi.Image(image).read())
    assert vdi.Image(image).problems() == []
    subprocess.check_call(["umount", where])


vditest.main()
