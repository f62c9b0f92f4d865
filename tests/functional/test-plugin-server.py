#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The ways in which nbdkit runs a plugin: as a daemon, as another user,
with connections that come and go; and what is on the disk meanwhile."""

import os
import shutil
import signal

import vdi
import vditest
from vditest import K, M


def make_child():
    base = vdi.make(vditest.path("base.vdi"), size=8 * M)
    return vdi.child(vditest.path("child.vdi"), base)


class Daemon:
    """nbdkit that has forked into the background."""

    def __init__(self, *args):
        pidfile = vditest.path("pid")
        self.sock = os.path.join(os.environ["VDITEST_DIR"], "sock")
        self.uri = "nbd+unix:///?socket=" + self.sock
        vditest.run("nbdkit", "-P", pidfile, "-U", self.sock, *args)
        # It is made first, and written to a moment later.
        vditest.wait_until(lambda: os.path.exists(pidfile) and
                           os.path.getsize(pidfile) > 0, "no pid file")
        self.pid = int(vditest.read_file(pidfile))

    def gone(self):
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        # It is nobody's child here, so it does not stay as a zombie,
        # unless init does not care.
        try:
            with open("/proc/%d/stat" % self.pid) as f:
                return f.read().rsplit(")", 1)[1].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    def kill(self, sig):
        if not self.gone():
            os.kill(self.pid, sig)
        vditest.wait_until(self.gone, "does not stop")
        os.unlink(self.sock)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        if not self.gone():
            os.kill(self.pid, signal.SIGKILL)


def nbdsh(s, *commands):
    args = [a for c in commands for a in ("-c", c)]
    return vditest.run("nbdsh", "-u", s.uri, *args)


def test_daemon():
    """The image is opened before the fork and in the user's directory,
    and written to after it, elsewhere."""
    child = make_child()
    here = os.getcwd()
    os.chdir(vditest.path())
    try:
        daemon = Daemon("vdi", "child.vdi")
    finally:
        os.chdir(here)
    with daemon as s:
        nbdsh(s, "h.pwrite(b'x' * 4096, 2**20)", "h.flush()")
        # A second connection, and the core's thread goes on by itself:
        # room that was reserved is given back, although nobody asks.
        nbdsh(s, "h.pwrite(b'y' * 4096, 3 * 2**20)")
        vditest.wait_until(lambda: vdi.Image(child).problems() == [] and
                           len(vdi.Image(child).allocated()) == 2,
                           lambda: vdi.Image(child).problems())
        s.kill(signal.SIGTERM)
    image = vdi.Image(child)
    assert image.problems() == []
    data = image.read(vdi.Image(vditest.path("base.vdi")))
    assert data[M:M + 4096] == b"x" * 4096
    assert data[3 * M:3 * M + 4096] == b"y" * 4096


def is_saved(child):
    return vdi.Image(child).map[2] != vdi.FREE


def write_unflushed(child, *params):
    s = vditest.serve(child, *params)
    s.connect().pwrite(b"x" * 4096, 2 * M)
    return s


def check_child(child, byte):
    data = vdi.Image(child).read(vdi.Image(vditest.path("base.vdi")))
    assert data[2 * M:2 * M + 4096] == byte * 4096


def commits_by_itself(*params):
    """An unflushed write to a child is in the file after a while in which
    nobody did anything."""
    child = make_child()
    s = write_unflushed(child, *params)
    vditest.wait_until(lambda: is_saved(child), "never committed")
    s.kill()
    check_child(child, b"x")


def test_commit_after_a_second():
    commits_by_itself("commit=1")


def test_commit_after_five_seconds():
    commits_by_itself()


def test_commit_never():
    """Not while another server does, which was told later."""
    never = make_child()
    later = vdi.child(vditest.path("later.vdi"), vditest.path("base.vdi"))
    s = write_unflushed(never, "commit=0")
    write_unflushed(later)
    vditest.wait_until(lambda: is_saved(later), "never committed")
    assert not is_saved(never)
    s.kill()
    check_child(never, b"\0")


def test_commit_when_the_client_leaves():
    """Who leaves without a flush has not asked for one; but it costs them
    nothing."""
    child = make_child()
    s = vditest.serve(child, "commit=0")
    h = s.connect()
    h.pwrite(b"x" * 4096, 2 * M)
    h.shutdown()
    vditest.wait_until(lambda: is_saved(child), "never committed")
    s.kill()


def test_as_another_user():
    """What only root can open, nbdkit -u serves all the same, to be read.
    To be written to, it must be the user's who is given there."""
    if os.geteuid() != 0:
        vditest.skip("needs root, to become somebody else")
    image = vdi.make(vditest.path("a.vdi"), size=8 * M)
    os.chmod(image, 0o600)
    os.chmod(os.environ["VDITEST_DIR"], 0o777)      # for socket and pidfile
    with vditest.serve(image, options=["-u", "nobody"]) as s:
        h = s.connect()
        assert h.is_read_only()
        assert vditest.read_all(h) == bytes(8 * M)
        assert "Permission denied: serving it read-only" in s.log(), s.log()
    shutil.chown(image, "nobody")
    with vditest.serve(image, options=["-u", "nobody"]) as s:
        h = s.connect()
        assert not h.is_read_only()
        h.pwrite(b"x" * 4096, M)
        h.flush()
    assert vdi.Image(image).problems() == []
    assert vdi.Image(image).block(1)[:4096] == b"x" * 4096


def test_any_export_name():
    image = vdi.make(vditest.path("a.vdi"), size=8 * M, blocks={0: b"hello"})
    with vditest.serve(image, readonly=True) as s:
        for name in ["", "disk", "../../etc/passwd", "x" * 4000]:
            assert bytes(s.connect(name).pread(5, 0)) == b"hello"


def test_reopened_by_retry():
    """The retry filter closes the plugin and opens it again inside a
    connection, while another one is in use."""
    image = vdi.make(vditest.path("a.vdi"), size=8 * M)
    trouble = vditest.write_file("trouble", b"")
    with vditest.serve(image, "retries=60", "retry-delay=1",
                       "retry-exponential=no", "error-pwrite=EIO",
                       "error-pwrite-rate=100%",
                       "error-pwrite-file=" + trouble,
                       filters=["retry", "error"], verbose=True) as s:
        h, other = s.connect(), s.connect()
        other.aio_pwrite(vditest.nbd.Buffer.from_bytearray(
            bytearray(b"other")), M)
        vditest.wait_until(lambda: s.log().count("vdi: open readonly") > 2,
                           "not opened again")
        os.unlink(trouble)
        h.pwrite(b"mine", 2 * M)
        while other.aio_in_flight() > 0:
            other.poll(-1)
        assert bytes(h.pread(5, M)) == b"other"
        h.flush()
        s.stop()
    assert vdi.Image(image).problems() == []
    assert vdi.Image(image).block(1)[:5] == b"other"
    assert vdi.Image(image).block(2)[:4] == b"mine"


def test_many_connections():
    """All of them are the same disk."""
    image = vdi.make(vditest.path("a.vdi"), size=16 * M)
    with vditest.serve(image) as s:
        handles = [s.connect() for _ in range(16)]
        for i, h in enumerate(handles):
            assert h.can_multi_conn()
            h.pwrite(bytes([i + 1]) * 4096, i * M + 8192)
        for i, h in enumerate(handles):
            other = (i + 5) % 16
            assert bytes(h.pread(4096, other * M + 8192)) == \
                bytes([other + 1]) * 4096
        # A flush on one covers all.
        handles[3].flush()
        s.kill()
    data = vdi.Image(image).read()
    for i in range(16):
        assert data[i * M + 8192:i * M + 12288] == bytes([i + 1]) * 4096


def test_fadvise_and_lock():
    image = vdi.make(vditest.path("a.vdi"), size=8 * M,
                     blocks={i: os.urandom(M) for i in range(8)})
    expected = vdi.Image(image).read()
    for params in [["fadvise=normal"], ["fadvise=random"],
                   ["fadvise=sequential"], ["lock=off"], ["lock=on"]]:
        with vditest.serve(image, *params, readonly=True) as s:
            h = s.connect()
            h.cache(8 * M, 0)
            assert vditest.read_all(h) == expected


def test_full():
    """ENOSPC is what the client is told, and the image stays sound."""
    image = vdi.make(vditest.path("a.vdi"), size=64 * M)
    out = vditest.run(
        "bash", "-c", 'ulimit -f 8192; trap "" XFSZ; exec "$@"', "bash",
        "nbdkit", "-U", "-", "vdi", image, "--run",
        "nbdsh -u \"$uri\" -c '\n"
        "for i in range(64):\n"
        "    try:\n"
        "        h.pwrite(b\"x\" * 2**20, i * 2**20)\n"
        "    except nbd.Error as e:\n"
        "        print(i, e.errno)\n"
        "        break\n"
        "'", status=None)
    assert "ENOSPC" in out, out
    assert vdi.Image(image).problems() == []
    stored = len(vdi.Image(image).allocated())
    assert 0 < stored < 10, stored


vditest.main()
