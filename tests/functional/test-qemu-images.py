# SPDX-License-Identifier: BSD-3-Clause
"""Images that QEMU makes, of the sizes where others went wrong: served,
written, and read again by QEMU; and ours in QEMU's hands."""

import errno
import os

import nbd

import vdi
import vditest
from vditest import G, K, M

T = 1024 * G

# Blocks: one, and either side of a full sector of the map.
SIZES = [M, M + 512, 127 * M, 128 * M, 129 * M, 128 * M - 512]


def places(size):
    """Some 1000 bytes each: at both ends, across edges, in the middle."""
    offsets = [0, size // 2, size - 1000]
    if size > 2 * M:
        offsets += [M - 500, size - size % M - 700]
    return sorted(set(o for o in offsets if 0 <= o <= size - 1000))


def use(image, size):
    with vditest.serve(image) as s:
        h = s.connect()
        assert h.get_size() == size
        for n, offset in enumerate(places(size)):
            h.pwrite(bytes([n + 1]) * 1000, offset)
        h.flush()
    assert vdi.Image(image).problems() == []
    vditest.qemu_check(image)
    commands = []
    for n, offset in enumerate(places(size)):
        commands.append("read -P %d %d 1000" % (n + 1, offset))
        if offset + 1000 < size and size - offset > 5000:
            commands.append("read -P 0 %d 3000" % (offset + 1000))
    out = vditest.qemu_io(image, *commands, readonly=True)
    assert "failed" not in out and "verification" not in out, out


def test_dynamic():
    for size in SIZES:
        image = vditest.make_vdi(size=size)
        use(image, size)
        os.unlink(image)


def test_static():
    for size in SIZES[:2] + SIZES[4:]:
        image = vditest.make_vdi(size=size, static=True)
        length = os.stat(image).st_size
        use(image, size)
        assert os.stat(image).st_size == length
        assert vdi.Image(image).type == vdi.FIXED
        os.unlink(image)


def test_no_blocks():
    """A disk of no size at all: QEMU makes and opens such images."""
    image = vditest.make_vdi(size=0)
    with vditest.unchanged(image):
        try:
            with vditest.serve(image) as s:
                assert s.connect().get_size() == 0
        except AssertionError as e:
            assert "disk.vdi" in str(e) and "size" in str(e), e


def test_5t():
    """5 TiB: 5 million entries, of which few are used."""
    size = 5 * T
    image = vditest.make_vdi(size=size)
    use(image, size)
    with vditest.serve(image, readonly=True) as s:
        h = s.connect()
        data = [(o, c) for o, c, kind in
                vditest.extents(h, 4 * M, size // 2 - 2 * M)
                if not kind & nbd.STATE_ZERO]
        assert len(data) == 1
        assert data[0][0] <= size // 2 and \
            sum(data[0]) >= size // 2 + 1000, data


def test_compare():
    """QEMU reading the file, and reading us, sees the same disk."""
    raw = vditest.write_file("raw", b"".join(
        vditest.pattern(n, 0, 100 * K) + vditest.zeros(900 * K)
        for n in range(12)))
    for static in False, True:
        image = vditest.make_vdi("s%d.vdi" % static, raw=raw, static=static)
        with vditest.serve(image, readonly=True) as s:
            vditest.qemu_compare(image, s.uri)
            vditest.qemu_compare(raw, s.uri, fmt_a="raw")


def test_convert_into_us():
    """qemu-img writes through us what it then reads from the file."""
    data = bytearray(vditest.zeros(9 * M + 512))
    for n in range(9):
        data[n * M + n * 1111:n * M + n * 1111 + 3333] = \
            vditest.pattern(n, 0, 3333)
    raw = vditest.write_file("raw", data)
    image = vditest.make_vdi(size=9 * M + 512)
    with vditest.serve(image) as s:
        vditest.qemu_img("convert", "-n", "-f", "raw", "-O", "raw", raw,
                         s.uri)
        # Our image is in use until the server ends.
        h = s.connect()
        assert vditest.read_all(h) == data
    vditest.qemu_compare(image, raw)
    vditest.qemu_check(image)


def test_created_by_us():
    """What create= makes, QEMU can write to, and we again."""
    for kind in "dynamic", "fixed":
        image = vditest.path(kind + ".vdi")
        with vditest.serve(image, "create=" + kind, "size=7M"):
            pass
        vditest.qemu_check(image)
        vditest.qemu_io(image, "write -P 0x21 2M 1M", "write -P 0x22 5M 64k")
        with vditest.serve(image) as s:
            h = s.connect()
            assert h.pread(M, 2 * M) == b"\x21" * M
            h.pwrite(b"\x23" * 4096, 5 * M + 1024)
        vditest.qemu_check(image)
        vditest.qemu_io(image, "read -P 0x22 5M 1k",
                        "read -P 0x23 5243904 4k", "read -P 0 0 2M",
                        readonly=True)


def test_lacks_last_block():
    """Until 2011 QEMU rounded the number of blocks down.  (No program that
    could still make one: this is a new one with its disk made larger.)"""
    size = 5 * M + 917504
    raw = vditest.write_file("raw", os.urandom(5 * M))
    image = vditest.make_vdi(size=5 * M, raw=raw)
    vdi.patch(image, disk_size=size)
    # Nor does QEMU read them any more.
    out = vditest.qemu_img("info", "-f", "vdi", image, status=1)
    assert "disk size" in out, out
    stored = vditest.read_file(raw)
    with vditest.unchanged(image):
        # What is there can be read, and who wants to write is told.
        for readonly in [True, False]:
            with vditest.serve(image, readonly=readonly) as s:
                h = s.connect()
                assert h.is_read_only() and h.get_size() == size
                assert bytes(h.pread(5 * M, 0)) == stored
                for offset, count in [(5 * M, 512), (size - 1, 1),
                                      (5 * M - 1, 2), (0, size)]:
                    with vditest.raises(errno.EIO):
                        h.pread(count, offset)
                assert sum(e[1] for e in vditest.extents(h)) == size
                assert "QEMU made until 2011" in s.log(), s.log()
                assert "the last one, is not in" in s.log(), s.log()
                assert ("serving it read-only" in s.log()) != readonly
        with vditest.serve(image, "missing=zero", readonly=True) as s:
            want = stored + bytes(size - 5 * M)
            assert vditest.read_all(s.connect()) == want
        # What is not there is not made up for a larger child.
        larger = vditest.path("larger.vdi")
        for missing in ["error", "zero"]:
            out = vditest.serve_fails(larger, "create=diff", "size=7M",
                                      "parent=" + image, "missing=" + missing)
            assert "not be made larger than its parent" in out, out
            assert not os.path.exists(larger)
        # A child of one: what it does not have itself is as missing.
        child = vditest.path("child.vdi")
        with vditest.serve(child, "create=diff", "parent=" + image) as s:
            h = s.connect()
            assert bytes(h.pread(5 * M, 0)) == stored
            with vditest.raises(errno.EIO):
                h.pread(1, 5 * M)
            with vditest.raises(errno.EIO):
                h.pwrite(b"x", 5 * M)
            h.pwrite(b"x" * (size - 5 * M), 5 * M)
            assert bytes(h.pread(size - 5 * M, 5 * M)) == \
                b"x" * (size - 5 * M)
    assert vdi.Image(child).problems() == []


vditest.main()
