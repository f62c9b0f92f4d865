# SPDX-License-Identifier: BSD-3-Clause
"""One server program that serves one file, until it is stopped."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import nbd

START_SECONDS = 120             # longer, and it does not start at all
STOP_SECONDS = 30               # longer, and it is killed


class Server:
    """A context manager; what it has used can be asked while it runs."""

    def __init__(self, args):
        # The path of a socket must be short.
        self.dir = tempfile.mkdtemp(prefix="vdi-bench-", dir="/tmp")
        self.socket = os.path.join(self.dir, "socket")
        self.log = tempfile.TemporaryFile()
        self.args = [a.replace("SOCKET", self.socket) for a in args]
        started = time.monotonic()
        self.process = subprocess.Popen(self.args, stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log)
        try:
            self._wait_for_answer(started)
        except BaseException:
            self.stop()
            raise
        self.open_seconds = time.monotonic() - started
        # Linux has a clock for the processor time of each process.
        self.cpu_clock = (~self.process.pid << 3) | 2

    def _wait_for_answer(self, started):
        """That the socket is there means nothing: a connection does."""
        while True:
            h = nbd.NBD()
            try:
                h.connect_unix(self.socket)
                h.shutdown()
                return
            except nbd.Error:
                if self.process.poll() is not None or \
                   time.monotonic() - started > START_SECONDS:
                    self.log.seek(0)
                    raise OSError("%s does not start:\n%s" % (
                        " ".join(self.args), self.log.read().decode()))
                time.sleep(0.0002)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def pid(self):
        return self.process.pid

    def cpu(self):
        """Seconds of processor time, of all its threads, since it began."""
        return time.clock_gettime(self.cpu_clock)

    def peak_memory(self):
        with open("/proc/%d/status" % self.pid) as f:
            return int(re.search(r"VmHWM:\s+(\d+)", f.read())[1]) << 10

    def stop(self):
        """By SIGTERM, which a server that is just starting may miss."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            print("%s did not end, and was killed" % self.args[0],
                  file=sys.stderr)
        self.log.close()
        shutil.rmtree(self.dir)


def count_calls(pid, command, each=False):
    """Run the command, and count the process's system calls meanwhile.

    Returns the command's output and {name: count}, where "all" is all of
    them (each: and some of them one by one, which takes a second); or None
    where neither perf nor strace can do it here.
    """
    return _perf(pid, command, each) or _strace(pid, command)


# What a server does to its file, and to wait.
CALLS = ("read", "write", "pread64", "pwrite64", "preadv", "pwritev",
         "fsync", "fdatasync", "sync_file_range", "ftruncate", "fallocate",
         "lseek", "newfstat", "madvise", "futex", "recvfrom", "sendto",
         "sendmsg", "recvmsg", "ppoll", "poll")


def _perf(pid, command, each):
    if shutil.which("perf") is None:
        return None
    with tempfile.NamedTemporaryFile("r") as f:
        events = [a for c in (CALLS if each else ())
                  for a in ("-e", "syscalls:sys_enter_" + c)]
        r = subprocess.run(["perf", "stat", "-x,", "-o", f.name, "-p",
                            str(pid), "-e", "raw_syscalls:sys_enter",
                            *events, "--", *command],
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if r.returncode != 0:
            return None
        counts = {}
        for line in f:
            fields = line.split(",")
            if len(fields) > 2 and fields[0].isdigit():
                name = fields[2].split("sys_enter_")[-1]
                counts["all" if "raw" in name else name] = int(fields[0])
    return (r.stdout, counts) if "all" in counts else None


def _strace(pid, command):
    if shutil.which("strace") is None:
        return None
    with tempfile.NamedTemporaryFile("r") as f:
        tracer = subprocess.Popen(["strace", "-f", "-c", "-p", str(pid),
                                   "-o", f.name],
                                  stderr=subprocess.PIPE)
        try:
            if b"attached" not in tracer.stderr.readline():
                return None
            r = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        finally:
            if tracer.poll() is None:
                tracer.send_signal(signal.SIGINT)
            tracer.wait()
            tracer.stderr.close()
        counts = {m[2]: int(m[1]) for m in re.finditer(
            r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", f.read(),
            re.MULTILINE)}
    if "total" not in counts:
        return None
    counts["all"] = counts.pop("total")
    return r.stdout, counts
