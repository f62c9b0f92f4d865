# SPDX-License-Identifier: BSD-3-Clause
"""Every base image that VirtualBox wrote reads as VirtualBox reads it."""

import os

import vdi
import vditest


def bases():
    return {name: (size, digest)
            for name, (files, size, digest) in vditest.manifest().items()
            if len(files) == 1}


def test_nbdcopy():
    vditest.requires("nbdcopy")
    assert len(bases()) >= 24
    for name, (size, digest) in bases().items():
        image = vditest.fixture(name + ".vdi")
        out = vditest.path(name + ".raw")
        with vditest.unchanged(image):
            with vditest.serve(image, readonly=True) as s:
                vditest.run("nbdcopy", s.uri, out)
        # Odd sizes are rounded up, and the rest is zeros.
        real = vdi.Image(image).disk_size
        assert os.stat(out).st_size == (real + 511) & ~511, name
        assert vditest.sha256_file(out, size) == digest, name
        data = vditest.read_file(out)
        assert not any(data[real:]), name
        os.unlink(out)


def test_without_r():
    """Nothing is written as long as nobody writes, and clients that only
    look see the same."""
    for name, (size, digest) in bases().items():
        image = vditest.fixture(name + ".vdi")
        with vditest.unchanged(image):
            with vditest.serve(image) as s:
                assert vditest.sha256_export(s.connect(), size) == digest, \
                    name


def test_as_qemu_reads():
    """Where QEMU can open the image and does not ignore something, it sees
    the same disk."""
    compared = 0
    for name in bases():
        image = vditest.fixture(name + ".vdi")
        i = vdi.Image(image)
        if i.version != 0x00010001 or i.block_size != vditest.M or \
                i.block_extra or i.geo1_sector_size != 512:
            continue
        with vditest.serve(image, readonly=True) as s:
            vditest.qemu_compare(image, s.uri)
        compared += 1
    assert compared >= 12, compared


vditest.main()
