# SPDX-License-Identifier: BSD-3-Clause
"""All the ways in which a server ends: what was written is there, never
mind whether anybody flushed, and where the plugin is told of the end the
image is exact."""

import os
import signal
import subprocess

import nbd

import vdi
import vditest
from vditest import K, M

COMMAND = [vditest.NBDKIT, "--exit-with-parent"]


def written(image, exact):
    """What the tests below write is in the image."""
    i = vdi.Image(image)
    want = bytearray(i.disk_size)
    want[5 * M + 7:5 * M + 7 + 3000] = b"e" * 3000
    want[M - 10:M + 10] = b"edge" * 5
    assert i.read() == want
    if exact:
        assert i.problems() == [], i.problems()
        vditest.qemu_check(image)
    else:
        # Only the reserve may be left.
        assert len(i.allocated()) == 3 and i.n_alloc >= 3
        assert i.file_size >= i.exact_size()
    raw = vditest.write_file("want", bytes(want))
    vditest.qemu_compare(image, raw)


def write(h):
    h.pwrite(b"e" * 3000, 5 * M + 7)
    h.pwrite(b"edge" * 5, M - 10)


SCRIPT = ("h.pwrite(b'e' * 3000, 5 * 1048576 + 7); "
          "h.pwrite(b'edge' * 5, 1048576 - 10)")


def test_run():
    """--run: nbdkit may or may not call .close, but it calls .unload."""
    vditest.requires("nbdsh")
    for _ in range(5):
        image = vditest.make_vdi(size=8 * M)
        vditest.run(vditest.NBDKIT, "-U", "-", "vdi", "file=" + image,
                    "--run", 'nbdsh -u "$uri" -c "%s"' % SCRIPT)
        written(image, True)


def test_run_that_leaves_without_a_word():
    vditest.requires("nbdsh")
    for _ in range(5):
        image = vditest.make_vdi(size=8 * M)
        script = SCRIPT + "; import os; os._exit(0)"
        vditest.run(vditest.NBDKIT, "-U", "-", "vdi", "file=" + image,
                    "--run", 'nbdsh -u "$uri" -c "%s"' % script)
        written(image, True)


def test_stdin():
    """-s: one connection on standard input and output."""
    image = vditest.make_vdi(size=8 * M)
    h = nbd.NBD()
    h.connect_command(COMMAND + ["-s", "vdi", "file=" + image])
    write(h)
    h.shutdown()
    del h                       # closes, and waits for the server
    written(image, True)


def test_socket_activation():
    image = vditest.make_vdi(size=8 * M)
    h = nbd.NBD()
    h.connect_systemd_socket_activation(COMMAND + ["vdi", "file=" + image])
    write(h)
    h.shutdown()
    del h                       # sends SIGTERM, closes, and waits
    written(image, True)


def ended_by(sig, polite):
    image = vditest.make_vdi(size=8 * M)
    s = vditest.serve(image)
    h = s.connect()
    write(h)
    if polite:
        s.close_handles()
    s.process.send_signal(sig)
    if not polite:
        # The server may wait for its client, or close first.
        vditest.wait_for_signal(s.process, sig)
        try:
            h.shutdown()
        except nbd.Error:
            pass
        s.close_handles()
    assert s.wait() == 0, s.log()
    written(image, True)


def test_signals():
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP,
                signal.SIGQUIT):
        ended_by(sig, True)


def test_signal_with_a_client():
    ended_by(signal.SIGTERM, False)


def test_clients_that_come_and_go():
    """The image stays open between clients; none of them flushes."""
    image = vditest.make_vdi(size=8 * M)
    with vditest.serve(image) as s:
        h = s.connect()
        h.pwrite(b"e" * 3000, 5 * M + 7)
        s.close_handles()
        h = s.connect()
        h.pwrite(b"edge" * 5, M - 10)
        s.close_handles()
        # Nobody is connected, nothing was flushed; the server dies.
        s.kill()
    written(image, False)


vditest.main()
