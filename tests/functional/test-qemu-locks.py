# SPDX-License-Identifier: BSD-3-Clause
"""QEMU and we refuse each other's images in use; readers go together."""

import os
import subprocess

import nbd

import vdi
import vditest
from vditest import K, M


WRITTEN = "written to by another program"


def qemu_refuses(image, writing):
    args = ["-c", "write 0 512"] if writing else ["-r", "-c", "read 0 512"]
    out = vditest.run("qemu-io", "-f", "vdi", *args, image, status=1)
    assert "lock" in out, out


def qemu_accepts(image, writing):
    args = ["-c", "write 0 512"] if writing else ["-r", "-c", "read 0 512"]
    vditest.run("qemu-io", "-f", "vdi", *args, image)


class QemuNbd:
    """qemu-nbd with an image open."""

    def __init__(self, image, *options):
        vditest.requires("qemu-nbd")
        self.socket = vditest.path("q")
        self.process = subprocess.Popen(
            ["qemu-nbd", "-k", self.socket, "-t", "-f", "vdi", *options,
             image], stdin=subprocess.DEVNULL)
        try:
            # Which is when it has the image's locks, and minds signals.
            vditest.wait_until(lambda: vditest.answers(self.socket),
                               "qemu-nbd did not start", self.process)
        except AssertionError:
            self.process.kill()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *args):
        vditest.stop_process(self.process)
        if os.path.exists(self.socket):
            os.unlink(self.socket)


def test_we_read():
    """With -r, QEMU may read too, but not write."""
    image = vditest.make_vdi()
    with vditest.serve(image, readonly=True) as s:
        qemu_accepts(image, False)
        qemu_refuses(image, True)
        vditest.qemu_check(image)
        s.connect()
        qemu_accepts(image, False)
        qemu_refuses(image, True)
    qemu_accepts(image, True)


def test_we_write():
    """The lock for writing comes with the first client that may write, and
    stays until the server ends."""
    image = vditest.make_vdi()
    with vditest.serve(image) as s:
        qemu_accepts(image, False)
        qemu_refuses(image, True)
        h = s.connect()
        qemu_refuses(image, False)
        qemu_refuses(image, True)
        out = vditest.qemu_img("check", "-f", "vdi", image, status=1)
        assert "lock" in out, out
        h.pwrite(b"x" * 512, 0)
        h.shutdown()
        qemu_refuses(image, False)
        # Who insists may look.
        vditest.qemu_img("info", "-U", image)
    qemu_accepts(image, True)
    vditest.qemu_check(image)


def test_killed():
    """A lock does not outlive the server."""
    image = vditest.make_vdi()
    with vditest.serve(image) as s:
        s.connect().pwrite(b"x" * 512, 0)
        s.kill()
    qemu_accepts(image, True)


def test_qemu_writes():
    image = vditest.make_vdi()
    with QemuNbd(image):
        with vditest.unchanged(image):
            for readonly in True, False:
                said = vditest.serve_fails(image, readonly=readonly)
                assert "disk.vdi" in said and WRITTEN in said, said
    with vditest.serve(image) as s:
        s.connect().pwrite(b"x", 0)


def test_qemu_reads():
    """We may read too; who wants to write is told why not, until QEMU has
    gone."""
    image = vditest.make_vdi()
    with QemuNbd(image, "-r"):
        with vditest.serve(image, readonly=True) as s:
            assert not any(vditest.read_all(s.connect()))
        with vditest.serve(image) as s:
            vditest.refused(s, "disk.vdi")
    with vditest.serve(image) as s:
        s.connect().pwrite(b"x", 0)


def test_two_servers():
    image = vditest.make_vdi()
    with vditest.serve(image) as a:
        with vditest.serve(image, readonly=True) as b:
            b.connect()
        a.connect().pwrite(b"x", 0)
        said = vditest.serve_fails(image, readonly=True)
        assert WRITTEN in said, said
        said = vditest.serve_fails(image)
        assert WRITTEN in said, said
        with vditest.serve(image, "lock=off", readonly=True) as b:
            assert b.connect().pread(1, 0) == b"x"


def test_parents():
    """A parent is locked against writers as long as its child is served,
    and against us while somebody writes to it."""
    base = vdi.make(vditest.path("base.vdi"), size=4 * M,
                    blocks={0: b"b" * M})
    child = vdi.child(vditest.path("child.vdi"), base, block_size=64 * K)
    top = vdi.child(vditest.path("top.vdi"), child)
    with vditest.serve(top) as s:
        h = s.connect()
        for f in base, child:
            with vditest.unchanged(f):
                with vditest.serve(f) as other:
                    try:
                        assert other.connect().is_read_only()
                    except nbd.Error:
                        pass
                with vditest.serve(f, readonly=True) as other:
                    other.connect()
        qemu_refuses(base, True)
        qemu_accepts(base, False)
        h.pwrite(b"x", 0)
        qemu_refuses(base, True)
        # Two children of one parent go together.
        sister = vdi.child(vditest.path("sister.vdi"), base)
        with vditest.serve(sister) as other:
            other.connect().pwrite(b"y", 0)
    with QemuNbd(base):
        said = vditest.serve_fails(top)
        assert "base.vdi" in said and WRITTEN in said, said


def test_lock_off():
    image = vditest.make_vdi()
    with vditest.serve(image, "lock=off") as s:
        s.connect().pwrite(b"x", 0)
        qemu_accepts(image, False)


vditest.main()
