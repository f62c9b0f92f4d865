#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""An image is opened for reading only until somebody may write to it: seen
in /proc, and on an overlay, where opening it for writing copies it."""

import contextlib
import os
import stat
import subprocess

import filesystems
import vdi
import vditest
from vditest import M


def make_chain():
    base = vdi.make(vditest.path("base.vdi"), size=4 * M,
                    blocks={0: b"0" * M, 2: os.urandom(M)})
    child = vdi.child(vditest.path("child.vdi"), base,
                      blocks={1: b"1" * M})
    return base, child


def opened(s, name):
    """How the server has a file open: the access modes."""
    modes = []
    fds = "/proc/%d/fd" % s.pid
    for fd in os.listdir(fds):
        try:
            if os.readlink(os.path.join(fds, fd)) != name:
                continue
            with open("/proc/%d/fdinfo/%s" % (s.pid, fd)) as f:
                flags = [line.split()[1] for line in f
                         if line.startswith("flags:")]
        except FileNotFoundError:
            continue            # one of a moment
        modes.append(int(flags[0], 8) & os.O_ACCMODE)
    return modes


def test_modes():
    base, child = make_chain()
    with vditest.serve(child, readonly=True) as s:
        h = s.connect()
        vditest.read_all(h)
        assert opened(s, child) == [os.O_RDONLY]
        assert opened(s, base) == [os.O_RDONLY]
    with vditest.serve(child) as s:
        assert opened(s, child) == [os.O_RDONLY]
        h = s.connect()
        assert opened(s, child) == [os.O_RDWR]
        assert opened(s, base) == [os.O_RDONLY]
        h.pwrite(b"x", 0)
        h.flush()
        assert bytes(h.pread(3, 0)) == b"x00"


def test_renamed():
    """What was opened is what is written to, whatever its name is now."""
    base, child = make_chain()
    with open(base, "rb") as f:
        other = vditest.write_file("other.vdi", f.read())
    moved = vditest.path("moved.vdi")
    with vditest.serve(base, "lock=off") as s:
        os.rename(base, moved)
        os.rename(other, base)
        with vditest.unchanged(base, child):
            h = s.connect()
            h.pwrite(b"x" * M, M)
            h.flush()
    vditest.qemu_check(moved)
    with vditest.serve(moved, readonly=True) as s:
        assert bytes(s.connect().pread(M, M)) == b"x" * M


def test_replaced():
    """As by rsync, or by mv of a backup: what is written to a file that has
    no name any more would be lost without a word.  Readers are served."""
    base, child = make_chain()
    with open(child, "rb") as f:
        other = vditest.write_file("other.vdi", f.read())
    with vditest.serve(child) as s:
        os.rename(other, child)
        with vditest.unchanged(base, child):
            vditest.refused(s, "another put in its place")
    with vditest.serve(child, readonly=True) as s:
        os.unlink(child)
        assert bytes(s.connect().pread(M, M)) == b"1" * M


def test_removed_while_written_to():
    """It is said, and there is time to copy the disk."""
    image = vdi.make(vditest.path("removed.vdi"), size=4 * M)
    copy = vditest.path("copy")
    with vditest.serve(image) as s:
        h = s.connect()
        h.pwrite(b"x" * M, M)
        os.unlink(image)
        vditest.wait_until(lambda: "lost when nbdkit ends" in s.log(),
                           s.log, s.process)
        h.pwrite(b"y" * M, 2 * M)
        subprocess.check_call(["nbdcopy", s.uri, copy])
    with open(copy, "rb") as f:
        assert f.read() == bytes(M) + b"x" * M + b"y" * M + bytes(M)


def test_removed_at_the_end():
    """Nobody had the time to see it before."""
    image = vdi.make(vditest.path("end.vdi"), size=4 * M)
    with vditest.serve(image) as s:
        h = s.connect()
        h.pwrite(b"x" * M, M)
        h.flush()
        os.unlink(image)
        s.stop()
        assert "all that is written is lost" in s.log(), s.log()


def test_removed_unused():
    """Nothing is lost by that."""
    image = vdi.make(vditest.path("unused.vdi"), size=4 * M)
    with vditest.serve(image, "lock=off") as s:
        s.connect()
        os.unlink(image)
        s.stop()
        assert "lost" not in s.log(), s.log()


def test_hidden():
    """libfuse gives a removed file another name, as long as it is open.  One
    that is only moved is written to."""
    with filesystems.mounted("ntfs-3g") as where:
        image = vdi.make(os.path.join(where, "a.vdi"), size=4 * M)
        moved = os.path.join(where, "moved.vdi")
        with vditest.serve(image) as s:
            os.rename(image, moved)
            h = s.connect()
            h.pwrite(b"x" * M, M)
            h.flush()
            assert "removed" not in s.log(), s.log()
            os.unlink(moved)
            vditest.wait_until(lambda: "lost when nbdkit ends" in s.log(),
                               s.log, s.process)
        vdi.make(image, size=4 * M)
        with vditest.serve(image) as s:
            os.rename(vdi.make(moved, size=4 * M), image)
            vditest.refused(s, "another put in its place")


def test_device_without_name():
    """What is written to a device is there, whatever names it has."""
    file = vdi.make(vditest.path("device.vdi"), size=4 * M)
    with open(file, "ab") as f:
        f.truncate(8 * M)
    with vditest.device(file) as device:
        node = vditest.path("node")
        try:
            os.mknod(node, 0o600 | stat.S_IFBLK, os.stat(device).st_rdev)
            os.close(os.open(node, os.O_RDWR))
        except PermissionError:
            vditest.skip("devices are not to be used here (nodev)")
        with vditest.serve(node) as s:
            os.unlink(node)
            s.connect().pwrite(b"x" * M, M)
            s.stop()
            assert "removed" not in s.log(), s.log()
        with vditest.serve(device, readonly=True) as s:
            assert bytes(s.connect().pread(M, M)) == b"x" * M


@contextlib.contextmanager
def overlay(size):
    """A directory that is an overlay; what lies below, and where its upper
    layer is, which has room for so many bytes."""
    layer = filesystems.small(size)
    lower, merged = vditest.path("lower"), vditest.path("merged")
    upper, work = (os.path.join(layer, d) for d in ("upper", "work"))
    for d in lower, merged, upper, work:
        os.mkdir(d)
    with filesystems.overlay(lower, upper, work, merged):
        yield lower, upper, merged


def test_overlay():
    """As in a container: an image in a lower layer, and no room to copy
    it."""
    with overlay(1 * M) as (lower, upper, merged):
        data = os.urandom(M)
        vdi.make(os.path.join(lower, "a.vdi"), size=8 * M,
                 blocks={i: data for i in range(8)})
        image = os.path.join(merged, "a.vdi")
        with vditest.serve(image, readonly=True) as s:
            assert vditest.read_all(s.connect()) == data * 8
        assert os.listdir(upper) == []
        # A client who may write is told; one who may not is served.
        with vditest.serve(image) as s:
            told = None
            try:
                s.connect()
            except Exception as e:
                told = e
            assert told is not None
            assert "No space left on device" in s.log(), s.log()
        assert os.listdir(upper) == []


def test_overlay_writing():
    with overlay(64 * M) as (lower, upper, merged):
        data = os.urandom(M)
        vdi.make(os.path.join(lower, "a.vdi"), size=8 * M,
                 blocks={i: data for i in range(4)})
        image = os.path.join(merged, "a.vdi")
        with vditest.unchanged(os.path.join(lower, "a.vdi")):
            with vditest.serve(image) as s:
                assert os.listdir(upper) == []
                h = s.connect()
                h.pwrite(b"x" * M, M)
                h.pwrite(b"y" * M, 6 * M)
                h.flush()
                wanted = data + b"x" * M + data * 2 + bytes(2 * M) + \
                    b"y" * M + bytes(M)
                assert vditest.read_all(h) == wanted
        assert os.listdir(upper) == ["a.vdi"]
        with vditest.serve(image, readonly=True) as s:
            assert vditest.read_all(s.connect()) == wanted
        # A new one, too.
        new = os.path.join(merged, "new.vdi")
        with vditest.serve(new, "create=dynamic", "size=4M") as s:
            s.connect().pwrite(b"z", 0)
        assert vdi.Image(new).problems() == []


def test_overlay_removed():
    """What lies in the lower layer keeps its name there."""
    with overlay(64 * M) as (lower, upper, merged):
        vdi.make(os.path.join(lower, "a.vdi"), size=4 * M)
        image = os.path.join(merged, "a.vdi")
        with vditest.serve(image) as s:
            os.unlink(image)
            vditest.refused(s, "another put in its place")


def test_no_writing_in_place():
    """rclone's mount opens a file for writing, refuses then to read it, and
    makes a file that was removed again when it is closed."""
    with filesystems.mounted("rclone") as where:
        data = os.urandom(M)
        vdi.make(os.path.join(where + ".below", "a.vdi"), size=4 * M,
                 blocks={1: data})
        image = os.path.join(where, "a.vdi")
        for readonly in (True, False):
            with vditest.serve(image, readonly=readonly) as s:
                h = s.connect()
                assert h.is_read_only()
                assert bytes(h.pread(M, M)) == data
                if not readonly:
                    assert "serving it read-only" in s.log(), s.log()
        out = vditest.serve_fails(os.path.join(where, "new.vdi"),
                                  "create=dynamic", "size=4M")
        assert "does not let a file grow" in out, out
        assert os.listdir(where) == ["a.vdi"]
        assert os.listdir(where + ".below") == ["a.vdi"]


vditest.main()
