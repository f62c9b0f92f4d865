# SPDX-License-Identifier: BSD-3-Clause
"""Random operations on base images of all block sizes, against a model:
a SIGKILL loses nothing that was acknowledged."""

import vdi
import vditest
import modeltest


def base(name, seed, ops, size, block_size, **kw):
    image = vdi.make(vditest.path("base.vdi"), size=size,
                     block_size=block_size, **kw)
    modeltest.run(name, image, ops=ops, seed=seed, acked=True)


def test_base_4k():
    base("base-4k", 101, 11000, 5 * vditest.M, 4096)


def test_base_4k_extra():
    base("base-4k-extra", 102, 7000, 5 * vditest.M - 512, 4096,
         block_extra=512)


def test_base_64k():
    base("base-64k", 103, 10000, 12 * vditest.M, 65536)


def test_base_64k_extra():
    base("base-64k-extra", 104, 7000, 12 * vditest.M + 1024, 65536,
         block_extra=4096)


def test_base_1m():
    base("base-1m", 105, 12000, 16 * vditest.M, vditest.M,
         map_off=vditest.M, data_off=2 * vditest.M)


def test_base_1m_extra():
    base("base-1m-extra", 106, 5000, 16 * vditest.M, vditest.M,
         block_extra=512)


def test_base_2m():
    base("base-2m", 107, 6000, 25 * vditest.M + 512, 2 * vditest.M)


modeltest.in_memory()
vditest.main()
