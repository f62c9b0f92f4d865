#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""create=: new images of each kind, which QEMU understands."""

import json
import os
import socket
import stat

import vdi
import vditest
from vditest import K, M

UUID = "4df1bb20-0a8c-4d9b-a8c9-7b0a9b4a1c11"


def description(s):
    h = s.new_handle()
    h.set_full_info(True)
    h.connect_unix(s.socket)
    return h.get_export_description()


def test_dynamic():
    new = vditest.path("new.vdi")
    data = os.urandom(3 * M)
    with vditest.serve(new, "create=dynamic", "size=8M") as s:
        h = s.connect()
        assert h.get_size() == 8 * M
        assert vditest.read_all(h) == bytes(8 * M)
        assert vditest.extents(h) == [(0, 8 * M, 3)]
        assert "dynamically allocated, 0 of 8 blocks" in description(s)
        h.pwrite(data, M + 77)
    vditest.qemu_check(new)
    info = json.loads(vditest.qemu_img("info", "--output=json", new))
    assert info["format"] == "vdi" and info["virtual-size"] == 8 * M
    raw = vditest.write_file("raw", (bytes(M + 77) + data).ljust(8 * M, b"\0"))
    vditest.qemu_compare(new, raw)
    assert vdi.Image(new).problems() == []
    # As VirtualBox does it.
    assert stat.S_IMODE(os.stat(new).st_mode) == 0o600


def test_new_is_small():
    new = vditest.path("new.vdi")
    with vditest.serve(new, "create=dynamic", "size=1T") as s:
        assert s.connect().get_size() == M * M
    assert os.stat(new).st_size < 8 * M
    vditest.qemu_check(new)


def test_fixed():
    new = vditest.path("new.vdi")
    with vditest.serve(new, "create=fixed", "size=5242880") as s:
        h = s.connect()
        assert vditest.read_all(h) == bytes(5 * M)
        assert "fixed size, 5 of 5 blocks" in description(s)
        h.pwrite(b"end", 5 * M - 3)
    vditest.qemu_check(new)
    image = vdi.Image(new)
    assert image.type == vdi.FIXED and image.problems() == []
    assert image.read()[-3:] == b"end"
    # It takes its space at once.
    assert os.stat(new).st_blocks * 512 >= 5 * M


def test_diff():
    parent = vdi.make(vditest.path("parent.vdi"), size=4 * M + 512,
                      blocks={0: b"zero", 2: b"two"})
    new = vditest.path("new.vdi")
    with vditest.unchanged(parent):
        with vditest.serve(new, "create=diff", "parent=" + parent) as s:
            h = s.connect()
            assert h.get_size() == 4 * M + 512
            assert bytes(h.pread(4, 0)) == b"zero"
            assert "differencing" in description(s), description(s)
            assert "chain of 2 images" in description(s)
            h.pwrite(b"ZE", 0)
            h.flush()
        # And it is found again, without being told.
        with vditest.serve(new, readonly=True) as s:
            assert bytes(s.connect().pread(5, 0)) == b"ZEro\0"
            assert bytes(s.connect().pread(3, 2 * M)) == b"two"
    child, base = vdi.Image(new), vdi.Image(parent)
    assert child.type == vdi.DIFF
    assert child.uuid_parent == base.uuid_image
    assert child.uuid_parent_mod == base.uuid_mod
    assert child.problems() == []
    assert list(child.allocated()) == [0]


def test_diff_of_another_size():
    parent = vdi.make(vditest.path("parent.vdi"), size=4 * M,
                      blocks={0: b"zero", 3: b"three"})
    for size in [2 * M, 6 * M]:
        new = vditest.path("new%d.vdi" % size)
        with vditest.serve(new, "create=diff", "parent=" + parent,
                           "size=%d" % size) as s:
            data = vditest.read_all(s.connect())
        expected = vdi.Image(parent).read()[:size].ljust(size, b"\0")
        assert data == expected


def test_diff_larger():
    """VirtualBox cannot read a child where its parent ends: what lies behind
    that is the child's own from the beginning, and reads as it should."""
    base = vdi.make(vditest.path("base.vdi"), size=5 * M + 512, block_size=M,
                    blocks={0: os.urandom(M), 5: b"B" * 512})
    middle = vdi.child(vditest.path("middle.vdi"), base, block_size=64 * K,
                       blocks={3: os.urandom(64 * K), 77: b"m"})
    for n, (block_size, size) in enumerate([
            (M, 9 * M), (64 * K, 9 * M), (2 * M, 9 * M + 512),
            (M, 5 * M + 1024), (8 * M, 40 * M)]):
        new = vditest.path("new%d.vdi" % n)
        params = ["parent=" + middle, "size=%d" % size,
                  "block-size=%d" % block_size]
        with vditest.unchanged(base, middle):
            with vditest.serve(middle, readonly=True) as s:
                want = bytearray(vditest.read_all(s.connect()))
            with vditest.serve(new, "create=diff", *params) as s:
                pass
        i = vdi.Image(new)
        assert i.problems() == [], i.problems()
        first = (5 * M + 512) // block_size
        assert i.map[first] == 0 and list(i.allocated()) == [first]
        assert i.map[:first] == [vdi.FREE] * first
        assert i.map[first + 1:] == \
            [vdi.ZERO] * (i.n_blocks - first - 1)
        want += bytes(size - len(want))
        with vditest.serve(new) as s:
            h = s.connect()
            assert vditest.read_all(h) == want
            for offset in [5 * M + 512, 5 * M + 500, size - 100]:
                h.pwrite(b"w" * 100, offset)
                want[offset:offset + 100] = b"w" * 100
            h.flush()
            assert vditest.read_all(h) == want
        assert vdi.Image(new).problems() == []


def test_diff_larger_by_whole_blocks():
    parent = vdi.make(vditest.path("parent.vdi"), size=4 * M,
                      blocks={0: b"zero", 3: b"three"})
    new = vditest.path("new.vdi")
    with vditest.serve(new, "create=diff", "parent=" + parent,
                       "size=7M") as s:
        assert vditest.read_all(s.connect())[4 * M:] == bytes(3 * M)
    i = vdi.Image(new)
    assert i.map == [vdi.FREE] * 4 + [vdi.ZERO] * 3 and i.n_alloc == 0
    assert i.problems() == []


def test_block_size_warning():
    """VirtualBox does not open all that it once did."""
    for size, warned in [("4K", True), ("64K", True), ("128K", False),
                         ("1M", False), ("128M", False)]:
        new = vditest.path("new-%s.vdi" % size)
        with vditest.serve(new, "create=dynamic", "size=8M",
                           "block-size=" + size) as s:
            assert ("September 2026" in s.log()) == warned, s.log()
            assert ("September 2026" in description(s)) == warned
            assert "September 2026" not in s.log() or "128 KiB" in s.log()


def test_text():
    """What VirtualBox since October 2024 writes; images that are there keep
    what is in them."""
    new = vditest.path("new.vdi")
    with vditest.serve(new, "create=dynamic", "size=8M"):
        pass
    with open(new, "rb") as f:
        assert f.read(64).rstrip(b"\0") == \
            b"<<< Oracle VirtualBox Disk Image >>>\n"
    for image, text in [
            (vdi.make(vditest.path("old.vdi"), size=8 * M), b"Oracle VM "),
            (vditest.make_vdi("qemu.vdi", 8 * M), b"<<< QEMU ")]:
        before = vditest.read_file(image)
        assert text in before[:64]
        with vditest.serve(image) as s:
            h = s.connect()
            h.pwrite(b"x" * 3 * M, M)
            h.flush()
        after = vditest.read_file(image)
        assert after[:512] != before[:512] and after[:64] == before[:64]


def test_diff_of_a_diff():
    """The grandparent may be elsewhere."""
    base = vdi.make(vditest.path("base.vdi"), size=4 * M, blocks={1: b"b"})
    child = vdi.child(vditest.path("child.vdi"), base, blocks={2: b"c"})
    for where in ["away", "far"]:
        os.mkdir(vditest.path(where))
    os.rename(base, vditest.path("far/base.vdi"))
    for n, params in enumerate([["parent=" + vditest.path("far/base.vdi")],
                                ["parent-dir=" + vditest.path("far")]]):
        new = vditest.path("away/new%d.vdi" % n)
        with vditest.serve(new, "create=diff", "parent=" + child,
                           *params) as s:
            h = s.connect()
            assert bytes(h.pread(1, M)) == b"b"
            assert bytes(h.pread(1, 2 * M)) == b"c"
            assert "chain of 3 images" in description(s)


def test_uuid_comment_block_size():
    new = vditest.path("new.vdi")
    with vditest.serve(new, "create=dynamic", "size=8M", "uuid={%s}" % UUID,
                       "comment=Grüße aus der Datei", "block-size=64K") as s:
        text = description(s)
        assert UUID in text, text
        assert "128 blocks of 64 KiB" in text, text
        assert "Grüße aus der Datei" in text, text
        h = s.connect()
        h.pwrite(b"x", 100 * K)
    image = vdi.Image(new)
    assert str(image.uuid_image) == UUID
    assert image.comment.rstrip(b"\0").decode() == "Grüße aus der Datei"
    assert image.block_size == 64 * K
    assert list(image.allocated()) == [1]
    # qemu-img reads no such images, but must say that it is the block size.
    out = vditest.qemu_img("info", new, status=1)
    assert "block size" in out, out


def test_longest_comment():
    new = vditest.path("new.vdi")
    with vditest.serve(new, "create=dynamic", "size=1M",
                       "comment=" + 255 * "x"):
        pass
    assert vdi.Image(new).comment == 255 * b"x" + b"\0"
    vditest.qemu_check(new)


def test_never_overwrites():
    names = [vditest.write_file("empty", b""),
             vdi.make(vditest.path("a.vdi"), blocks={0: b"x"})]
    with vditest.unchanged(*names):
        for name in names:
            out = vditest.serve_fails(name, "create=dynamic", "size=8M")
            assert "exists" in out, out
    # Nor where a link points to.
    link = vditest.path("link.vdi")
    os.symlink(vditest.path("target.vdi"), link)
    out = vditest.serve_fails(link, "create=dynamic", "size=8M")
    assert "exists" in out, out
    assert not os.path.exists(vditest.path("target.vdi"))


def test_removed_if_it_cannot_be_served():
    """The new image is there before its grandparent is missed."""
    base = vdi.make(vditest.path("base.vdi"), size=4 * M)
    child = vdi.child(vditest.path("child.vdi"), base)
    gone = str(vdi.Image(base).uuid_image)
    os.unlink(base)
    new = vditest.path("new.vdi")
    with vditest.unchanged(child):
        out = vditest.serve_fails(new, "create=diff", "parent=" + child)
    assert gone in out, out
    assert not os.path.exists(new)


def test_no_space():
    """A fixed image that does not fit is not left behind.  (A limit of
    the size of files is like a full file system, for everybody.)"""
    new = vditest.path("new.vdi")
    out = vditest.run("bash", "-c",
                      'ulimit -f 4096; trap "" XFSZ; exec "$@"', "bash",
                      "nbdkit", "-U", "-", "vdi", "file=" + new,
                      "create=fixed", "size=64M", "--run", "true", status=1)
    assert new in out, out
    assert not os.path.exists(new)


def test_stays_when_nbdkit_cannot_start():
    """As the manual says: made, sound, and not made again."""
    new = vditest.path("new.vdi")
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = taken.getsockname()[1]
    vditest.run("nbdkit", "-f", "-i", "127.0.0.1", "-p", port, "vdi", new,
                "create=dynamic", "size=8M", status=1)
    taken.close()
    vditest.qemu_check(new)
    with vditest.unchanged(new):
        with vditest.serve(new) as s:
            assert vditest.read_all(s.connect()) == bytes(8 * M)


vditest.main()
