# SPDX-License-Identifier: BSD-3-Clause
"""A write to a part of a child's block brings the rest from the parents,
whatever the sizes of blocks and disks along the chain."""

import vdi
import vditest
from vditest import K, M


def pattern_base(name, size, block_size, seed, **kw):
    data = vditest.pattern(seed, 0, size)
    n = (size + block_size - 1) // block_size
    return vdi.make(vditest.path(name), size=size, block_size=block_size,
                    blocks={b: data[b * block_size:(b + 1) * block_size]
                            for b in range(n)}, **kw)


def check(files, writes):
    """Write, and see that nothing but that has changed; top first."""
    below = [vdi.Image(f) for f in files[1:]]
    want = bytearray(vdi.Image(files[0]).read(*below))
    with vditest.unchanged(*files[1:]):
        with vditest.serve(files[0]) as s:
            h = s.connect()
            assert h.get_size() == len(want)
            assert vditest.read_all(h) == want
            for n, (offset, count) in enumerate(writes):
                data = bytes([n + 1]) * count
                h.pwrite(data, offset)
                want[offset:offset + count] = data
                assert vditest.read_all(h) == want, (offset, count)
        with vditest.serve(files[0], readonly=True) as s:
            assert vditest.read_all(s.connect()) == want
    assert vdi.Image(files[0]).read(*below) == want
    assert vdi.Image(files[0]).problems() == []


def writes(size):
    return [(0, 1), (4095, 2), (M - 100, 200), (M + 64 * K, 64 * K),
            (2 * M + 3, 2 * M), (size - 1, 1)]


def test_block_sizes():
    for parent in 4 * K, M, 2 * M:
        base = pattern_base("base.vdi", 6 * M, parent, 1)
        for child in 4 * K, 64 * K, M, 2 * M:
            if child == parent:
                continue
            top = vdi.child(vditest.path("child.vdi"), base,
                            block_size=child)
            check([top, base], writes(6 * M))


def test_larger_child():
    """Beyond the parent's end there are zeros, in the middle of a block,
    too."""
    base = pattern_base("base.vdi", 2 * M + 512, M, 2)
    for block_size in 4 * K, M, 4 * M:
        top = vdi.child(vditest.path("child.vdi"), base, size=7 * M + 1024,
                        block_size=block_size)
        with vditest.serve(top, readonly=True) as s:
            h = s.connect()
            assert not any(h.pread(5 * M + 512, 2 * M + 512))
        check([top, base], writes(7 * M + 1024) + [(2 * M + 500, 24)])


def test_smaller_child():
    """What lies beyond the child's end is not to be seen."""
    base = pattern_base("base.vdi", 9 * M, M, 3)
    top = vdi.child(vditest.path("child.vdi"), base, size=5 * M + 512,
                    block_size=2 * M)
    check([top, base], writes(5 * M + 512))


def test_short_one_in_the_middle():
    """A short image cuts off what is below it, for those above it."""
    base = pattern_base("base.vdi", 8 * M, M, 4)
    middle = vdi.child(vditest.path("middle.vdi"), base, size=3 * M,
                       block_size=64 * K)
    top = vdi.child(vditest.path("top.vdi"), middle, size=6 * M)
    with vditest.serve(top, readonly=True) as s:
        h = s.connect()
        assert h.pread(3 * M, 0) == vditest.pattern(4, 0, 3 * M)
        assert not any(h.pread(3 * M, 3 * M))
    check([top, middle, base], writes(6 * M))


def test_old_header():
    """A base of version 0.2, whose blocks lie at odd places."""
    base = pattern_base("base.vdi", 4 * M, 64 * K, 5, version=2)
    top = vdi.child(vditest.path("child.vdi"), base, block_size=M)
    check([top, base], writes(4 * M + 0)[:4] + [(4 * M - 1, 1)])


def test_fixed_and_extra():
    base = pattern_base("base.vdi", 5 * M, M, 6, type=vdi.FIXED)
    middle = vdi.child(vditest.path("middle.vdi"), base, block_extra=512,
                       blocks={1: b"m" * M, 3: vdi.ZERO})
    top = vdi.child(vditest.path("top.vdi"), middle, block_size=256 * K,
                    block_extra=1024)
    check([top, middle, base], writes(5 * M))


def test_create_diff():
    """An overlay made by create=diff, written, and thrown away."""
    base = pattern_base("base.vdi", 5 * M + 512, M, 7)
    for block_size in "4K", "1M":
        top = vditest.path("top-%s.vdi" % block_size)
        with vditest.unchanged(base):
            with vditest.serve(top, "create=diff", "parent=" + base,
                               "block-size=" + block_size) as s:
                h = s.connect()
                assert vditest.read_all(h) == vditest.pattern(7, 0,
                                                              5 * M + 512)
                h.pwrite(b"first", M - 2)
        check([top, base], writes(5 * M + 512))


def test_only_what_is_needed():
    """A whole block that is written is not read from the parent, and a
    part that is written takes one block."""
    base = pattern_base("base.vdi", 4 * M, M, 8)
    top = vdi.child(vditest.path("child.vdi"), base, block_size=64 * K)
    with vditest.serve(top) as s:
        h = s.connect()
        h.pwrite(b"x" * 128 * K, M)
        h.pwrite(b"y", 2 * M)
    assert vdi.Image(top).n_alloc == 3


vditest.main()
