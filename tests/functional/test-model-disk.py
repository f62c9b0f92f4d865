# SPDX-License-Identifier: BSD-3-Clause
"""Random operations where the temporary files are: most of the others run
in memory, where the file system can do less (zero a range, for one)."""

import vdi
import vditest
import modeltest
from vditest import K, M


def test_disk_base():
    image = vdi.make(vditest.path("base.vdi"), size=12 * M,
                     block_size=256 * K, map_off=4 * K, data_off=8 * K)
    modeltest.run("disk-base", image, ops=4000, seed=401, acked=True)


def test_disk_fixed():
    image = vdi.make(vditest.path("fixed.vdi"), size=8 * M, type=vdi.FIXED)
    modeltest.run("disk-fixed", image, ops=2500, seed=402, acked=True)


def test_disk_child():
    base = vdi.make(vditest.path("base.vdi"), size=8 * M,
                    blocks={b: b"p" * M for b in range(1, 8, 2)})
    child = vdi.child(vditest.path("child.vdi"), base, block_size=64 * K)
    modeltest.run("disk-child", child, parents=[base], ops=3750, seed=403)


vditest.main()
