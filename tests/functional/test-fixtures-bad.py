# SPDX-License-Identifier: BSD-3-Clause
"""Damaged images: each is refused, or served as far as it goes, with a
message that names the file, the field, the value and a way out; and
nothing changes them but a client's write."""

import os

import nbd

import vdi
import vditest
from vditest import M

# Refused: what the message has to say, besides the file's name.
REFUSED = {
    "sig": ["signature", "0xbeda1070", "restore"],
    "version-2-0": ["version", "2.0", "VBoxManage clonemedium"],
    "offdata-in-map": ["data's offset", "1048580", "1048588", "restore"],
    "cbblock-3m": ["block size", "3145728", "restore"],
    "cblocks-huge": ["number of blocks", "4294967295", "restore"],
    "empty-file": ["empty", "0 bytes", "restore"],
    "trunc-in-map": ["block map", "1048584", "1048588",
                     "bytes are missing", "restore"],
}

# Served, for reading only, with a warning: what the warning says; what can
# be read, as (offset, count); what cannot.
DAMAGED = {
    "ptr-double": (["block 1", "index 0", "another block"],
                   [(0, 3 * M)], []),
    "ptr-beyond-eof": (["block 1", "index 1000", "end of the file"],
                       [(0, M), (2 * M, M)], [(M, 512), (2 * M - 1, 1),
                                              (M - 512, 1024), (0, 3 * M)]),
    "trunc-data": (["block 1", "index 2", "end of the file", "512 bytes"],
                   [(0, 2 * M - 512), (2 * M, M)],
                   [(2 * M - 512, 512), (2 * M - 513, 2), (0, 3 * M)]),
}

# Served, and can be written.
SERVED = ["alloc-1", "uuid-create-0", "type-4-alone"]


def bad(name):
    return vditest.fixture("bad/%s.vdi" % name)


def test_table():
    """Every one of them has its test."""
    assert set(vditest.bad_manifest()) == \
        set(REFUSED) | set(DAMAGED) | set(SERVED)


def test_refused():
    for name, words in REFUSED.items():
        image = bad(name)
        for readonly in True, False:
            with vditest.unchanged(image):
                said = vditest.serve_fails(image, readonly=readonly)
            for word in [os.path.basename(image)] + words:
                assert word in said, (name, word, said)
            assert said.count("error:") == 1, said


def read_as_far(h, readable, unreadable, want):
    for offset, count in readable:
        assert h.pread(count, offset) == want[offset:offset + count]
    for offset, count in unreadable:
        with vditest.raises(5):         # EIO
            h.pread(count, offset)


def test_damaged_read():
    for name, (words, readable, unreadable) in DAMAGED.items():
        image = bad(name)
        want = vdi.Image(image).read()
        with vditest.unchanged(image):
            with vditest.serve(image, readonly=True) as s:
                read_as_far(s.connect(), readable, unreadable, want)
                log = s.log()
        assert log.count("warning") == 1, log
        for word in [os.path.basename(image)] + words:
            assert word in log, (name, word, log)
        assert ("missing=zero" in log) == bool(unreadable), log


def test_damaged_missing_zero():
    """With missing=zero they read as QEMU reads them."""
    for name in DAMAGED:
        image = bad(name)
        with vditest.unchanged(image):
            with vditest.serve(image, "missing=zero", readonly=True) as s:
                got = vditest.read_all(s.connect())
                assert got == vdi.Image(image).read(), name
                vditest.qemu_compare(image, s.uri)


def test_damaged_extents():
    """No part of a damaged image is called a hole or zeros that is not."""
    for name, (_, _, unreadable) in DAMAGED.items():
        image = bad(name)
        with vditest.serve(image, readonly=True) as s:
            h = s.connect()
            for offset, count, kind in vditest.extents(h):
                if kind & nbd.STATE_ZERO:
                    assert not any(h.pread(count, offset)), (name, offset)
                    for o, c in unreadable:
                        assert c == 3 * M or offset + count <= o or \
                            offset >= o + c, (name, offset, count)


def test_damaged_not_written():
    for name, (words, _, _) in DAMAGED.items():
        image = bad(name)
        with vditest.unchanged(image):
            with vditest.serve(image) as s:
                try:
                    h = s.connect()
                    assert h.is_read_only(), name
                except nbd.Error:
                    pass
                log = s.log()
        for word in ["cannot be written", "nbdkit -r"] + words:
            assert word in log, (name, word, log)


def test_count_healed():
    """A count that is too small: the next block goes behind the others, not
    over one of them, and a clean end leaves the right count."""
    image = bad("alloc-1")
    assert vdi.Image(image).n_alloc == 1
    want = bytearray(vdi.Image(image).read())
    with vditest.unchanged(image):
        with vditest.serve(image) as s:
            assert vditest.read_all(s.connect()) == want
    with vditest.serve(image) as s:
        h = s.connect()
        h.pwrite(b"healed", 1000)
        want[1000:1006] = b"healed"
        h.flush()
        # Even before the end: nobody may allocate over a live block.
        used = vdi.Image(image).allocated().values()
        assert vdi.Image(image).n_alloc > max(used)
    assert vdi.Image(image).problems() == []
    assert vdi.Image(image).read() == want
    vditest.qemu_check(image)
    vditest.qemu_io(image, "read -v 0 512")


def test_null_uuid():
    """QEMU and we serve it; VirtualBox does not."""
    image = bad("uuid-create-0")
    want = bytearray(vdi.Image(image).read())
    with vditest.serve(image) as s:
        s.connect().pwrite(b"x" * 600, 2 * M - 300)
    want[2 * M - 300:2 * M + 300] = b"x" * 600
    assert vdi.Image(image).read() == want
    assert vdi.Image(image).uuid_image == vdi.NULL_UUID
    vditest.qemu_check(image)


def test_child_without_parent():
    """A child that names no parent is a disk of its own, as QEMU has it,
    but that is worth a warning."""
    image = bad("type-4-alone")
    want = bytearray(vdi.Image(image).read())
    with vditest.serve(image) as s:
        h = s.connect()
        assert vditest.read_all(h) == want
        h.pwrite(b"y" * 512, 0)
        want[0:512] = b"y" * 512
        log = s.log()
    assert "warning" in log and "type-4-alone.vdi" in log and \
        "parent" in log, log
    assert vdi.Image(image).read() == want
    assert vdi.Image(image).type == vdi.DIFF
    vditest.qemu_check(image)


vditest.main()
