# SPDX-License-Identifier: BSD-3-Clause
"""Every base image that VirtualBox wrote can be written, and is then what
both VirtualBox and QEMU want."""

import random

import vdi
import vditest

M = vditest.M


def change(image, seed):
    """Write here and there through the server; what the disk then is."""
    rng = random.Random(seed)
    i = vdi.Image(image)
    disk = bytearray(i.read())
    size = len(disk)
    with vditest.serve(image) as s:
        h = s.connect()
        for k in range(24):
            count = min(rng.choice([1, 512, 4096, 70000, i.block_size]), size)
            offset = rng.randrange(size - count + 1)
            if k % 6 == 5:
                disk[offset:offset + count] = vditest.zeros(count)
                h.zero(count, offset)
            else:
                data = rng.randbytes(count)
                disk[offset:offset + count] = data
                h.pwrite(data, offset)
        # The last byte is where the odd sizes are.
        disk[-1:] = b"\xee"
        h.pwrite(b"\xee", size - 1)
        h.flush()
        assert vditest.read_all(h) == disk
    return disk


def verify(name, image, disk):
    after = vdi.Image(image)
    assert after.problems() == [], (name, after.problems())
    assert after.read() == disk, name
    with vditest.serve(image, readonly=True) as s:
        assert vditest.read_all(s.connect()) == disk, name
    return after


def names():
    return [name for name, (files, _, _) in vditest.manifest().items()
            if len(files) == 1]


def test_write():
    checked = 0
    # Fields that a write must not touch, whatever they are.
    kept = ("text", "version", "header_len", "type", "flags", "comment",
            "map_off", "data_off", "disk_size", "block_size", "block_extra",
            "n_blocks", "uuid_image", "uuid_parent", "uuid_parent_mod",
            "geo1_cylinders", "geo1_heads", "geo1_sectors",
            "geo1_sector_size", "dummy")
    for seed, name in enumerate(names()):
        image = vditest.fixture(name + ".vdi")
        before = vdi.Image(image)
        disk = change(image, seed)
        after = verify(name, image, disk)
        for field in kept:
            if hasattr(before, field):
                assert getattr(before, field) == getattr(after, field), \
                    (name, field)
        assert before.uuid_mod != after.uuid_mod, name
        if after.version == 0x00010001 and after.block_size == M and \
                after.block_extra == 0 and after.geo1_sector_size == 512:
            vditest.qemu_check(image)
            with open(vditest.path("want"), "wb") as f:
                f.write(disk)
            vditest.qemu_compare(image, vditest.path("want"))
            checked += 1
    assert checked >= 12, checked


def test_write_after_qemu():
    """What QEMU added to them is kept, and the other way round."""
    checked = 0
    for name in names():
        image = vditest.fixture(name + ".vdi")
        i = vdi.Image(image)
        if i.version != 0x00010001 or i.block_size != M or i.block_extra or \
                i.geo1_sector_size != 512 or i.disk_size % 512 or \
                name == "leaked-block" or i.disk_size < 3 * M:
            continue
        want = bytearray(i.read())
        vditest.qemu_io(image, "write -P 0x11 1M 4k", "write -P 0x12 2M 4k")
        want[M:M + 4096] = b"\x11" * 4096
        want[2 * M:2 * M + 4096] = b"\x12" * 4096
        with vditest.serve(image) as s:
            h = s.connect()
            h.pwrite(b"\x13" * 4096, M + 2048)
            h.pwrite(b"\x14" * 4096, 0)
        want[M + 2048:M + 6144] = b"\x13" * 4096
        want[:4096] = b"\x14" * 4096
        vditest.qemu_io(image, "read -P 0x11 1M 2k", "read -P 0x13 1050624 4k",
                        "write -P 0x15 8k 4k")
        want[8192:12288] = b"\x15" * 4096
        with vditest.serve(image, readonly=True) as s:
            assert vditest.read_all(s.connect()) == want, name
        checked += 1
    assert checked >= 8, checked


vditest.main()
