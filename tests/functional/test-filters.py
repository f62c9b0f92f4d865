#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What the manual says in "WITH OTHER FILTERS AND CLIENTS": what it
recommends is right, and what it warns of is still so.  The latter is looked
at only with the version that the manual speaks of; if it fails there, the
manual has to be changed."""

import errno
import gzip
import lzma
import os
import random
import re
import signal
import struct
import subprocess
import tarfile
import time

import nbd

import recipes
import vdi
import vditest
from vditest import M

VERSION = "1.32.5"      # that the manual speaks of
SIZE = 16 * M


def still_so(fact, what):
    """What the manual warns of."""
    version = vditest.run(vditest.NBDKIT, "--version").split()[1]
    if version == VERSION:
        assert fact, "no longer so, change the manual: " + what
    elif not fact:
        print("not so with nbdkit %s: %s" % (version, what))


def manual():
    text = vditest.read_file(os.path.join(vditest.top_srcdir,
                                          "nbdkit-vdi-plugin.pod")).decode()
    return re.search(r"^=head1 WITH OTHER FILTERS AND CLIENTS\n(.*?)^=head1 ",
                     text, re.M | re.S).group(1)


def content():
    """Data and holes, blocks of the image that are full, partly full and
    missing."""
    disk = bytearray(SIZE)
    for offset, count in ((0, 70000), (3 * M, M), (5 * M + 777, 3 * M),
                          (SIZE - 5000, 5000)):
        disk[offset:offset + count] = vditest.pattern(offset + 1, 0, count)
    return disk


def image(disk, name="disk.vdi"):
    blocks = {n: bytes(disk[n * M:(n + 1) * M]) for n in range(len(disk) // M)
              if any(disk[n * M:(n + 1) * M])}
    return vdi.make(vditest.path(name), size=len(disk), blocks=blocks)


def copies(uri):
    """The disk as nbdcopy and qemu-img convert copy it."""
    to = vditest.path("copy")
    for command in (("nbdcopy", uri, to),
                    ("qemu-img", "convert", "-f", "raw", "-O", "raw", uri,
                     to)):
        vditest.run(*command)
        yield command[0], vditest.read_file(to)
        os.unlink(to)


def is_right(server, disk):
    """All that a client can read or copy, now."""
    h = server.connect()
    assert vditest.read_all(h) == disk
    assert extents_are_right(h, disk)
    server.close_handles()      # the ext2 filter has one client at a time
    for name, got in copies(server.uri):
        assert got == disk, name


def extents_are_right(h, disk):
    return not h.can_meta_context(nbd.CONTEXT_BASE_ALLOCATION) or \
        not any(any(disk[offset:offset + count])
                for offset, count, kind in vditest.extents(h)
                if kind & nbd.STATE_ZERO)


# ----------------------------------------------------------------------
# Filters that are called right: parameters, and which part of the disk
# there is then.

RIGHT = {
    "blocksize": (["minblock=4096", "maxdata=64K", "maxlen=256K"], 0, SIZE),
    "blocksize-policy": (["blocksize-error-policy=error",
                          "blocksize-preferred=4096"], 0, SIZE),
    "cacheextents": ([], 0, SIZE),
    "cow": ([], 0, SIZE),
    "fua": (["fuamode=force"], 0, SIZE),
    "log": (["logfile=/dev/null"], 0, SIZE),
    "multi-conn": (["multi-conn-mode=emulate"], 0, SIZE),
    "nocache": ([], 0, SIZE),
    "noextents": ([], 0, SIZE),
    "noparallel": ([], 0, SIZE),
    "nozero": ([], 0, SIZE),
    "offset": (["offset=1000960", "range=7000576"], 1000960, 7000576),
    "partition": (["partition=1"], M, 12 * M),
    "readahead": ([], 0, SIZE),
    "retry": ([], 0, SIZE),
    "retry-request": ([], 0, SIZE),
    "scan": ([], 0, SIZE),
    "truncate": (["truncate=9000448"], 0, 9000448),
}


def use(connections, disk, r):
    """Anything that a client may do."""
    for _ in range(60):
        h = r.choice(connections)
        offset = r.randrange(len(disk))
        count = min(r.choice([1, 512, 70000, M, 3 * M]), len(disk) - offset)
        what = r.choice(["write", "write", "zero", "trim", "flush"])
        if what == "write":
            data = vditest.pattern(r.randrange(1, 1000), offset, count)
            h.pwrite(data, offset)
            disk[offset:offset + count] = data
        elif what == "zero" and h.can_zero():
            h.zero(count, offset, r.choice([0, nbd.CMD_FLAG_NO_HOLE]))
            disk[offset:offset + count] = bytes(count)
        elif what == "trim" and h.can_trim():
            h.trim(count, offset)
            disk[offset:offset + count] = h.pread(count, offset)
        elif what == "flush":
            h.flush()


def with_partition(disk, size=12 * M):
    disk[446:462] = struct.pack("<B3sB3sII", 0, b"\xfe\xff\xff", 0x83,
                                b"\xfe\xff\xff", M // 512, size // 512)
    disk[510:512] = b"\x55\xaa"
    return disk


def test_right():
    for name, (params, start, size) in RIGHT.items():
        disk = with_partition(content())
        here = disk[start:start + size]
        filename = image(disk, name + ".vdi")
        with vditest.serve(filename, *params, filters=[name],
                           readonly=True) as s:
            is_right(s, here)
        with vditest.serve(filename, *params, filters=[name]) as s:
            use([s.connect(), s.connect()], here, random.Random(name))
            is_right(s, here)
        if name != "cow":
            disk[start:start + size] = here
        assert vdi.Image(filename).read() == disk, name
        os.unlink(filename)


def test_manual():
    """It names those, and the versions."""
    text = manual()
    names = re.search(r"extents were right: (.*?)\.  What", text, re.S)
    assert re.findall(r"C<([a-z-]+)>", names.group(1)) == sorted(RIGHT)
    assert "nbdkit %s," % VERSION in text


# ----------------------------------------------------------------------
# The cache filter.

NEW = b"new" * 10000


def after(end, flush, *params):
    """Write, and end the server so; is it in the image?"""
    filename = vdi.make(vditest.path("disk.vdi"), size=SIZE)
    s = vditest.serve(filename, *params, filters=["cache"])
    h = s.connect()
    h.pwrite(NEW, M)
    if flush:
        h.flush()
    end(s)
    got = vdi.Image(filename).read()
    os.unlink(filename)
    return got[M:M + len(NEW)] == NEW


def test_cache_forgets():
    stop, kill = vditest.Server.stop, vditest.Server.kill
    still_so(not after(stop, False), "cache forgets at the end")
    still_so(not after(stop, True, "cache=unsafe"), "cache=unsafe forgets")
    assert after(kill, True)
    for end in stop, kill:
        for flush in False, True:
            assert after(end, flush, "cache=writethrough")


def test_cache_nbdcopy():
    raw = vditest.write_file("disk.raw", content())
    for option, params in (([], ["cache=writethrough"]), (["--flush"], [])):
        filename = vdi.make(vditest.path("disk.vdi"), size=SIZE)
        with vditest.serve(filename, *params, filters=["cache"]) as s:
            vditest.run("nbdcopy", *option, raw, s.uri)
        assert vdi.Image(filename).read() == content()
        os.unlink(filename)


def while_cached(filters, *params):
    """How is it with new data that nobody has flushed?"""
    filename = vdi.make(vditest.path("disk.vdi"), size=SIZE)
    disk = bytearray(SIZE)
    disk[M:M + len(NEW)] = NEW
    with vditest.serve(filename, *params, filters=filters) as s:
        h = s.connect()
        h.pwrite(NEW, M)
        assert vditest.read_all(h) == disk
        result = [extents_are_right(h, disk)] + \
            [got == disk for _, got in copies(s.uri)]
    os.unlink(filename)
    return result


def test_cache_extents():
    still_so(while_cached(["cache"])[:2] == [False, False],
             "cache shows new data as holes")
    assert all(while_cached(["cache"], "cache=writethrough"))
    assert all(while_cached(["noextents", "cache"]))
    assert all(while_cached(["cache", "noextents"]))


def test_zeros_written_out():
    raw = vditest.write_file("disk.raw", content())
    for filters, grows in (([], False), (["cache"], True),
                           (["nozero"], True)):
        filename = vdi.make(vditest.path("disk.vdi"), size=SIZE)
        with vditest.serve(filename, filters=filters) as s:
            vditest.run("nbdcopy", "--flush", raw, s.uri)
        whole = len(vdi.Image(filename).allocated()) == SIZE // M
        assert vdi.Image(filename).read() == content()
        os.unlink(filename)
        if grows:
            still_so(whole, "zeros are written out: %s" % filters)
        else:
            assert not whole


# ----------------------------------------------------------------------
# The ext2 filter.

FS = 28 * M


def file_system(size, start, data):
    """A disk with a file system from start on, and in that a file."""
    vditest.requires("mke2fs")
    os.mkdir(vditest.path("files"))
    with open(vditest.write_file("files/file", b""), "r+b") as f:
        for offset in range(0, len(data), M):
            part = data[offset:offset + M]
            if any(part):       # where not, a hole
                os.pwrite(f.fileno(), part, offset)
    raw = vditest.path("fs.raw")
    with open(raw, "wb") as f:
        f.truncate(FS)
    vditest.run("mke2fs", "-q", "-F", "-t", "ext4", "-d",
                vditest.path("files"), raw)
    disk = bytearray(size)
    disk[start:start + FS] = vditest.read_file(raw)
    return disk


def answers_soon(server):
    """Does it serve another client?"""
    try:
        vditest.run("nbdinfo", "--size", server.uri, timeout=2)
    except subprocess.TimeoutExpired:
        return False
    return True


def test_ext2():
    # The end of the file is where the disk has a hole.
    data = vditest.pattern(5, 0, 2 * M) + bytes(18 * M) + b"end!" * 128
    disk = with_partition(file_system(FS + 2 * M, M, data), FS)
    filename = image(disk)
    whole = image(disk[M:M + FS], "whole.vdi")
    with vditest.unchanged(filename, whole):
        with vditest.serve(whole, "ext2file=/file", filters=["ext2"],
                           readonly=True) as s:
            assert vditest.read_all(s.connect()) == data
            still_so(not answers_soon(s), "ext2 serves one at a time")
            s.close_handles()
            still_so([got == data for _, got in copies(s.uri)] ==
                     [False, False], "ext2 passes off the disk's holes")
        with vditest.serve(whole, "ext2file=/file", readonly=True,
                           filters=["ext2", "noextents"]) as s:
            is_right(s, data)
        with vditest.serve(filename, "partition=1", "ext2file=/file",
                           readonly=True,
                           filters=["ext2", "noextents", "partition"]) as s:
            is_right(s, data)


def test_odd_size():
    data = vditest.pattern(5, 0, 100123)
    whole = image(file_system(FS, 0, data))
    with vditest.serve(whole, "ext2file=/file", readonly=True,
                       filters=["ext2", "noextents"]) as s:
        got = dict(copies(s.uri))
    assert got["nbdcopy"] == data
    padded = data + bytes(-len(data) % 512)
    assert got["qemu-img"] in (data, padded)
    still_so(got["qemu-img"] == padded, "qemu-img rounds the size up")


# ----------------------------------------------------------------------
# Others.

def test_rate():
    """32 MiB at 32 MiB a second."""
    filename = vdi.make(vditest.path("disk.vdi"), size=32 * M)
    params = ["rate=256M", "burstiness=0.25"]

    def seconds(filters, *more):
        with vditest.serve(filename, *params, *more, filters=filters) as s:
            h = s.connect()
            start = time.monotonic()
            h.pread(32 * M, 0)
            return time.monotonic() - start

    wrong = seconds(["rate"])
    still_so(wrong > 1.4, "rate lets large requests wait longer")
    right = seconds(["blocksize", "rate"], "maxdata=256K")
    assert 0.7 < right, right
    print("%.2f s, in pieces %.2f s" % (wrong, right))


def packed_tar(data):
    vditest.write_file("inner.vdi", data)
    with tarfile.open(vditest.path("packed"), "w") as tar:
        tar.add(vditest.path("inner.vdi"), "disk.vdi")


def test_packed():
    disk = content()
    data = vditest.read_file(image(disk))
    for name, parameter, pack in (
            ("gzip", "", lambda: vditest.write_file(
                "packed", gzip.compress(data))),
            ("xz", "", lambda: vditest.write_file(
                "packed", lzma.compress(data, preset=0))),
            ("tar", "tar-entry=disk.vdi", lambda: packed_tar(data))):
        pack()
        script = "mkdir -p box; nbdfuse -r box/disk.vdi " \
            "[ nbdkit --exit-with-parent -r --filter=%s file packed %s ] &" \
            % (name, parameter)
        with recipes.fuse(script, "box/disk.vdi", "umount box") as here:
            if not here:
                return
            with vditest.serve(vditest.path("box/disk.vdi"),
                               readonly=True) as s:
                is_right(s, disk)


def test_truncate():
    filename = vdi.make(vditest.path("disk.vdi"), size=SIZE)
    with vditest.serve(filename, "truncate=17M", filters=["truncate"]) as s:
        h = s.connect()
        assert h.pread(M, SIZE) == vditest.zeros(M)
        with vditest.raises(errno.ENOSPC):
            h.pwrite(b"beyond", SIZE)


def flushes(client):
    """How many flushes does the plugin get to see?  The client copies
    content() to the disk, or returns False if it cannot be run here."""
    filename = vdi.make(vditest.path("disk.vdi"), size=SIZE)
    log = vditest.path("requests")
    with vditest.serve(filename, "logfile=" + log, filters=["log"]) as s:
        done = client(s, vditest.write_file("disk.raw", content()))
    if done is not False:
        assert vdi.Image(filename).read() == content()
    count = vditest.read_file(log).count(b" Flush id=")
    os.unlink(log)
    os.unlink(filename)
    return count if done is not False else None


def nbdcopy(*options):
    return lambda s, raw: vditest.run("nbdcopy", *options, raw, s.uri)


def convert(s, raw):
    vditest.run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", raw,
                s.uri)


def dd(conv):
    def client(s, raw):
        script = "mkdir -p mnt; nbdfuse mnt/disk --unix %s &" % s.socket
        with recipes.fuse(script, "mnt/disk", "umount mnt") as here:
            if here:
                vditest.run("dd", "if=" + raw, "bs=64K", "conv=" + conv,
                            "of=" + vditest.path("mnt/disk"))
            return here
    return client


def test_flush():
    still_so(flushes(nbdcopy()) == 0, "nbdcopy does not flush")
    assert flushes(nbdcopy("--flush")) > 0
    assert flushes(convert) > 0
    count = flushes(dd("notrunc"))
    if count is not None:
        still_so(count == 0, "nbdfuse does not flush by itself")
        assert flushes(dd("notrunc,fsync")) > 0


def test_stop():
    filename = vdi.make(vditest.path("disk.vdi"), size=SIZE)
    s = vditest.serve(filename)
    h = s.connect()
    h.pwrite(NEW, M)
    s.process.send_signal(signal.SIGTERM)
    try:
        s.process.wait(2)
        ended = True
    except subprocess.TimeoutExpired:
        ended = False
    still_so(not ended, "SIGTERM does not end it while a client is there")
    if ended:
        s.kill()
    else:
        h.shutdown()
        assert s.wait() == 0
    assert vdi.Image(filename).read()[M:M + len(NEW)] == NEW


def process_state(pid):
    """Its name, state and parent; None if it is gone."""
    try:
        stat = vditest.read_file("/proc/%d/stat" % pid).decode()
    except (FileNotFoundError, ProcessLookupError):
        return None
    name, rest = stat.split("(", 1)[1].rsplit(")", 1)
    return name, rest.split()[0], int(rest.split()[1])


def server_of(pid):
    """nbdkit's child that is nbdkit, too."""
    found = [int(p) for p in os.listdir("/proc") if p.isdigit() and
             (process_state(int(p)) or ("", "", 0))[0::2] == ("nbdkit", pid)]
    assert len(found) == 1, found
    return found[0]


def run_killed(filename, *params, command):
    """Kill the server of nbdkit --run when it has run the command, and look
    whether the image can be read, and written to, before it has ended."""
    ready, end = vditest.path("ready"), vditest.path("end")
    script = "%s && touch %s; until test -e %s; do sleep 0.1; done" \
        % (command, ready, end)
    with open(vditest.path("log"), "wb") as log, subprocess.Popen(
            [vditest.NBDKIT, "-U", "-", "vdi", filename, *params, "--run",
             script], stdin=subprocess.DEVNULL, stdout=log,
            stderr=log) as both:
        try:
            vditest.wait_until(lambda: os.path.exists(ready),
                               lambda: vditest.read_file(log.name).decode(),
                               both)
            server = server_of(both.pid)
            os.kill(server, signal.SIGKILL)
            vditest.wait_until(lambda: process_state(server)[1] == "Z",
                               "it lives")
            can = []
            for option in ["-r"], []:
                out = vditest.run(vditest.NBDKIT, *option, "-U", "-", "vdi",
                                  filename, "--run",
                                  'nbdinfo --size "$uri"', status=None)
                can.append("another program" not in out)
                assert not can[-1] or "16777216" in out, out
        finally:
            vditest.write_file("end", b"")
            both.wait(vditest.PATIENCE)
    os.unlink(ready)
    os.unlink(end)
    with vditest.serve(filename) as s:
        s.connect().pwrite(b"after", 0)
    return can


def test_run_killed():
    filename = vdi.make(vditest.path("disk.vdi"), size=SIZE)
    read = "nbdsh -u \"$uri\" -c 'h.pread(512, 0)'"
    write = "nbdsh -u \"$uri\" -c 'h.pwrite(bytes(512), 0)'"
    assert run_killed(filename, "-r", command=read) == [True, False]
    assert run_killed(filename, command=write) == [True, False]
    assert run_killed(vditest.path("new.vdi"), "create=dynamic",
                      "size=%d" % SIZE, command=write) == [False, False]


def test_warning():
    """Where nbdkit's errors go, there warnings go."""
    filename = vdi.make(vditest.path("disk.vdi"), size=SIZE)
    vdi.child(vditest.path("child.vdi"), filename)
    for option, where in (([], True), (["--log=stderr"], True),
                          (["--log=null"], False)):
        out = vditest.run(vditest.NBDKIT, *option, "-U", "-", "vdi",
                          filename, "--run", 'nbdinfo --size "$uri"')
        assert (" error: warning: " in out) == where, out


vditest.main()
