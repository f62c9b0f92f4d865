# SPDX-License-Identifier: BSD-3-Clause
"""What every Python test needs: servers, images, checks.

A test is a file test-NAME.py of functions test_*, and ends with

    vditest.main()

which calls them in order.  Each gets a fresh directory, vditest.path(),
and its servers are stopped after it; an exception (AssertionError, an
error of the server, a server that does not stop) fails the test.  It is
run in the build directory (tests/functional), many at a time.

    def test_read():
        with vditest.serve(vditest.fixture("min-1m.vdi"), readonly=True) as s:
            h = s.connect()
            assert h.pread(512, 0) == vditest.zeros(512)
"""

import atexit
import contextlib
import errno
import hashlib
import json
import lzma
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

sys.dont_write_bytecode = True

builddir = os.environ.get("VDITEST_BUILDDIR", os.getcwd())
srcdir = os.path.dirname(os.path.abspath(__file__))
top_srcdir = os.path.dirname(os.path.dirname(srcdir))
fixtures = os.path.join(top_srcdir, "tests", "fixtures")

sys.path.insert(1, builddir)
try:
    import testconfig
except ImportError:
    sys.exit("run this in the tests/functional directory of a build tree")
from processes import (PATIENCE, answers, frozen, stop_process,
                       wait_for_signal, wait_until)

NBDKIT = os.path.join(builddir, "bin", "nbdkit")
sanitizer = testconfig.sanitizer          # "", "asan" or "tsan"
quick = os.environ.get("NBDKIT_VDI_QUICK") == "yes"

K = 1024
M = 1024 * K
G = 1024 * M

# Clients never run under the preloads of the servers (see bin/nbdkit.in).
os.environ.pop("LD_PRELOAD", None)
os.environ["LC_ALL"] = "C"
os.environ["PATH"] = os.pathsep.join(
    [os.path.join(builddir, "bin"), "/usr/bin", os.environ.get("PATH", ""),
     "/usr/sbin"])


class Skipped(Exception):
    """Raised by skip()."""


def skip(why):
    """This cannot be tested here."""
    raise Skipped(why)


def requires(*programs):
    """Skip unless these programs are there."""
    for program in programs:
        if shutil.which(program) is None:
            skip("for want of a program: " + program)


try:
    import nbd
except ImportError:
    # Said by main(); a test cannot do much without it.
    nbd = None


# ----------------------------------------------------------------------
# Directories and files.

_root = None        # of the whole test
_dir = None         # of the running test function


def _make_root():
    global _root, _dir
    if _root is None:
        _root = tempfile.mkdtemp(prefix="vdi-test.")
        os.environ["VDITEST_DIR"] = _root
        atexit.register(_remove_root)
        _dir = _root


def _remove_root():
    if os.environ.get("VDITEST_KEEP"):
        print("kept", _root)
    else:
        shutil.rmtree(_root, ignore_errors=True)


def path(name=""):
    """The name of a file in the running test's own directory."""
    _make_root()
    return os.path.join(_dir, name)


def write_file(name, data):
    """Make a file in the test's directory; return its path."""
    with open(path(name), "wb") as f:
        f.write(data)
    return path(name)


def read_file(filename):
    with open(filename, "rb") as f:
        return f.read()


def zeros(count):
    return bytes(count)


def pattern(seed, offset, count):
    """The content of the fixtures: 64-bit words, the one at byte o of the
    disk is seed * 0x9E3779B97F4A7C15 + o.  Any offset and count."""
    first = offset & ~7
    last = (offset + count + 7) & ~7
    mask = (1 << 64) - 1
    words = b"".join(((seed * 0x9E3779B97F4A7C15 + o) & mask)
                     .to_bytes(8, "little") for o in range(first, last, 8))
    return words[offset - first:offset - first + count]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def sha256_file(filename, size=None):
    """Of a file, or of its first size bytes."""
    digest = hashlib.sha256()
    left = size
    with open(filename, "rb") as f:
        while left is None or left > 0:
            data = f.read(M if left is None else min(M, left))
            if not data:
                break
            digest.update(data)
            if left is not None:
                left -= len(data)
    assert not left, "%s: shorter than %d bytes" % (filename, size)
    return digest.hexdigest()


def file_state(filename):
    """All of a file that reading must not change."""
    st = os.stat(filename)
    return (sha256_file(filename), st.st_size, st.st_mtime_ns, st.st_blocks)


@contextlib.contextmanager
def unchanged(*filenames):
    """Fail if what is done inside changes one of the files in any way."""
    # A file system that allocates late does so now, and not inside.
    for f in filenames:
        with open(f, "rb") as written:
            os.fsync(written.fileno())
    before = [file_state(f) for f in filenames]
    yield
    for f, state in zip(filenames, before):
        assert file_state(f) == state, f + " was changed"


def fixture(name):
    """Unpack an image of tests/fixtures ("min-1m.vdi", "bad/sig.vdi")
    into the test's directory; return its path."""
    to = path(os.path.basename(name))
    with lzma.open(os.path.join(fixtures, name + ".xz")) as packed, \
            open(to, "wb") as f:
        while True:
            data = packed.read(M)
            if not data:
                break
            # Keep it sparse, as it was.
            if data.count(0) == len(data):
                f.seek(len(data), os.SEEK_CUR)
            else:
                f.write(data)
        f.truncate()
    return to


def manifest():
    """tests/fixtures/manifest.tsv: name -> (files base first, virtual size,
    sha256 of so many bytes of the disk)."""
    result = {}
    with open(os.path.join(fixtures, "manifest.tsv")) as f:
        for line in f:
            if not line.startswith("#"):
                name, files, size, digest = line.rstrip("\n").split("\t")
                result[name] = (files.split(), int(size), digest)
    return result


def bad_manifest():
    """tests/fixtures/bad/manifest.tsv: name -> what is wrong with it."""
    result = {}
    with open(os.path.join(fixtures, "bad", "manifest.tsv")) as f:
        for line in f:
            if not line.startswith("#"):
                fields = line.rstrip("\n").split("\t")
                result[fields[0]] = fields[1]
    return result


# ----------------------------------------------------------------------
# Programs.

def run(*command, status=0, stdin=None, timeout=PATIENCE, env=None):
    """Run a command, return its standard output (and error) as text.
    status: what it has to exit with; None for anything.  timeout: None for
    what may take long; if that hangs, it is ended with the whole test."""
    result = subprocess.run([str(c) for c in command], input=stdin,
                            stdin=None if stdin is not None
                            else subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            timeout=timeout, env=env)
    out = result.stdout.decode(errors="replace")
    assert status is None or result.returncode == status, \
        "%s: status %d, not %d:\n%s" % (
            " ".join(str(c) for c in command), result.returncode, status, out)
    return out


def qemu_img(*args, **kw):
    requires("qemu-img")
    return run("qemu-img", *args, **kw)


def qemu_io(filename, *commands, fmt="vdi", readonly=False):
    """Commands of qemu-io on an image; fails if one of them does."""
    requires("qemu-io")
    args = ["qemu-io", "-f", fmt]
    if readonly:
        args.append("-r")
    for c in commands:
        args += ["-c", c]
    return run(*args, filename)


def make_vdi(name="disk.vdi", size=8 * M, static=False, raw=None):
    """An image made by qemu-img; raw: the file to fill it with."""
    options = ["-o", "static=on"] if static else []
    if raw is not None:
        qemu_img("convert", "-f", "raw", "-O", "vdi", *options, raw,
                 path(name))
    else:
        qemu_img("create", "-q", "-f", "vdi", *options, path(name), size)
    return path(name)


def qemu_check(filename, fmt="vdi"):
    """qemu-img check finds nothing wrong."""
    report = json.loads(qemu_img("check", "--output=json", "-f", fmt,
                                 filename))
    assert report.get("corruptions", 0) == 0, report
    assert report.get("leaks", 0) == 0, report
    assert report.get("check-errors", 0) == 0, report
    return report


def qemu_raw(filename, name=None, fmt="vdi"):
    """The disk as qemu-img sees it, as a raw file; return its path."""
    to = path(name or os.path.basename(filename) + ".raw")
    qemu_img("convert", "-f", fmt, "-O", "raw", filename, to)
    return to


def qemu_compare(a, b, fmt_a="vdi", fmt_b="raw", strict=False):
    """qemu-img compare finds both the same."""
    qemu_img("compare", *(["-s"] if strict else []), "-f", fmt_a,
             "-F", fmt_b, a, b)


# ----------------------------------------------------------------------
# Servers.

_servers = []       # that are not stopped yet
_logs = []          # of those of this test function
_count = 0


def _arguments(filename, params, options, filters, readonly, plugin):
    args = list(options)
    if readonly:
        args.append("-r")
    for f in filters:
        args.append("--filter=" + f)
    args.append(plugin)
    if filename is not None:
        args.append("file=" + filename)
    for p in params:
        args.append(p)
    return [str(a) for a in args]


class Server:
    """A running nbdkit; see serve()."""

    def __init__(self, filename=None, *params, readonly=False, options=(),
                 filters=(), plugin="vdi", env=None, verbose=False,
                 expect_status=0, preexec=None):
        global _count
        requires("nbdkit")
        _make_root()
        _count += 1
        # Socket names are short, whatever the name of the test: the system
        # allows 107 bytes.
        self.socket = os.path.join(_root, "s%d" % _count)
        self.logfile = os.path.join(_root, "log%d" % _count)
        self.uri = "nbd+unix:///?socket=" + self.socket
        self.expect_status = expect_status
        self.handles = []
        command = [NBDKIT, "-f", "-U", self.socket]
        # Tests that are killed take their servers with them.  Only from
        # the main thread: the signal comes when the thread is gone.
        if threading.current_thread() is threading.main_thread():
            command.append("--exit-with-parent")
        if verbose or os.environ.get("VDITEST_VERBOSE"):
            command.append("-v")
        self.command = command + _arguments(filename, params, options,
                                            filters, readonly, plugin)
        environ = dict(os.environ)
        environ.update(env or {})
        with open(self.logfile, "wb") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, env=environ, preexec_fn=preexec)
        self.pid = self.process.pid
        _servers.append(self)
        _logs.append(self)
        self._wait_ready()

    def _wait_ready(self):
        try:
            wait_until(lambda: answers(self.socket),
                       lambda: "nbdkit did not start: " + self.log(),
                       self.process)
        except AssertionError:
            self.kill()
            raise

    def log(self):
        """What the server said so far."""
        return read_file(self.logfile).decode(errors="replace")

    def new_handle(self):
        """A libnbd handle that is closed when the server is stopped, not
        connected yet; asks for base:allocation."""
        h = nbd.NBD()
        h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
        self.handles.append(h)
        return h

    def connect(self, name=None):
        """A connected libnbd handle (see new_handle)."""
        h = self.new_handle()
        if name is not None:
            h.set_export_name(name)
        h.connect_unix(self.socket)
        return h

    def close_handles(self):
        """Say good-bye on all connections."""
        handles, self.handles = self.handles, []
        for h in handles:
            try:
                if h.aio_is_ready():
                    h.shutdown()
            except (nbd.Error, ValueError):
                pass        # closed by the test, or the server is gone
            try:
                h.close()
            except (AttributeError, ValueError, nbd.Error):
                pass

    def running(self):
        return self.process.poll() is None

    def wait(self):
        """Wait for the server to end by itself; return its status."""
        status = self.process.wait(PATIENCE)
        if self in _servers:
            _servers.remove(self)
        return status

    def stop(self, sig=signal.SIGTERM):
        """Stop it politely.  An error if it was gone already, does not
        go, or goes with another status than expected."""
        if self not in _servers:
            return
        _servers.remove(self)
        self.close_handles()
        status = stop_process(self.process, sig)
        assert status == self.expect_status, \
            "nbdkit ended with %d: %s" % (status, self.log())

    def kill(self):
        """SIGKILL it, as a power cut of the server alone."""
        self.process.kill()
        self.process.wait()
        if self in _servers:
            _servers.remove(self)
        handles, self.handles = self.handles, []
        for h in handles:
            try:
                h.close()
            except (AttributeError, ValueError, nbd.Error):
                pass

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        if kind is None:
            self.stop()
        else:
            # The first error is the interesting one.
            self.kill()


def serve(filename=None, *params, **kw):
    """Start nbdkit with the plugin on file=filename and other parameters
    ("key=value"), on a private Unix socket, and wait until it listens.

    readonly: -r.  options: of nbdkit.  filters: their names.
    plugin: another one.  env: variables on top.  verbose: -v.
    expect_status: what it has to exit with.  preexec: called in its process
    before it starts.

    Used with "with", or stopped with .stop(), or at the end of the test
    function.
    """
    return Server(filename, *params, **kw)


def serve_fails(filename=None, *params, readonly=False, options=(),
                filters=(), plugin="vdi", env=None):
    """nbdkit has to refuse to start; return what it says."""
    requires("nbdkit")
    _make_root()
    command = [NBDKIT, "-f", "-U", os.path.join(_root, "refused")]
    command += _arguments(filename, params, options, filters, readonly,
                          plugin)
    environ = dict(os.environ)
    environ.update(env or {})
    result = subprocess.run(command, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, env=environ,
                            timeout=PATIENCE)
    out = result.stdout.decode(errors="replace")
    assert result.returncode == 1, \
        "%s: status %d, not 1:\n%s" % (" ".join(command), result.returncode,
                                       out)
    return out


# ----------------------------------------------------------------------
# Clients.

def refused(s, *texts):
    """A client that may write is not let in, or may only read."""
    try:
        h = s.connect()
        assert h.is_read_only()
        h.shutdown()
    except nbd.Error:
        pass
    for t in texts:
        assert t in s.log(), s.log()


@contextlib.contextmanager
def device(file):
    """The name of a block device that consists of this file."""
    requires("losetup")
    try:
        name = run("losetup", "-f", "--show", file).strip()
    except AssertionError:
        skip("needs root, for a loop device")
    try:
        yield name
    finally:
        run("losetup", "-d", name)


@contextlib.contextmanager
def raises(*errnos):
    """Fail unless libnbd reports one of these errors inside."""
    names = [errno.errorcode[e] for e in errnos]
    try:
        yield
    except nbd.Error as e:
        assert e.errno in names, "%s, not %s" % (e, " or ".join(names))
        return
    raise AssertionError("succeeded, instead of " + " or ".join(names))


def read_all(h, step=16 * M):
    """The whole disk, as bytes."""
    size = h.get_size()
    return b"".join(bytes(h.pread(min(step, size - o), o))
                    for o in range(0, size, step))


def sha256_export(h, size=None, step=16 * M):
    """Of the disk, or of its first size bytes."""
    size = h.get_size() if size is None else size
    digest = hashlib.sha256()
    for o in range(0, size, step):
        digest.update(h.pread(min(step, size - o), o))
    return digest.hexdigest()


def extents(h, count=None, offset=0, flags=0):
    """base:allocation as a list of (offset, length, type), neighbours of
    the same type merged."""
    end = h.get_size() if count is None else offset + count
    result = []
    while offset < end:
        got = []

        def remember(context, start, entries, error):
            if context == nbd.CONTEXT_BASE_ALLOCATION:
                got.extend(entries)

        h.block_status(min(end - offset, 2**32 - M), offset, remember, flags)
        assert got, "no extents at %d" % offset
        for length, kind in zip(got[0::2], got[1::2]):
            length = min(length, end - offset)
            if result and result[-1][2] == kind:
                o, l, _ = result[-1]
                result[-1] = (o, l + length, kind)
            else:
                result.append((offset, length, kind))
            offset += length
            if offset >= end:
                break
    return result


# ----------------------------------------------------------------------
# Running tests.

def _stop_servers(failed):
    """Stop what the test function left running; return what went wrong."""
    problem = None
    for s in list(_servers):
        try:
            if failed:
                s.kill()
            else:
                s.stop()
        except Exception as e:      # pylint: disable=broad-except
            problem = problem or e
    return problem


def _on_signal(sig, frame):
    sys.exit(128 + sig)


def main():
    """Run the functions test_* of the program, in the order in which they
    are written (or those named on the command line); exit."""
    global _dir
    program = sys.modules["__main__"]
    tests = [(n, f) for n, f in vars(program).items()
             if n.startswith("test_") and callable(f)]
    if sys.argv[1:]:
        tests = [(n, f) for n, f in tests if n in sys.argv[1:]]
    if not tests:
        sys.exit("no tests")
    if nbd is None:
        print("SKIP: for want of a program: python3-libnbd")
        sys.exit(77)
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, _on_signal)
    failed = []
    skipped = []
    _make_root()
    for name, function in tests:
        _dir = os.path.join(_root, name[len("test_"):][:40])
        os.mkdir(_dir)
        _logs.clear()
        start = time.monotonic()
        problem = None
        try:
            function()
            problem = _stop_servers(False)
            if problem is not None:
                raise problem
            verdict = "ok"
        except Skipped as e:
            verdict = "SKIP: %s" % e
            skipped.append(name)
        except Exception:           # pylint: disable=broad-except
            traceback.print_exc(file=sys.stdout)
            failed.append(name)
            verdict = "FAILED"
        _stop_servers(True)
        if verdict == "FAILED":
            for s in _logs:
                print("--- %s\n%s" % (" ".join(s.command), s.log()))
        print("%-50s %s (%.2f s)" % (name, verdict,
                                     time.monotonic() - start))
        sys.stdout.flush()
        if not os.environ.get("VDITEST_KEEP"):
            shutil.rmtree(_dir, ignore_errors=True)
    if failed:
        sys.exit("failed: " + ", ".join(failed))
    if skipped:
        # A test that could do only a part has not been done.
        sys.exit(77)
    sys.exit(0)
