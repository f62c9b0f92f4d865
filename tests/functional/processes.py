# SPDX-License-Identifier: BSD-3-Clause
"""Processes that tests start: that they are ready, do what they should, and
end.  Part of vditest, where tests find all of it."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import time

# Seconds.  What takes longer than this hangs: however busy the machine is,
# it is no reason to fail.
PATIENCE = 600


def wait_until(condition, what, process=None):
    """Wait for a condition to come true; fail with what (text, or a
    function that returns it) if it does not, or if the process that is to
    make it true has ended."""
    end = time.monotonic() + PATIENCE
    while not condition():
        ended = process is not None and process.poll() is not None
        if ended or time.monotonic() > end:
            said = what() if callable(what) else what
            raise AssertionError(
                "%s (%s)" % (said, "status %d" % process.returncode if ended
                             else "waited %d s" % PATIENCE))
        time.sleep(0.01)


def stop_process(process, sig=signal.SIGTERM, patience=PATIENCE):
    """Send a signal to a process, and wait for its end; return its status.
    Who does not mind is killed: -SIGKILL."""
    if process.poll() is None:
        process.send_signal(sig)
    try:
        return process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def wait_for_signal(process, sig):
    """Wait until a signal that was sent is being handled."""
    def handled():
        with open("/proc/%d/status" % process.pid) as f:
            pending = [int(line.split()[1], 16) for line in f
                       if line.startswith(("SigPnd:", "ShdPnd:"))]
        return not any(p >> (sig - 1) & 1 for p in pending)
    wait_until(handled, "signal %d is not handled" % sig)


@contextlib.contextmanager
def frozen(process):
    """Inside, the process stands still, and its files with it: who looks at
    them piece by piece sees one state of them."""
    def stopped():
        tasks = "/proc/%d/task" % process.pid
        for task in os.listdir(tasks):
            try:
                with open(os.path.join(tasks, task, "stat")) as f:
                    if f.read().rsplit(")", 1)[1].split()[0] not in "TZX":
                        return False
            except (FileNotFoundError, ProcessLookupError):
                pass            # the thread has ended
        return True
    process.send_signal(signal.SIGSTOP)
    try:
        wait_until(stopped, "SIGSTOP does not stop it", process)
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def answers(name):
    """Does an NBD server answer on this Unix socket?  That the socket is
    there, or even takes connections, proves nothing: the kernel does that
    for a server that is still opening its image.  No export is opened by
    this: it is an NBD handshake that is ended by NBD_OPT_ABORT."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(PATIENCE)
        try:
            s.connect(name)
            hello = s.recv(18, socket.MSG_WAITALL)
            if hello[:16] != b"NBDMAGICIHAVEOPT":
                return False
            s.sendall(struct.pack(">I8sII", 1, b"IHAVEOPT", 2, 0))
            while s.recv(100):
                pass            # until it has noticed
        except OSError:
            return False
    return True
