# SPDX-License-Identifier: BSD-3-Clause
"""Zero 200 MiB over data in one request, and read back everything: nbdkit
up to 1.44 gets it wrong for plugins that leave it to the server."""

import nbd

import vdi
import vditest
from vditest import M

SIZE = 208 * M
FROM = 3 * M + 1234
COUNT = 200 * M


def fill(h):
    for offset in range(0, SIZE, 16 * M):
        h.pwrite(b"\xa5" * min(16 * M, SIZE - offset), offset)


def check(h):
    step = 16 * M
    for offset in range(0, SIZE, step):
        got = h.pread(step, offset)
        want = bytearray(b"\xa5" * step)
        start = max(FROM, offset) - offset
        end = min(FROM + COUNT, offset + step) - offset
        if end > start:
            want[start:end] = vditest.zeros(end - start)
        assert got == want, "at %d" % offset


def zeroed(image, flags, *params):
    with vditest.serve(image, *params) as s:
        h = s.connect()
        fill(h)
        h.zero(COUNT, FROM, flags)
        check(h)
    with vditest.serve(image, *params, readonly=True) as s:
        check(s.connect())
    assert vdi.Image(image).problems() == []


def test_base():
    image = vditest.make_vdi(size=SIZE)
    zeroed(image, 0)
    vditest.qemu_check(image)


def test_base_no_hole():
    image = vditest.make_vdi(size=SIZE)
    zeroed(image, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
    vditest.qemu_check(image)


def test_child():
    base = vdi.make(vditest.path("base.vdi"), size=SIZE)
    with vditest.serve(base) as s:
        fill(s.connect())
    child = vdi.child(vditest.path("child.vdi"), base)
    with vditest.unchanged(base):
        with vditest.serve(child) as s:
            h = s.connect()
            h.zero(COUNT, FROM)
            check(h)
        with vditest.serve(child, readonly=True) as s:
            check(s.connect())
    # Whole blocks are not stored, only marked.
    i = vdi.Image(child)
    assert i.n_alloc <= 2 and i.map.count(vdi.ZERO) >= 199, i.n_alloc


vditest.main()
