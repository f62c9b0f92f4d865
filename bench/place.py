# SPDX-License-Identifier: BSD-3-Clause
"""Where the images are: one file system of each kind, mounted for the run.

tmpfs is memory; ext4, xfs and btrfs are made in a file of the work
directory and mounted over a loop device; "here" is the work directory as it
is.  Mounting takes root.  It happens in a mount namespace of our own, so
that nobody else sees it and nothing is left even if we are killed.
"""

import contextlib
import ctypes
import mmap
import os
import re
import subprocess
import sys
import tempfile

G = 1 << 30
NAMES = ("tmpfs", "ext4", "xfs", "btrfs")
SIZE = 14 * G

# Nothing is discarded: a loop file that gets holes is slow to fill again.
MKFS = {"ext4": ["mkfs.ext4", "-q", "-E", "nodiscard"],
        "xfs": ["mkfs.xfs", "-q", "-K"],
        "btrfs": ["mkfs.btrfs", "-q", "-K"]}
MOUNT = {"ext4": "nodiscard", "xfs": "nodiscard", "btrfs": "nodiscard"}

CLONE_NEWNS = 0x20000


def touch_memory():
    """A virtual machine gets its memory when it first touches it, which
    takes time (here: 64 TiB in random order opened in 0.67 s and not in
    0.20 s) and hits whoever comes first.
    """
    with open("/proc/meminfo") as f:
        free = int(re.search(r"MemFree:\s+(\d+) kB", f.read())[1]) << 10
    piece = b"x" * (1 << 20)
    with mmap.mmap(-1, free // len(piece) * 3 // 4 * len(piece)) as memory:
        for pos in range(0, len(memory), len(piece)):
            memory[pos:pos + len(piece)] = piece


def private_mounts():
    """What this process mounts from now on is nobody else's affair."""
    if os.geteuid() != 0:
        return False
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        return False
    return _run("mount", "--make-rprivate", "/")


def _run(*args):
    try:
        r = subprocess.run(args, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except FileNotFoundError:
        print("%s is missing" % args[0], file=sys.stderr)
        return False
    if r.returncode != 0:
        print("%s: %s" % (" ".join(args), r.stdout.decode().strip()),
              file=sys.stderr)
    return r.returncode == 0


@contextlib.contextmanager
def place(name, work, can_mount):
    """A directory on the file system, or None if it cannot be had."""
    if name == "here":
        yield work
    elif name == "tmpfs" and not can_mount:
        with tempfile.TemporaryDirectory(prefix="vdi-bench-",
                                         dir="/dev/shm") as directory:
            yield directory
    elif not can_mount:
        yield None
    else:
        mount = os.path.join(work, name)
        os.mkdir(mount)
        image = os.path.join(work, name + ".img")
        try:
            mounted = _run("mount", "-t", "tmpfs", "-o", "size=%d" % SIZE,
                           "bench", mount) if name == "tmpfs" else \
                _mount_loop(name, image, mount)
            yield mount if mounted else None
        finally:
            if os.path.ismount(mount):
                _run("umount", mount) or _run("umount", "-l", mount)
            os.rmdir(mount)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(image)


def _mount_loop(name, image, mount):
    with open(image, "wb") as f:
        os.posix_fallocate(f.fileno(), 0, SIZE)
    if not _run(*MKFS[name], image):
        return False
    # Without direct access everything would be in the page cache twice.
    device = _losetup("--direct-io=on", image) or _losetup(image)
    if device is None:
        return False
    mounted = _run("mount", "-o", MOUNT[name], device, mount)
    # Now, or as soon as it is not mounted any more.
    _run("losetup", "-d", device)
    return mounted


def _losetup(*args):
    r = subprocess.run(["losetup", "--find", "--show", *args],
                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return r.stdout.decode().strip() if r.returncode == 0 else None
