# SPDX-License-Identifier: BSD-3-Clause
"""Small file systems of all kinds, that only a test and its children see."""

import contextlib
import ctypes
import os
import subprocess

import vditest
from vditest import M

CLONE_NEWNS = 0x20000
SIZE = 512 * M                  # xfs makes none below 300 MiB

MKFS = {"ext4": ["mkfs.ext4", "-q", "-F"],
        "xfs": ["mkfs.xfs", "-q", "-K"],
        "btrfs": ["mkfs.btrfs", "-q", "-K"],
        "ntfs-3g": ["mkntfs", "-q", "-F", "-f"]}

_private = False


def _become_private():
    global _private
    if _private:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or libc.unshare(CLONE_NEWNS) != 0:
        vditest.skip("needs root, to mount a file system")
    if subprocess.call(["mount", "--make-rprivate", "/"]) != 0:
        vditest.skip("cannot mount a file system")
    _private = True


def _do(*command):
    """Run it; skip the test if that is not possible here."""
    result = subprocess.run(command, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode != 0:
        vditest.skip("cannot: %s: %s" % (
            " ".join(command), result.stdout.decode(errors="replace")))


def _mount_tmpfs(where, size):
    _do("mount", "-t", "tmpfs", "-o", "size=%d" % size, "test", where)


def _mount(kind, where):
    if kind == "tmpfs":
        _mount_tmpfs(where, SIZE)
    elif kind == "rclone":
        vditest.requires("rclone")
        os.mkdir(where + ".below")
        _do("rclone", "mount", "--daemon", "--vfs-cache-mode", "off",
            ":local:" + where + ".below", where)
    elif kind == "bindfs":
        vditest.requires("bindfs")
        os.mkdir(where + ".below")
        _do("bindfs", where + ".below", where)
    else:
        vditest.requires(MKFS[kind][0])
        image = where + ".image"
        with open(image, "wb") as f:
            f.truncate(SIZE)
        _do(*MKFS[kind], image)
        if kind == "ntfs-3g":
            vditest.requires("ntfs-3g")
            _do("ntfs-3g", image, where)
        else:
            _do("mount", "-o", "loop", image, where)


def _umount(where):
    if subprocess.call(["umount", where]) != 0:
        subprocess.call(["umount", "-l", where])


def small(size):
    """A directory on a tmpfs of so many bytes, which has no metadata to run
    out of but the pages themselves; for the test to unmount."""
    _become_private()
    where = vditest.path("small")
    os.mkdir(where)
    _mount_tmpfs(where, size)
    return where


@contextlib.contextmanager
def mounted(kind):
    """A directory on a new file system: tmpfs, ext4, xfs, btrfs, or through
    FUSE ntfs-3g, bindfs or rclone (which writes only new files, and from
    the beginning to the end)."""
    _become_private()
    where = vditest.path(kind)
    os.mkdir(where)
    _mount(kind, where)
    try:
        yield where
    finally:
        _umount(where)


@contextlib.contextmanager
def overlay(lower, upper, work, where):
    """Inside mounted(), or after small()."""
    _do("mount", "-t", "overlay", "-o", "lowerdir=%s,upperdir=%s,workdir=%s" %
        (lower, upper, work), "test", where)
    try:
        yield
    finally:
        _umount(where)
