#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Files that nobody writes to are not changed in any way; and what cannot
be written to is served read-only, or refused."""

import errno
import os
import socket

import vdi
import vditest
from vditest import M


def make_chain():
    base = vdi.make(vditest.path("base.vdi"), size=4 * M,
                    blocks={0: os.urandom(M), 2: os.urandom(M)})
    child = vdi.child(vditest.path("child.vdi"), base,
                      blocks={1: os.urandom(M)})
    return base, child


def use(h):
    """All that a client can do who only reads."""
    vditest.read_all(h)
    vditest.extents(h)
    h.cache(h.get_size(), 0)
    h.flush()


def test_r():
    base, child = make_chain()
    with vditest.unchanged(base, child):
        for name in [base, child]:
            with vditest.serve(name, readonly=True) as s:
                h = s.connect()
                assert h.is_read_only()
                assert h.can_multi_conn()
                use(h)
                with vditest.raises(errno.EPERM):
                    h.set_strict_mode(0)
                    h.pwrite(b"x", 0)
            # Nor is anything written without -r, if nobody writes.
            with vditest.serve(name) as s:
                h = s.connect()
                assert not h.is_read_only()
                use(h)


def test_killed():
    base, child = make_chain()
    with vditest.unchanged(base, child):
        s = vditest.serve(child)
        use(s.connect())
        s.kill()


def test_cow():
    base, child = make_chain()
    with vditest.unchanged(base, child):
        with vditest.serve(child, filters=["cow"]) as s:
            h = s.connect()
            h.pwrite(b"x" * M, 77)
            h.flush()
            assert bytes(h.pread(M, 77)) == b"x" * M


def ext2_image(name):
    """An image with a file system, with a file /file in it."""
    vditest.requires("mke2fs", "debugfs")
    raw = vditest.path("raw")
    with open(raw, "wb") as f:
        f.truncate(8 * M)
    vditest.run("mke2fs", "-q", "-F", raw)
    content = vditest.write_file("content", b"hello" * 1000)
    vditest.run("debugfs", "-w", "-R", "write %s file" % content, raw)
    with open(raw, "rb") as f:
        data = f.read()
    return vdi.make(name, size=8 * M,
                    blocks={i: data[i * M:(i + 1) * M] for i in range(8)
                            if any(data[i * M:(i + 1) * M])})


def test_ext2():
    """The filter opens the disk for writing even under -r."""
    image = ext2_image(vditest.path("a.vdi"))
    env = {"ASAN_OPTIONS": "detect_leaks=0"}    # the filter does leak
    with vditest.unchanged(image):
        with vditest.serve(image, "ext2file=/file", filters=["ext2"],
                           readonly=True, env=env) as s:
            h = s.connect()
            assert h.is_read_only()
            assert vditest.read_all(h) == b"hello" * 1000
    # Without it, it may.
    with vditest.serve(image, "ext2file=/file", filters=["ext2"],
                       env=env) as s:
        h = s.connect()
        h.pwrite(b"HELLO", 5)
        h.flush()
    assert vdi.Image(image).problems() == []
    with vditest.serve(image, "ext2file=/file", filters=["ext2"],
                       readonly=True, env=env) as s:
        assert bytes(s.connect().pread(10, 0)) == b"helloHELLO"


def test_bind_failure():
    """nbdkit fails when everything is open already."""
    base, child = make_chain()
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = taken.getsockname()[1]
    with vditest.unchanged(base, child):
        out = vditest.run("nbdkit", "-f", "-i", "127.0.0.1", "-p", port,
                          "vdi", child, status=1)
    assert "in use" in out, out
    taken.close()


def test_parent_without_permission():
    """Parents are only read, so nobody minds."""
    base, child = make_chain()
    os.chmod(base, 0o444)
    with vditest.unchanged(base):
        with vditest.serve(child) as s:
            h = s.connect()
            h.pwrite(b"x", 0)
            h.flush()


def test_damaged():
    """With -r as far as it goes, but not for writing; nobody who wants to
    write is told less than why."""
    image = vdi.make(vditest.path("a.vdi"), size=4 * M,
                     blocks={0: b"0" * M, 1: b"1" * M})
    vdi.set_entry(image, 1, 1000)
    with vditest.unchanged(image):
        with vditest.serve(image, readonly=True) as s:
            h = s.connect()
            assert bytes(h.pread(M, 0)) == b"0" * M
            with vditest.raises(errno.EIO):
                h.pread(1, M)
            assert bytes(h.pread(M, 2 * M)) == bytes(M)
        with vditest.serve(image, "missing=zero", readonly=True) as s:
            assert vditest.read_all(s.connect()) == b"0" * M + bytes(3 * M)
        with vditest.serve(image) as s:
            for _ in range(2):
                try:
                    s.connect()
                    raise AssertionError("could be opened for writing")
                except vditest.nbd.Error:
                    pass
            assert image in s.log() and "-r" in s.log(), s.log()
        # The filter only reads.
        with vditest.serve(image, filters=["cow"]) as s:
            h = s.connect()
            assert bytes(h.pread(M, 0)) == b"0" * M


def test_in_use():
    """By somebody who writes: not at all.  By somebody who reads: only
    for reading.  And once they have gone, no restart is needed."""
    image = vdi.make(vditest.path("a.vdi"), blocks={0: b"0" * M})
    with vditest.serve(image) as writer:
        h = writer.connect()
        h.pwrite(b"x", 0)
        out = vditest.serve_fails(image, readonly=True)
        assert image in out and "lock=off" in out, out
        with vditest.serve(image, "lock=off", readonly=True) as s:
            assert bytes(s.connect().pread(2, 0)) == b"x0"
    reader = vditest.serve(image, readonly=True)
    with vditest.serve(image) as s:
        try:
            s.connect()
            raise AssertionError("two at a time")
        except vditest.nbd.Error:
            pass
        assert image in s.log() and "-r" in s.log(), s.log()
        reader.stop()
        h = s.connect()
        assert not h.is_read_only()
        h.pwrite(b"y", 0)


def test_children_warning():
    """Writing to a parent is allowed, but said to be a bad idea, once; and
    whoever reads it may want something else, which is said at the start."""
    base, child = make_chain()
    with vditest.serve(base) as s:
        at_start = s.log()
        s.connect()
        s.connect()
        warnings = [l for l in s.log().splitlines() if "warning" in l]
        assert len(warnings) == 2 and warnings[0] in at_start, s.log()
        for w in warnings:
            assert base in w and child in w, s.log()
        assert "is the parent of" in warnings[1], s.log()
    with vditest.serve(child) as s:
        s.connect()
        assert "warning" not in s.log(), s.log()
    with vditest.serve(base, readonly=True) as s:
        s.connect()
        warnings = [l for l in s.log().splitlines() if "warning" in l]
        assert len(warnings) == 1 and "older" in warnings[0], s.log()


vditest.main()
