# SPDX-License-Identifier: BSD-3-Clause
"""A full file system, or files that may not become longer: clients are
told so, nothing that was acknowledged is lost, and all goes on when there
is room again."""

import errno
import os
import random
import resource
import signal
import subprocess
import threading

import nbd

import filesystems
import vdi
import vditest
from vditest import K, M


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
    where = filesystems.small(3 * M)
    image = vdi.make(os.path.join(where, "disk.vdi"), size=64 * M)
    full(image, [], 300 * K)
    vditest.qemu_img("check", "-f", "vdi", image)
    subprocess.check_call(["umount", where])


def test_small_blocks():
    where = filesystems.small(2 * M)
    image = vdi.make(os.path.join(where, "disk.vdi"), size=16 * M,
                     block_size=4 * K)
    full(image, [], 100 * K)
    subprocess.check_call(["umount", where])


def test_child():
    base = vdi.make(vditest.path("base.vdi"), size=16 * M,
                    blocks={b: b"b" * M for b in range(16)})
    where = filesystems.small(4 * M)
    image = vdi.child(os.path.join(where, "child.vdi"), base,
                      block_size=64 * K)
    full(image, [base], 300 * K)
    subprocess.check_call(["umount", where])


def test_comes_and_goes():
    """Space that others give back at the same moment: a write is told that
    there is none, or it is done, but nobody is told that anything is lost."""
    where = filesystems.small(6 * M)
    image = vdi.make(os.path.join(where, "disk.vdi"), size=32 * M,
                     blocks={b: b"" for b in range(32)})
    failed = []
    unexpected = []

    def client(h, n):
        r = random.Random(n)
        for _ in range(4000):
            offset = r.randrange(0, 32 * M, 64 * K)
            try:
                if r.random() < 0.35:
                    h.trim(64 * K, offset)
                else:
                    h.pwrite(b"x" * 4096, r.randrange(0, 32 * M, 4096),
                             nbd.CMD_FLAG_FUA if n % 2 else 0)
            except nbd.Error as e:
                if e.errno != "ENOSPC":
                    unexpected.append(e)
                    return
                failed.append(offset)

    with vditest.serve(image) as s:
        threads = [threading.Thread(target=client, args=(s.connect(), n))
                   for n in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not unexpected, unexpected[0]
        assert failed
    subprocess.check_call(["umount", where])


def test_zero_no_hole():
    """Blocks that are there but sparse get their space, or the client is
    told."""
    where = filesystems.small(4 * M)
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


# ----------------------------------------------------------------------
# ulimit -f: beyond it the kernel sends SIGXFSZ, which ends a process.

def ignored_signals(pid):
    for line in open("/proc/%d/status" % pid):
        if line.startswith("SigIgn:"):
            return int(line.split()[1], 16)
    raise AssertionError("no SigIgn")


def limited(image, limit, *params):
    """A server that may not make files longer, and that would die of it:
    Popen undoes that Python ignores the signal."""
    def preexec():
        # The hard limit stays, so that no right is needed to raise it.
        resource.setrlimit(resource.RLIMIT_FSIZE,
                           (limit, resource.RLIM_INFINITY))

    s = vditest.serve(image, *params, preexec=preexec)
    assert not ignored_signals(s.pid) >> (signal.SIGXFSZ - 1) & 1
    return s


def write(h, disk, offset, data):
    """True if it fits.  If not, nothing has happened."""
    try:
        h.pwrite(data, offset)
    except nbd.Error as e:
        # EFBIG, which NBD calls ENOSPC or EINVAL.
        assert e.errno in ("ENOSPC", "EFBIG", "EINVAL"), e
        assert h.pread(len(data), offset) == disk[offset:offset + len(data)]
        return False
    disk[offset:offset + len(data)] = data
    return True


def check_limited(image, parents, limit):
    """How many blocks fit?"""
    step = vdi.Image(image).block_size
    params = ["parent=" + p for p in parents]
    below = [vdi.Image(p) for p in parents]
    disk = bytearray(vdi.Image(image).read(*below))
    last = len(disk) - 10
    with limited(image, limit, *params) as s:
        h = s.connect()
        fits = [write(h, disk, n * step + 50, bytes([n % 255 + 1]) * (step // 2))
                for n in range(len(disk) // step)]
        assert fits[0] and not fits[-1]
        # What fits does, and then nothing does.
        done = fits.index(False)
        assert not any(fits[done:])
        assert not write(h, disk, last, b"beyond")
        with vditest.raises(errno.ENOSPC, errno.EINVAL):
            h.pwrite(b"beyond", last, nbd.CMD_FLAG_FUA)
        # In place it goes on, with all there is.
        assert write(h, disk, 100, b"in place")
        h.pwrite(b"durable", 200, nbd.CMD_FLAG_FUA)
        disk[200:207] = b"durable"
        h.zero(1000, 60)
        disk[60:1060] = bytes(1000)
        h.trim(step, 0)
        disk[0:step] = h.pread(step, 0)
        h.flush()
        assert vditest.read_all(h) == disk
        assert os.stat(image).st_size <= limit
        # The limit is raised.
        resource.prlimit(s.pid, resource.RLIMIT_FSIZE,
                         (resource.RLIM_INFINITY,) * 2)
        assert write(h, disk, last, b"room again"[:6])
    assert vdi.Image(image).read(*below) == disk
    assert vdi.Image(image).problems() == []
    # It is killed while nothing fits.
    with limited(image, limit, *params) as s:
        h = s.connect()
        write(h, disk, len(disk) - step // 2, b"more")
        h.flush()
        s.kill()
    assert vdi.Image(image).read(*below) == disk
    return done


def test_limit():
    """Each block of 1 MiB fits or does not; nine do not fit with the
    header."""
    image = vdi.make(vditest.path("disk.vdi"), size=64 * M)
    assert check_limited(image, [], 9 * M) == 8
    vditest.qemu_img("check", "-f", "vdi", image)


def test_limit_of_new():
    """What is reserved ahead is not wanted by anybody yet: up to the limit
    all fits, in an image that may become much larger than it."""
    image = vditest.path("new.vdi")
    with limited(image, 20 * M, "create=dynamic", "size=1G") as s:
        h = s.connect()
        disk = bytearray(40 * M)
        fits = [write(h, disk, n * M, b"x" * 4096) for n in range(40)]
        h.flush()
        assert h.pread(len(disk), 0) == disk
    # All but what header and map take.
    first = vdi.Image(image).data_off // M
    assert fits == [True] * (20 - first) + [False] * (20 + first), fits
    assert os.stat(image).st_size == 20 * M
    vditest.qemu_check(image)


def test_limit_small_blocks():
    image = vdi.make(vditest.path("disk.vdi"), size=8 * M,
                     block_size=4 * K)
    done = check_limited(image, [], 3 * M)
    assert done > 400, done


def test_limit_of_child():
    base = vdi.make(vditest.path("base.vdi"), size=16 * M,
                    blocks={b: b"b" * M for b in range(16)})
    image = vdi.child(vditest.path("child.vdi"), base, block_size=64 * K)
    done = check_limited(image, [base], 2 * M)
    assert done > 10, done


def test_limit_below_file():
    """What is there already lies beyond the limit."""
    image = vdi.make(vditest.path("disk.vdi"), size=8 * M,
                     blocks={b: bytes([b]) * M for b in range(1, 4)})
    size = os.stat(image).st_size
    disk = bytearray(vdi.Image(image).read())
    with limited(image, size - M - 1000) as s:
        h = s.connect()
        assert not write(h, disk, 0, b"new block")
        assert write(h, disk, M, b"below it")
        assert write(h, disk, 3 * M - 1010, b"to the end")
        assert not write(h, disk, 3 * M - 1010, b"beyond the end")
        assert not write(h, disk, 3 * M, b"beyond it")
        h.flush()
        assert vditest.read_all(h) == disk
    assert vdi.Image(image).read() == disk
    assert vdi.Image(image).problems() == []
    assert os.stat(image).st_size == size


vditest.main()
