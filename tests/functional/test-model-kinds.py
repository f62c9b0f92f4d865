# SPDX-License-Identifier: BSD-3-Clause
"""Random operations on images that are not fresh: fixed ones, and those
whose blocks lie in any order, with gaps, at odd places."""

import random
import shutil

import vdi
import vditest
import modeltest


def some_blocks(seed, n, size, count):
    """count blocks out of n, with content; and some marked ZERO."""
    rng = random.Random(seed)
    numbers = rng.sample(range(n), count + 2)
    blocks = {b: rng.randbytes(size) for b in numbers[:count]}
    blocks.update({b: vdi.ZERO for b in numbers[count:]})
    order = list(numbers[:count])
    rng.shuffle(order)
    return blocks, order


def test_fixed():
    image = vdi.make(vditest.path("fixed.vdi"), size=12 * vditest.M,
                     type=vdi.FIXED)
    modeltest.run("fixed", image, ops=4000, seed=201, acked=True)


def test_fixed_holes():
    blocks, order = some_blocks(1, 48, 262144, 20)
    image = vdi.make(vditest.path("fixed.vdi"), size=12 * vditest.M,
                     block_size=262144, blocks=blocks, order=order,
                     type=vdi.DYNAMIC)
    vdi.patch(image, type=vdi.FIXED)
    modeltest.run("fixed-holes", image, ops=4000, seed=202, acked=True)


def test_permuted():
    blocks, order = some_blocks(2, 16, vditest.M, 7)
    image = vdi.make(vditest.path("disk.vdi"), size=16 * vditest.M - 1536,
                     blocks=blocks, order=order)
    modeltest.run("permuted", image, ops=5000, seed=203, acked=True)


def test_gaps():
    """Physical blocks that nobody uses, in a permuted map: what is in them
    is somebody's old data and must never be seen."""
    blocks, order = some_blocks(3, 160, 65536, 60)
    for at in (0, 7, 7, 30, 50):
        order.insert(at, None)
    image = vdi.make(vditest.path("disk.vdi"), size=10 * vditest.M,
                     block_size=65536, blocks=blocks, order=order)
    with open(image, "r+b") as f:
        for index, number in enumerate(order):
            if number is None:
                f.seek(vdi.Image(image).block_offset(index))
                f.write(b"\xdb" * 65536)
    modeltest.run("gaps", image, ops=5000, seed=204, acked=True)


def test_tail():
    """Old bytes behind the last block, as a crash leaves them."""
    image = vdi.make(vditest.path("disk.vdi"), size=8 * vditest.M,
                     block_size=65536, blocks={3: b"x" * 65536},
                     tail=b"\xdb" * 300000)
    modeltest.run("tail", image, ops=4000, seed=205, acked=True)


def test_odd_places():
    """The 0.2 header: the map and the blocks lie where no sector begins."""
    image = vdi.make(vditest.path("disk.vdi"), size=6 * vditest.M,
                     block_size=65536, version=2,
                     blocks={5: b"y" * 65536, 1: b"z" * 100})
    modeltest.run("odd-places", image, ops=4000, seed=206, torn=True)


def copy(filename, device):
    with open(device, "r+b") as f:
        f.write(vditest.read_file(filename))


def test_device():
    """An image in a block device, full of somebody's old data."""
    size = 6 * vditest.M
    file = vdi.make(vditest.path("disk.vdi"), size=size, block_size=65536,
                    blocks={7: b"d" * 65536})
    with open(file, "ab") as f:
        f.write(b"\xdb" * (size + vditest.M))
    shutil.copyfile(file, file + ".new")
    with vditest.device(file) as device:
        modeltest.run("device", device, ops=3000, seed=207, state="device",
                      restore=lambda: copy(file + ".new", device))


modeltest.in_memory()
vditest.main()
