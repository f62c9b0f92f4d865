#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""vdi.py against images that VirtualBox and qemu-img made: what the other
tests rely on."""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading

import vdi
import vditest
from vditest import K, M


def test_fixtures():
    """vdi.py reads every image of VirtualBox as VirtualBox did."""
    for name, (files, size, digest) in vditest.manifest().items():
        if size > 20 * M:
            continue
        chain = [vdi.Image(vditest.fixture(f)) for f in reversed(files)]
        data = chain[0].read(*chain[1:])
        assert vditest.sha256(data[:size]) == digest, name
        for image in chain:
            os.unlink(image.filename)


def test_pattern():
    """The fixtures' pattern, at an odd place."""
    whole = vditest.pattern(3, 0, 64)
    assert vditest.pattern(3, 11, 30) == whole[11:41]


def test_make():
    """qemu-img understands what vdi.make makes, and finds it sound."""
    data = os.urandom(M)
    image = vdi.make(vditest.path("a.vdi"), size=4 * M + 512,
                     blocks={3: data, 1: b"x" * 512, 4: b"tail"},
                     order=[3, 1, 4])
    assert vdi.Image(image).problems() == []
    assert vdi.Image(image).map == [vdi.FREE, 1, vdi.FREE, 0, 2]
    vditest.qemu_check(image)
    raw = vditest.write_file("a.raw", b"".join(
        [bytes(M), b"x" * 512, bytes(2 * M - 512), data,
         b"tail".ljust(512, b"\0")]))
    vditest.qemu_compare(image, raw)
    with open(raw, "rb") as f:
        assert vdi.Image(image).read() == f.read()


def test_fixed():
    image = vdi.make(vditest.path("a.vdi"), size=3 * M, type=vdi.FIXED)
    assert vdi.Image(image).map == [0, 1, 2]
    assert vdi.Image(image).problems() == []
    vditest.qemu_check(image)


def test_damage():
    """qemu-img agrees that what should be damaged is."""
    image = vdi.make(vditest.path("a.vdi"), blocks={0: b"a", 1: b"b"})
    vdi.set_entry(image, 1, 0)
    assert vdi.Image(image).problems() != []
    assert "errors" in vditest.qemu_img("check", "-f", "vdi", image, status=2)
    vdi.patch(image, magic=1)
    vditest.qemu_img("info", "-f", "vdi", image, status=1)


def test_child():
    base = vdi.make(vditest.path("base.vdi"), size=3 * M,
                    blocks={0: b"a" * M, 1: b"b" * M, 2: b"c" * M})
    top = vdi.child(vditest.path("top.vdi"), base,
                    blocks={1: vdi.ZERO, 2: b"C" * M})
    assert vdi.Image(top).uuid_parent == vdi.Image(base).uuid_image
    assert vdi.Image(top).read(vdi.Image(base)) == \
        b"a" * M + bytes(M) + b"C" * M


def test_server():
    """The helpers for servers, with a plugin that is known to work."""
    with vditest.serve(None, "size=1M", plugin="memory") as s:
        h = s.connect()
        h.pwrite(b"hello", 300 * K)
        assert vditest.read_all(h)[300 * K:300 * K + 5] == b"hello"
        assert vditest.sha256_export(h) == vditest.sha256(
            bytes(300 * K) + b"hello" + bytes(M - 300 * K - 5))
        assert vditest.extents(h)[0] == (0, 288 * K, 3)
        with vditest.raises(errno.EINVAL):
            h.set_strict_mode(0)
            h.pread(512, M)
    assert not s.running()


def test_server_refuses():
    assert "size" in vditest.serve_fails(None, plugin="memory")
    try:
        vditest.serve(None, plugin="memory")
    except AssertionError as e:
        assert "did not start" in str(e)
    else:
        raise AssertionError("a server without parameters started")


def test_answers():
    """A socket is not enough, nor is one that listens."""
    name = vditest.path("s")
    assert not vditest.answers(name)
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(name)
        assert not vditest.answers(name)
        s.listen()
        taker = threading.Thread(target=lambda: s.accept()[0].close())
        taker.start()
        assert not vditest.answers(name)
        taker.join()
    with vditest.serve(None, "size=1M", plugin="memory") as s:
        assert vditest.answers(s.socket)
        assert s.connect().get_size() == M


def test_stop_process():
    """Who does not mind is killed."""
    with subprocess.Popen(
            [sys.executable, "-c",
             "import signal, sys; signal.signal(signal.SIGTERM, "
             "signal.SIG_IGN); print(flush=True); signal.pause()"],
            stdout=subprocess.PIPE) as p:
        p.stdout.readline()
        assert vditest.stop_process(p, patience=0.1) == -signal.SIGKILL


def test_frozen():
    with vditest.serve(None, "size=1M", plugin="memory") as s:
        h = s.connect()
        with vditest.frozen(s.process):
            h.aio_pread(vditest.nbd.Buffer(512), 0)
            assert h.poll(100) == 0
        while h.aio_in_flight() > 0:
            h.poll(-1)


def test_unchanged():
    f = vditest.write_file("f", b"abc")
    with vditest.unchanged(f):
        vditest.read_file(f)
    try:
        with vditest.unchanged(f):
            vditest.write_file("f", b"abd")
    except AssertionError:
        pass
    else:
        raise AssertionError("a change was missed")


vditest.main()
