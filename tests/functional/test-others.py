# SPDX-License-Identifier: BSD-3-Clause
"""Programs that respect no locks are noticed: before the image is written
to, and while it is served, on all kinds of file systems."""

import errno
import os
import shutil
import subprocess
import sys
import time

import nbd

import filesystems
import vdi
import vditest
from vditest import K, M

PYTHON = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR if sys.argv[2] == "w" else os.O_RDONLY)
print("open", flush=True)
sys.stdin.read()
"""


class Other:
    """A program that has the image open until told to end."""

    def __init__(self, command, ready=b"open", **kw):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **kw)
        self.who = "%s, pid %d" % (os.path.basename(command[0])[:15],
                                   self.process.pid)
        if ready is not None:
            said = self.process.stdout.readline()
            assert ready in said, said

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.process.communicate(b"")
        assert self.process.wait(vditest.PATIENCE) is not None


def python(image, writing, name=None):
    """name: the program's, as ps shows it."""
    program = sys.executable
    if name is not None:
        program = vditest.path(name)
        if not os.path.exists(program):
            os.symlink(sys.executable, program)
    return Other([program, "-c", PYTHON, image, "w" if writing else "r"])


def qemu_io(image, writing):
    """It minds no locks; to QEMU, a differencing image is just a file."""
    vditest.requires("qemu-io")
    if writing:
        args = ["--image-opts", "driver=raw,file.driver=file,"
                "file.locking=off,file.filename=" + image]
    else:
        args = ["-f", "raw", "-r", "-U", image]
    o = Other([shutil.which("qemu-io"), *args], ready=None)
    o.process.stdin.write(b"read 0 512\n")
    o.process.stdin.flush()
    line = b"-"
    while line and b"512/512" not in line:
        line = o.process.stdout.readline()
    assert line
    return o


def cp(image):
    """In the middle of a copy."""
    fifo = image + ".copy"
    if not os.path.exists(fifo):
        os.mkfifo(fifo)
    o = Other(["cp", image, fifo], ready=None)
    # Without a reader it waits; it has opened what it copies before.
    vditest.wait_until(lambda: has_open(o.process.pid, image),
                       "cp does not begin", o.process)
    return o


def has_open(pid, image):
    def target(fd):
        try:
            return os.readlink("/proc/%d/fd/%s" % (pid, fd))
        except FileNotFoundError:
            return None
    return image in [target(fd) for fd in os.listdir("/proc/%d/fd" % pid)]


def end_cp(o):
    o.process.kill()
    o.process.wait()


def waits_for(s, text):
    vditest.wait_until(lambda: text in s.log(),
                       lambda: "%s: not in: %s" % (text, s.log()), s.process)


def make(where):
    base = vdi.make(os.path.join(where, "base.vdi"), size=8 * M,
                    blocks={0: b"b" * M})
    return base, vdi.child(os.path.join(where, "disk.vdi"), base)


def before(where):
    base, image = make(where)
    with vditest.serve(image) as s:
        with vditest.unchanged(image, base):
            for program in python, qemu_io:
                for writing in True, False:
                    with program(image, writing) as other:
                        vditest.refused(s, other.who, "disk.vdi", "lock=off")
            other = cp(image)
            vditest.refused(s, other.who)
            end_cp(other)
            with python(base, True) as other:
                vditest.refused(s, other.who, "base.vdi")
        # Nobody writes to the parent.
        with python(base, False):
            h = s.connect()
            assert not h.is_read_only()
            h.pwrite(b"x" * 512, 0)
            h.flush()
    assert vdi.Image(image).problems() == []


def reading(where):
    base, image = make(where)
    for victim in image, base:
        with python(victim, True) as other:
            with vditest.serve(image, readonly=True) as s:
                assert bytes(s.connect().pread(1, 0)) == b"b"
            assert other.who in s.log() and victim in s.log(), s.log()
        with python(victim, False):
            with vditest.serve(image, readonly=True) as s:
                assert bytes(s.connect().pread(1, 0)) == b"b"
            assert s.log() == "", s.log()


def served(where):
    """What was not flushed is committed when a reader comes; a writer is
    the end of writing."""
    _, image = make(where)
    with vditest.serve(image, "commit=0") as s:
        h = s.connect()
        h.pwrite(b"x" * 512, 0)
        assert vdi.Image(image).block(0) is None
        with qemu_io(image, False) as reader:
            waits_for(s, reader.who)
            vditest.wait_until(lambda: vdi.Image(image).block(0) is not None,
                               "nothing is committed")
            h.pwrite(b"y" * 512, 4 * M)

        with python(image, True, "VirtualBoxVM") as writer:
            waits_for(s, writer.who)
            with vditest.raises(errno.EIO):
                h.pwrite(b"z" * 512, 0)
            with vditest.raises(errno.EIO):
                h.pwrite(b"z" * 512, 6 * M)
            assert bytes(h.pread(1, 0)) == b"x"
            assert bytes(h.pread(1, 4 * M)) == b"y"
            assert bytes(h.pread(1, 6 * M)) == b"\0"
            state = vditest.file_state(image)
        # For good.
        with vditest.raises(errno.EIO):
            h.pwrite(b"z" * 512, 0)
    assert vditest.file_state(image) == state
    i = vdi.Image(image)
    assert i.block(0)[:512] == b"x" * 512
    assert i.block(4)[:512] == b"y" * 512
    with vditest.serve(image) as s:
        s.connect().pwrite(b"z" * 512, 0)
    assert vdi.Image(image).problems() == []


def closes_writing(h):
    """Is it refused, within the time that it takes to be noticed?"""
    end = time.monotonic() + 3
    while time.monotonic() < end:
        try:
            h.pwrite(b"y" * 512, 4 * M)
        except nbd.Error:
            return True
        time.sleep(0.1)
    return False


def everything(kind):
    with filesystems.mounted(kind) as where:
        for part in before, reading, served:
            directory = os.path.join(where, part.__name__)
            os.mkdir(directory)
            part(directory)


def test_before():
    before(vditest.path())


def test_reading():
    reading(vditest.path())


def test_served():
    served(vditest.path())


def test_tmpfs():
    everything("tmpfs")


def test_ext4():
    everything("ext4")


def test_xfs():
    everything("xfs")


def test_btrfs():
    everything("btrfs")


def test_ntfs_3g():
    everything("ntfs-3g")


def test_bindfs():
    everything("bindfs")


def test_overlay():
    """Being refused does not copy the image up, and what was copied up is
    still the same file to all who see it here."""
    with filesystems.mounted("tmpfs") as where:
        lower, upper, work, merged = (os.path.join(where, d)
                                      for d in ("l", "u", "w", "m"))
        for d in lower, upper, work, merged:
            os.mkdir(d)
        vdi.make(os.path.join(lower, "disk.vdi"), size=8 * M)
        with filesystems.overlay(lower, upper, work, merged):
            image = os.path.join(merged, "disk.vdi")
            with vditest.serve(image) as s:
                for writing in False, True:
                    # Who opens it for writing does copy it up.
                    with python(image, writing) as other:
                        vditest.refused(s, other.who)
                        assert os.listdir(upper) == \
                            (["disk.vdi"] if writing else [])
                h = s.connect()
                h.pwrite(b"x" * 512, 0)
                with python(image, True) as other:
                    waits_for(s, other.who)
                    with vditest.raises(errno.EIO):
                        h.pwrite(b"y" * 512, 0)


# ----------------------------------------------------------------------

def test_unseen():
    """Somebody whom the server cannot look into."""
    if os.geteuid() != 0:
        vditest.skip("needs root, to become somebody else")
    image = vdi.make(vditest.path("disk.vdi"), size=8 * M)
    os.chown(image, 65534, 65534)
    os.chmod(vditest.path(), 0o755)
    os.chmod(os.environ["VDITEST_DIR"], 0o777)
    with vditest.serve(image, options=["-u", "nobody"]) as s:
        with python(image, False) as other:
            vditest.refused(s, "cannot be seen", "disk.vdi", "lock=off")
            assert other.who not in s.log(), s.log()
        h = s.connect()
        h.pwrite(b"x" * 512, 0)
        with python(image, True, "VirtualBoxVM") as other:
            waits_for(s, "perhaps " + other.who)
            with vditest.raises(errno.EIO):
                h.pwrite(b"y" * 512, 0)
            assert bytes(h.pread(1, 0)) == b"x"
    # It is not its owner: then nobody is noticed, and nothing is refused.
    os.chown(image, 0, 0)
    os.chmod(image, 0o666)
    with vditest.serve(image, options=["-u", "nobody", "-D", "vdi.lease=1"],
                       verbose=True) as s:
        with python(image, False):
            s.connect().pwrite(b"y" * 512, 0)
    assert s.log().count("lease: ") == 1, s.log()


def test_reader_stays():
    """Whoever reads for long is warned of once, and keeps nobody from
    writing."""
    image = vdi.make(vditest.path("disk.vdi"), size=8 * M)
    with vditest.serve(image) as s:
        h = s.connect()
        with python(image, False) as other:
            waits_for(s, other.who)
            assert not closes_writing(h)
        assert s.log().count("warning") == 1, s.log()
    assert vdi.Image(image).problems() == []


def test_lock_off():
    image = vdi.make(vditest.path("disk.vdi"), size=8 * M)
    with python(image, True):
        with vditest.serve(image, "lock=off") as s:
            h = s.connect()
            h.pwrite(b"x" * 512, 0)
            assert not closes_writing(h)
        assert s.log() == "", s.log()


def test_not_for_long():
    """Who opens it and goes away again does not matter: a program that
    respects locks opens an image for writing, and closes it when it finds
    it locked."""
    image = vditest.make_vdi()
    end = time.monotonic() + 4
    with vditest.serve(image) as s:
        h = s.connect()
        tries = 0
        while time.monotonic() < end:
            out = vditest.run("qemu-io", "-f", "vdi", "-c", "write 0 512",
                              image, status=1)
            assert "lock" in out, out
            with python(image, True):
                pass
            h.pwrite(b"x" * 512, tries % 8 * M)
            tries += 1
        h.flush()
    vditest.qemu_check(image)


def test_run():
    """nbdkit --run has the image open itself, and that is nobody else;
    who else opens it is noticed all the same."""
    vditest.requires("nbdsh")
    image = vdi.make(vditest.path("disk.vdi"), size=8 * M)
    script = vditest.write_file("script.py", b"""
import subprocess, sys, time
for i in range(25):
    h.pwrite(b"x" * 512, 0)
    time.sleep(0.1)
h.flush()
p = subprocess.Popen([sys.executable, "-c",
    "import sys\\nf = open('%s', 'r+b')\\nsys.stdin.read()"],
    stdin=subprocess.PIPE)
end = time.monotonic() + 600
while time.monotonic() < end:
    try:
        h.pwrite(b"x" * 512, 0)
    except nbd.Error:
        print("noticed", p.pid)
        break
    time.sleep(0.1)
p.communicate(b"")
""" % image.encode())
    out = vditest.run(vditest.NBDKIT, "-U", "-", "vdi", image, "--run",
                      'nbdsh -u "$uri" -c - <%s' % script, timeout=None)
    assert out.count("noticed") == 1, out
    assert ", pid %s)" % out.split("noticed ")[1].split()[0] in out, out


def test_busy():
    """Durable writes open the file again, all the time; that is not taken
    for somebody else, and does not hide one."""
    image = vdi.make(vditest.path("disk.vdi"), size=8 * M)
    with vditest.serve(image) as s:
        handles = [s.connect() for _ in range(4)]
        asked = [0]

        def write_all(seconds):
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                cookies = [(h, h.aio_pwrite(nbd.Buffer.from_bytearray(
                    bytearray(b"x" * 4 * K)), (i * 2 + j % 2) * M,
                    flags=nbd.CMD_FLAG_FUA))
                    for i, h in enumerate(handles) for j in range(8)]
                for h, cookie in cookies:
                    while not h.aio_command_completed(cookie):
                        h.poll(-1)
                asked[0] += len(cookies)

        write_all(3)
        with python(image, True) as other:
            with vditest.raises(errno.EIO):
                write_all(vditest.PATIENCE)
            assert other.who in s.log(), s.log()


vditest.main()
