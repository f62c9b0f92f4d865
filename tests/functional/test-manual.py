#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The manual page's examples, as they are printed there, in a directory with
the files that they speak of."""

import os
import re
import tarfile

import vdi
import vditest
from recipes import (MACHINE, SIZE, fuse, is_image, is_raw, prepare, sh,
                     untouched)
from vditest import M


def manual():
    return vditest.read_file(os.path.join(vditest.top_srcdir,
                                          "nbdkit-vdi-plugin.pod")).decode()


def blocks():
    """The indented paragraphs of EXAMPLES, in order."""
    text = re.search(r"^=head1 EXAMPLES\n(.*?)^=head1 ", manual(),
                     re.M | re.S).group(1)
    return re.findall(r"(?:^ .*\n)+", text, re.M)


def block_with(*words):
    """The one with all of these words."""
    found = [b for b in blocks() if all(w in b for w in words)]
    assert len(found) == 1, (words, found)
    seen.add(found[0])
    return found[0]


# Another computer's address is not to be had here.
seen = {b for b in blocks() if "-i 192.0.2.1" in b}


def pretend(name, script):
    """What would take too long, or is not there: what the real program
    gets to see is what matters here."""
    os.makedirs(vditest.path("bin"), exist_ok=True)
    fake = vditest.write_file("bin/" + name, b"#!/bin/bash -e\n" + script)
    os.chmod(fake, 0o755)
    return "PATH=$PWD/bin:$PATH\n"


def test_look():
    prepare()
    with untouched("disk.vdi"):
        out = sh(block_with("nbdinfo"))
    assert "export-size: %d" % SIZE in out, out


def test_copy():
    """Out, and in again."""
    disks = prepare()
    sh(block_with("'nbdcopy \"$uri\" disk.raw'", "disk.raw \"$uri\"'"))
    is_raw("disk.raw", disks["disk"])
    is_image("disk.vdi", disks["disk"])


def test_machine():
    disks = prepare()
    with untouched(*MACHINE):
        sh(block_with("qcow2"))
    is_image("web.qcow2", disks["current"], "qcow2")


def test_guestfish():
    disks = prepare()
    path = pretend("guestfish", b"""
test "$1 $2 $3 $5 $#" = '--ro --format=raw -a -i 5'
[[ $4 == nbd://?socket=* ]]
exec nbdcopy "nbd+unix:///?${4#nbd://?}" got.raw
""")
    with untouched(*MACHINE):
        sh(path + block_with("guestfish"))
    is_raw("got.raw", disks["before"])


def test_create():
    prepare()
    sh(block_with("create=dynamic"))
    vditest.qemu_compare(vditest.path("new.vdi"), vditest.path("disk.raw"))
    assert vdi.Image(vditest.path("new.vdi")).disk_size == 20 * vditest.G


def test_throw_away():
    disks = prepare()
    path = pretend("qemu-system-x86_64", b"""
test "$1 $2 $3 $#" = '-m 2048 -drive 4'
exec qemu-io -t writeback -c 'write -P 7 1M 64k' --image-opts \
     "driver=raw,file.driver=nbd,file.server.type=unix,file.server.path=$(
     sed 's/.*socket=//; s/,format=raw$//' <<<$4)"
""")
    with untouched("disk.vdi"):
        sh(path + block_with("qemu-system-x86_64"))
    disk = bytearray(disks["disk"])
    disk[M:M + 65536] = b"\7" * 65536
    assert vdi.Image(vditest.path("try.vdi")).read(
        vdi.Image(vditest.path("disk.vdi"))) == disk


def test_file():
    vditest.requires("mke2fs")
    os.makedirs(vditest.path("files/etc"))
    text = b"/dev/sda1 / ext4 defaults 0 1\n" * 5000
    vditest.write_file("files/etc/fstab", text)
    with open(vditest.path("fs.raw"), "wb") as f:
        f.truncate(14 * M)
    sh("mke2fs -q -F -t ext4 -d files fs.raw")
    disk = bytearray(16 * M)
    disk[M:15 * M] = vditest.read_file(vditest.path("fs.raw"))
    disk[450] = 0x83                    # the first partition
    disk[454:462] = (2048).to_bytes(4, "little") + \
        (14 * 2048).to_bytes(4, "little")
    disk[510:512] = b"\x55\xaa"
    vditest.make_vdi("disk.vdi", raw=vditest.write_file("all.raw", disk))
    with untouched("disk.vdi"):
        sh(block_with("--filter=ext2"))
    is_raw("fstab", text)


def test_fuse():
    """Both: if the first cannot be run, nor can the second."""
    disks = prepare()
    with tarfile.open(vditest.path("box.tar"), "w") as tar:
        tar.add(vditest.path("disk.vdi"), "disk.vdi")
    os.unlink(vditest.path("disk.raw"))
    packed = block_with("--filter=tar")
    assert packed.endswith("umount box\n")
    with fuse(block_with("mkdir mnt"), "mnt/disk.raw", "umount mnt") as here:
        if here:
            is_raw("mnt/disk.raw", disks["disk"])
    if here:
        sh(packed)
        is_raw("disk.raw", disks["disk"])


def test_after_a_kill():
    """What gives the reserve back, in Crash safety."""
    recipe = re.search(r"^ nbdkit .*\\\n .*pwrite.*\n", manual(), re.M)
    filename = vdi.make(vditest.path("disk.vdi"), size=64 * M)
    with vditest.serve(filename) as s:
        s.connect().pwrite(b"x" * 512, 0)
        s.kill()
    before = vdi.Image(filename)
    assert before.n_alloc > len(before.allocated())
    sh(recipe.group(0))
    after = vdi.Image(filename)
    assert after.n_alloc == len(after.allocated())
    assert after.read() == before.read()
    vditest.qemu_check(filename)


def test_all():
    """No block was forgotten."""
    assert [b for b in blocks() if b not in seen] == []


vditest.main()
