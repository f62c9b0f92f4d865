# SPDX-License-Identifier: BSD-3-Clause
"""Hundreds of kills of a server whose clients flush and use FUA, on a real
file system, with images as VirtualBox and as QEMU make them."""

import killtest
import vdi
import vditest
from vditest import K, M


def test_as_qemu_makes_it():
    killtest.run(vditest.make_vdi(size=24 * M), 150, 1, True, True)


def test_as_virtualbox_makes_it():
    image = vdi.make(vditest.path("disk.vdi"), size=24 * M)
    killtest.run(image, 150, 2, True, True)


def test_small_blocks():
    image = vdi.make(vditest.path("disk.vdi"), size=8 * M, block_size=64 * K)
    killtest.run(image, 50, 3, True, True)


vditest.main()
