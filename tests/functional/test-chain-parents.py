# SPDX-License-Identifier: BSD-3-Clause
"""Parents that are damaged, missing, or not what they were: nothing is made
up, and nothing made up is ever stored in a child."""

import vdi
import vditest
from vditest import K, M


def damaged_base():
    """Block 1 points beyond the end of the file, block 2 is sound."""
    base = vdi.make(vditest.path("base.vdi"), size=4 * M, blocks={
        b: bytes([0x61 + b]) * M for b in range(4)})
    vdi.set_entry(base, 1, 1000)
    return base


def test_damaged_parent_read():
    """As far as it goes; what the child has is there in any case."""
    base = damaged_base()
    child = vdi.child(vditest.path("child.vdi"), base, block_size=64 * K,
                      blocks={16: b"c" * 64 * K, 17: vdi.ZERO})
    with vditest.unchanged(base, child):
        with vditest.serve(child, readonly=True) as s:
            h = s.connect()
            assert h.pread(M, 0) == b"a" * M
            assert h.pread(64 * K, M) == b"c" * 64 * K
            assert not any(h.pread(64 * K, M + 64 * K))
            assert h.pread(2 * M, 2 * M) == b"c" * M + b"d" * M
            with vditest.raises(5):
                h.pread(1, M + 128 * K)
            log = s.log()
        assert "base.vdi" in log and "block 1" in log, log


def test_missing_zero_is_not_copied():
    """missing=zero is for those who read.  Zeros that are made up do not
    become the child's content, whatever is written beside them."""
    base = damaged_base()
    child = vdi.child(vditest.path("child.vdi"), base)
    with vditest.unchanged(base):
        with vditest.serve(child, "missing=zero", readonly=True) as s:
            h = s.connect()
            assert not any(h.pread(M, M))
        with vditest.serve(child, "missing=zero") as s:
            h = s.connect()
            with vditest.raises(5):
                h.pwrite(b"x" * 10, M + 100)
            assert "in whole blocks" in s.log(), s.log()
            # Nothing has to be made up for these.
            h.pwrite(b"x" * 10, 100)
            h.pwrite(b"w" * M, 3 * M)
    i = vdi.Image(child)
    assert i.map[1] == vdi.FREE
    assert i.problems() == []


def test_parent_changed():
    """A parent that was written to after its child was made: VirtualBox
    does not notice.  It is served, nothing is invented."""
    base = vdi.make(vditest.path("base.vdi"), size=2 * M,
                    blocks={0: b"b" * M})
    child = vdi.child(vditest.path("child.vdi"), base)
    with vditest.serve(base) as s:
        s.connect().pwrite(b"later", 10)
        assert "child.vdi" in s.log(), s.log()
    with vditest.serve(child, readonly=True) as s:
        assert s.connect().pread(7, 9) == b"blaterb"


def test_loop():
    """An image that is its own parent, and two that are each other's."""
    import uuid
    a, b = uuid.uuid4(), uuid.uuid4()
    one = vdi.make(vditest.path("one.vdi"), size=M, type=vdi.DIFF,
                   uuid_image=a, uuid_parent=a)
    said = vditest.serve_fails(one, readonly=True)
    assert "one.vdi" in said, said
    two = vdi.make(vditest.path("two.vdi"), size=M, type=vdi.DIFF,
                   uuid_image=a, uuid_parent=b)
    vdi.make(vditest.path("three.vdi"), size=M, type=vdi.DIFF,
             uuid_image=b, uuid_parent=a)
    said = vditest.serve_fails(two, readonly=True)
    assert "two.vdi" in said or "three.vdi" in said, said


def test_many_levels():
    """Thirty snapshots, each with a block of its own."""
    files = [vdi.make(vditest.path("base.vdi"), size=32 * 64 * K,
                      block_size=64 * K, blocks={31: b"base" * 16384})]
    for n in range(30):
        files.insert(0, vdi.child(
            vditest.path("s%02d.vdi" % n), files[0],
            blocks={n: bytes([n + 1]) * 64 * K}))
    with vditest.unchanged(*files[1:]):
        with vditest.serve(files[0]) as s:
            h = s.connect()
            for n in range(30):
                assert h.pread(64 * K, n * 64 * K) == \
                    bytes([n + 1]) * 64 * K
            assert not any(h.pread(64 * K, 30 * 64 * K))
            h.pwrite(b"top", 31 * 64 * K + 1)
            assert h.pread(8, 31 * 64 * K) == b"btopbase"


vditest.main()
