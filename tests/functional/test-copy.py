# SPDX-License-Identifier: BSD-3-Clause
"""Whole disks in and out, with the programs that people use, on several
connections."""

import os

import vdi
import vditest
from vditest import K, M

SIZE = 48 * M + 512


def disk():
    """Data and holes of all lengths."""
    name = vditest.path("disk.raw")
    with open(name, "wb") as f:
        f.truncate(SIZE)
        for n, (offset, count) in enumerate([
                (0, 100), (700 * K, M), (5 * M + 1, 3 * M), (20 * M, 64 * K),
                (20 * M + 256 * K, 9 * M), (SIZE - 513, 513)]):
            f.seek(offset)
            f.write(vditest.pattern(n, 0, count))
    return name


def images():
    yield vditest.make_vdi("dynamic.vdi", SIZE), []
    yield vditest.make_vdi("static.vdi", SIZE, static=True), []
    yield vdi.make(vditest.path("4k.vdi"), size=SIZE, block_size=4 * K), []
    base = vdi.make(vditest.path("base.vdi"), size=40 * M,
                    blocks={b: b"p" * M for b in range(0, 40, 3)})
    yield vdi.child(vditest.path("child.vdi"), base, size=SIZE), \
        [vdi.Image(base)]


def check(image, below, raw):
    assert vdi.Image(image).problems() == [], image
    assert vdi.Image(image).read(*below) == vditest.read_file(raw), image
    if vdi.Image(image).block_size == M and not below:
        vditest.qemu_check(image)
        vditest.qemu_compare(image, raw)


def test_nbdcopy_in():
    vditest.requires("nbdcopy")
    raw = disk()
    for image, below in images():
        with vditest.serve(image) as s:
            vditest.run("nbdcopy", "--flush", raw, s.uri)
            s.kill()            # flushed is flushed
        with vditest.serve(image) as s:
            vditest.run("nbdcopy", "--flush", raw, s.uri)
        check(image, below, raw)


def zero_requests(log):
    """How many there were, and whether the space might be given back."""
    lines = [x for x in vditest.read_file(log).decode().splitlines()
             if " Zero id=" in x]
    assert lines, vditest.read_file(log)
    return {" trim=1 " in x for x in lines}


def test_space_for_zeros():
    """Zeros take no space in a dynamic image, also if the client asks for it
    (NO_HOLE), because of who does: see the manual.  There is space in a
    fixed one, or with the nozero filter."""
    vditest.requires("nbdcopy", "qemu-io")
    raw = vditest.path("zeros.raw")
    log = vditest.path("requests")
    with open(raw, "wb") as f:
        f.truncate(16 * M)
    write = ["qemu-io", "-c", "write -P 0 0 16M", "--image-opts"]
    drive = "driver=raw,file.driver=nbd,file.server.type=unix," \
        "file.server.path="
    for client, params, gives_back in [
            (["nbdcopy", raw], "", True),
            (["nbdcopy", "--allocated", raw], "", False),
            (write, drive, None),
            (write, "detect-zeroes=on," + drive, False),
            (write, "discard=unmap,detect-zeroes=unmap," + drive, True)]:
        for kind, filters, blocks in [("dynamic", [], 0),
                                      ("dynamic", ["nozero"], 16),
                                      ("fixed", [], 16)]:
            if gives_back is None:
                blocks = 16             # written as any data
            new = vditest.path("new.vdi")
            with vditest.serve(new, "create=" + kind, "size=16M",
                               "logfile=" + log,
                               filters=["log"] + filters) as s:
                target = params + s.socket if params else s.uri
                vditest.run(*client, target)
                assert vditest.read_all(s.connect()) == bytes(16 * M)
            if gives_back is not None and not filters:
                assert zero_requests(log) == {gives_back}, client
            i = vdi.Image(new)
            assert len(i.allocated()) == blocks and i.problems() == []
            if not gives_back:
                assert os.stat(new).st_blocks * 512 >= blocks * M, client
            os.unlink(new)
            os.unlink(log)


def test_nbdcopy_out():
    vditest.requires("nbdcopy")
    raw = disk()
    for image, _ in images():
        with vditest.serve(image) as s:
            vditest.run("nbdcopy", raw, s.uri)
            out = vditest.path("out")
            vditest.run("nbdcopy", s.uri, out)
        assert vditest.read_file(out) == vditest.read_file(raw), image
        # Holes come out as holes.
        assert os.stat(out).st_blocks * 512 < 20 * M, image
        os.unlink(out)


def test_qemu_img():
    raw = disk()
    for image, below in images():
        with vditest.serve(image) as s:
            vditest.qemu_img("convert", "-n", "-W", "-f", "raw", "-O", "raw",
                             raw, s.uri)
            vditest.qemu_compare(raw, s.uri, fmt_a="raw")
        check(image, below, raw)


def test_small_requests():
    """The blocksize filter makes many small ones of each large one."""
    vditest.requires("nbdcopy")
    raw = disk()
    image = vditest.make_vdi("small.vdi", SIZE)
    with vditest.serve(image, "maxdata=32K", "maxlen=1M",
                       filters=["blocksize"]) as s:
        vditest.run("nbdcopy", "--flush", raw, s.uri)
        vditest.qemu_compare(raw, s.uri, fmt_a="raw")
    check(image, [], raw)


def test_fio():
    """fio writes at random and verifies what it reads."""
    vditest.requires("fio")
    if "nbd" not in vditest.run("fio", "--enghelp"):
        vditest.skip("for want of a program: fio with its nbd engine")
    size = 8 * M if vditest.quick else 32 * M
    for name, block_size in ("64k", 64 * K), ("1m", M):
        image = vdi.make(vditest.path(name + ".vdi"), size=size,
                         block_size=block_size)
        with vditest.serve(image) as s:
            vditest.run("fio", "--name=verify", "--ioengine=nbd",
                        "--uri=" + s.uri, "--rw=randwrite", "--bs=4k-64k",
                        "--bs_unaligned=0", "--size=%d" % size,
                        "--iodepth=16", "--verify=crc32c",
                        "--verify_backlog=64", "--randseed=7",
                        "--output-format=terse",
                        "--aux-path=" + vditest.path())
        assert vdi.Image(image).problems() == []
    vditest.qemu_check(image)


vditest.main()
