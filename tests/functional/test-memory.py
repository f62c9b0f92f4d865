# SPDX-License-Identifier: BSD-3-Clause
"""Memory: an image costs what there is to know of its map and little more,
and a hostile one no more than what its file holds."""

import os
import resource
import struct
import time

import nbd

import vdi
import vditest
from vditest import G, K, M

T = 1024 * G


def rss(s):
    """Bytes of the server that are its own, at the peak."""
    with open("/proc/%d/status" % s.pid) as f:
        for line in f:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * K
    raise AssertionError("no VmHWM")


def idle():
    """nbdkit with the plugin, and as good as no image."""
    image = vditest.make_vdi("small.vdi", M)
    with vditest.serve(image, readonly=True) as s:
        s.connect().pread(512, 0)
        return rss(s)


def cpu_seconds():
    """Of programs that have ended: a busy machine takes no more of them."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def plain():
    if vditest.sanitizer:
        vditest.skip("the sanitizers' memory is not ours")


def in_no_order(image):
    """Set the whole map, each index once."""
    i = vdi.Image(image)
    n = i.n_blocks
    with open(image, "r+b") as f:
        f.seek(i.map_off)
        for start in range(0, n, 65536):
            f.write(struct.pack("<%dI" % (min(n, start + 65536) - start), *(
                b * 2654435761 % n
                for b in range(start, min(n, start + 65536)))))
        f.truncate(i.data_off + n * i.stride)
    vdi.patch(image, n_alloc=n)


def test_5t():
    """Empty, it costs nothing; at worst it costs its map."""
    plain()
    base = idle()
    image = vditest.make_vdi(size=5 * T)
    check_5t(base, image, 8 * M)
    in_no_order(image)
    check_5t(base, image, 4 * vdi.Image(image).n_blocks + 8 * M)


def check_5t(base, image, limit):
    for readonly in True, False:
        with vditest.serve(image, readonly=readonly) as s:
            h = s.connect()
            h.pread(M, 3 * T)
            if not readonly:
                h.pwrite(b"x" * 4096, 4 * T)
                h.flush()
            used = rss(s) - base
            print("5 TiB, %s: %d KiB over idle, %d allowed" % (
                "read" if readonly else "written", used // K, limit // K))
            assert used <= limit, (used, limit)


def test_map_is_a_hole():
    """4 KiB on the disk, 1 GiB of map, with a block of the map here and
    there: what is there is served, and takes what it is worth."""
    plain()
    base = idle()
    image = vdi.make(vditest.path("sparse.vdi"), size=8 * M,
                     blocks={0: b"first" * 1000})
    data = vdi.Image(image).block(0)
    map_off = vdi.Image(image).map_off
    n = 1 << 28
    vdi.patch(image, n_blocks=n, disk_size=n * M, data_off=n * 4 + M)
    with open(image, "r+b") as f:
        f.truncate(n * 4 + M)
        f.seek(n * 4 + M)
        f.write(data)
        for at in range(64 * M, 1024 * M, 64 * M):
            f.seek(at)
            f.write(b"\xff" * 4096)     # FREE
    if os.stat(image).st_blocks * 512 > 64 * M:
        vditest.skip("this file system has no holes")
    before = os.stat(image)
    with vditest.serve(image, readonly=True) as s:
        h = s.connect()
        assert h.pread(M, 0) == data
        assert h.pread(M, (n - 1) * M) == data
        first = (64 * M - map_off) // 4
        assert h.pread(M, (first - 1) * M) == data
        assert h.pread(M, first * M) == bytes(M)
        assert h.pread(M, (first + 1023) * M) == bytes(M)
        assert h.pread(M, (first + 1024) * M) == data
        assert "another block" in s.log(), s.log()
        used = rss(s) - base
        print("1 GiB of map, a hole: %d KiB over idle" % (used // K))
        assert used < 16 * M, used
    with vditest.serve(image) as s:
        try:
            s.connect()
            raise AssertionError("could be opened for writing")
        except nbd.Error:
            pass
    after = os.stat(image)
    assert (before.st_mtime_ns, before.st_blocks) == \
        (after.st_mtime_ns, after.st_blocks)


def test_hostile():
    """Sizes and numbers that the file does not bear out."""
    plain()
    for fields in [
            dict(n_blocks=0x1fffff80, disk_size=0x1fffff8000000),
            dict(n_blocks=0xffffffff),
            dict(n_blocks=0x7fffffff, data_off=0xffffffff),
            dict(disk_size=2**63, n_blocks=0xffffffff, block_size=2**31),
            dict(map_off=0xfffffff0, data_off=0xfffffff0)]:
        image = vdi.make(vditest.path("hostile.vdi"), size=M)
        vdi.patch(image, **fields)
        start = cpu_seconds()
        said = vditest.serve_fails(image)
        assert "hostile.vdi" in said, said
        assert cpu_seconds() - start < 10
    # Under a limit that one such map would burst.
    image = vdi.make(vditest.path("hostile.vdi"), size=M)
    vdi.patch(image, n_blocks=0x1fffff80, disk_size=0x1fffff8000000,
              data_off=0x80000200)
    out = vditest.run("bash", "-c", 'ulimit -v 1000000; exec "$0" -f -U - '
                      'vdi "$1"', vditest.NBDKIT, image, status=1,
                      env=dict(os.environ, VDITEST_MALLOC_CHECKS="no"))
    assert "hostile.vdi" in out and "memory" not in out, out


vditest.main()
