#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Every command of README.md, as it is printed there, in a directory with
the files that it speaks of."""

import os
import re

import vdi
import vditest
from recipes import (MACHINE, SIZE, content, fuse, is_image, is_raw, prepare,
                     sh, untouched)
from vditest import M


def blocks():
    """The commands: what is in ```sh fences, in order."""
    with open(os.path.join(vditest.top_srcdir, "README.md")) as f:
        return re.findall(r"^```sh\n(.*?)^```$", f.read(), re.S | re.M)


def block_with(*words):
    """The one with all of these words."""
    found = [b for b in blocks() if all(w in b for w in words)]
    assert len(found) == 1, (words, found)
    seen.add(found[0])
    return found[0]


seen = set()


def test_look():
    prepare()
    with untouched("disk.vdi"):
        out = sh(block_with("--map"))
    assert "export-size: %d" % SIZE in out, out
    assert "hole,zero" in out and "data" in out, out


def test_copy():
    disks = prepare()
    sh(block_with("copy.raw"))
    is_raw("copy.raw", disks["disk"])
    is_image("disk.vdi", disks["raw"])


def test_convert():
    disks = prepare()
    with untouched("disk.vdi"):
        sh(block_with("disk.qcow2"))
    is_image("disk.qcow2", disks["disk"], "qcow2")


def test_create():
    disks = prepare()
    sh(block_with("create=dynamic"))
    is_image("new.vdi", disks["raw"] + bytes(48 * M))


def test_fuse():
    disks = prepare()
    with fuse(block_with("nbdfuse"), "mnt/nbd", "umount mnt") as here:
        if here:
            is_raw("mnt/nbd", disks["disk"])


def test_overlay():
    prepare()
    block = block_with("create=diff").split("\n")
    assert block[1] == "rm try.vdi"
    with untouched("disk.vdi"):
        sh(block[0])
        top = vdi.Image(vditest.path("try.vdi"))
        base = vdi.Image(vditest.path("disk.vdi"))
        assert top.read(base) == content(2)
        sh(block[1])
    assert not os.path.exists(vditest.path("try.vdi"))


def test_chain():
    prepare()
    with untouched(*MACHINE):
        out = sh(block_with("Snapshots/web-2.vdi"))
    assert "export-size: %d" % SIZE in out, out


def test_snapshot():
    disks = prepare()
    with untouched(*MACHINE):
        sh(block_with("before upgrade"))
    is_raw("before-upgrade.raw", disks["before"])


def test_flatten():
    disks = prepare()
    with untouched(*MACHINE):
        sh(block_with("flat.vdi"))
    is_image("flat.vdi", disks["current"])


def test_virt_v2v():
    """With a virt-v2v that only copies the disk: what the real one would
    read is what matters here."""
    disks = prepare()
    os.mkdir(vditest.path("bin"))
    fake = vditest.write_file("bin/virt-v2v", b"""#!/bin/sh
test "$*" = '-i disk web.qcow2 -o local -os .' || exit 1
exec qemu-img convert -f qcow2 -O raw web.qcow2 web-sda
""")
    os.chmod(fake, 0o755)
    with untouched(*MACHINE):
        sh("PATH=$PWD/bin:$PATH\n" + block_with("virt-v2v"))
    is_raw("web-sda", disks["current"])
    assert not os.path.exists(vditest.path("web.qcow2"))


def test_all():
    """No block was forgotten."""
    assert [b for b in blocks() if b not in seen] == []


vditest.main()
