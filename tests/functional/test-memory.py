# SPDX-License-Identifier: BSD-3-Clause
"""Memory: an image costs its map and little more, and a hostile one no more
than its file."""

import os
import resource

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


def test_5t():
    plain()
    base = idle()
    image = vditest.make_vdi(size=5 * T)
    map_size = 4 * vdi.Image(image).n_blocks
    limit = map_size * 13 // 10 + 8 * M
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
