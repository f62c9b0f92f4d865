#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What nbdkit says to parameters that make no sense: one line that names
the parameter and says what to do; nothing is made or changed."""

import bz2
import lzma
import os
import tarfile
import zipfile

import vdi
import vditest
from vditest import M

# Parameters -> what the message must say.  {d} is the test's directory,
# where a.vdi and b.vdi are images, text is not, and none.vdi is missing.
TABLE = [
    # Which disk?
    ([], ["file=", "machine="]),
    (["{d}/a.vdi", "{d}/b.vdi"], ["file=", "twice", "b.vdi"]),
    (["file={d}/a.vdi", "machine={d}/m.vbox"], ["file=", "machine="]),
    (["{d}/m.vbox"], ["m.vbox", "machine={d}/m.vbox"]),
    (["{d}/M.VBOX"], ["M.VBOX", "machine="]),
    (["machine={d}/a.vdi"], ["a.vdi", "file={d}/a.vdi"]),
    (["{d}/none.vdi"], ["{d}/none.vdi", "no such file", "create="]),
    (["file="], ["file="]),
    (["{d}/a.vdi/x"], ["file={d}/a.vdi/x", "Not a directory"]),
    (["{d}"], ["{d}"]),
    (["{d}/text"], ["{d}/text"]),
    (["/dev/null"], ["/dev/null"]),
    (["machine={d}/none.vbox"], ["{d}/none.vbox"]),
    (["machine={d}/text"], ["{d}/text"]),

    # Unknown, or twice.
    (["{d}/a.vdi", "parnet={d}/b.vdi"], ["parnet", "--help"]),
    (["{d}/a.vdi", "lock=on", "lock=off"], ["lock=", "twice"]),

    # Values.
    (["{d}/a.vdi", "create=foo"],
     ["create=foo", "dynamic, fixed or diff"]),
    (["{d}/a.vdi", "missing=foo"], ["missing=foo", "error or zero"]),
    (["{d}/a.vdi", "fadvise=foo"],
     ["fadvise=foo", "normal, random or sequential"]),
    (["{d}/a.vdi", "lock=foo"], ["boolean", "foo"]),
    (["{d}/a.vdi", "commit=soon"], ["commit=soon", "seconds"]),
    (["{d}/a.vdi", "commit=-1"], ["commit=-1", "seconds"]),
    (["{d}/a.vdi", "commit=86401"], ["commit=86401", "86400"]),
    (["{d}/a.vdi", "commit="], ["commit=", "seconds"]),
    (["{d}/a.vdi", "parent="], ["parent="]),
    (["{d}/a.vdi", "parent-dir="], ["parent-dir="]),

    (["{d}/a.vdi", "parent={d}/b.vdi", "parent-check=no"],
     ["parent-check=no", "uuid or size"]),
    (["{d}/a.vdi", "parent-check=size"], ["parent-check=size", "parent=FILE"]),
    (["{d}/new.vdi", "create=diff", "parent={d}/a.vdi", "parent-check=size"],
     ["parent-check=size", "create=", "exclude"]),

    # Parents of what has none, or not these.
    (["{d}/a.vdi", "parent={d}/b.vdi"], ["{d}/a.vdi", "parent"]),

    # What needs something else.
    (["{d}/a.vdi", "size=1M"], ["size=", "create="]),
    (["{d}/a.vdi", "block-size=1M"], ["block-size=", "create="]),
    (["{d}/a.vdi", "comment=x"], ["comment=", "create="]),
    (["{d}/a.vdi", "uuid=4df1bb20-0a8c-4d9b-a8c9-7b0a9b4a1c11"],
     ["uuid=", "create="]),
    (["{d}/a.vdi", "snapshot=x"], ["snapshot=", "machine="]),
    (["{d}/a.vdi", "disk=0"], ["disk=", "machine="]),

    # create=
    (["{d}/new.vdi", "create=dynamic"], ["size="]),
    (["{d}/new.vdi", "create=fixed"], ["size="]),
    (["{d}/new.vdi", "create=diff"], ["parent="]),
    (["{d}/new.vdi", "create=diff", "parent={d}/none.vdi"], ["none.vdi"]),
    (["{d}/new.vdi", "create=diff", "parent={d}/text"], ["{d}/text"]),
    (["{d}/new.vdi", "create=dynamic", "size=8M", "parent={d}/a.vdi"],
     ["create=diff"]),
    (["{d}/new.vdi", "create=dynamic", "size=8M", "parent-dir={d}"],
     ["create=diff"]),
    (["{d}/new.vdi", "create=dynamic", "size=0"], ["size=0"]),
    (["{d}/new.vdi", "create=dynamic", "size=1000"],
     ["size=1000", "512", "1024"]),
    (["{d}/new.vdi", "create=dynamic", "size=8MiB"], ["MiB"]),
    (["{d}/new.vdi", "create=dynamic", "size=7E"], ["new.vdi"]),
    (["{d}/new.vdi", "create=dynamic", "size=8M", "block-size=3M"],
     ["3145728"]),
    (["{d}/new.vdi", "create=dynamic", "size=8M", "block-size=8G"],
     ["block-size=8G"]),
    (["{d}/new.vdi", "create=dynamic", "size=8M", "block-size=0"],
     ["block-size=0"]),
    (["{d}/new.vdi", "create=dynamic", "size=8M", "uuid=1234"],
     ["uuid=1234"]),
    (["{d}/new.vdi", "create=dynamic", "size=8M",
      "uuid=00000000-0000-0000-0000-000000000000"], ["uuid=0000"]),
    (["{d}/new.vdi", "create=dynamic", "size=8M", "comment=" + 256 * "x"],
     ["comment=", "256", "255"]),
    (["{d}/nodir/new.vdi", "create=dynamic", "size=8M"],
     ["{d}/nodir/new.vdi"]),
    (["machine={d}/m.vbox", "create=dynamic", "size=8M"],
     ["create=", "machine="]),
    (["{d}/a.vdi", "create=dynamic", "size=8M"],
     ["{d}/a.vdi", "exists", "create="]),
    (["{d}/text", "create=dynamic", "size=8M"], ["{d}/text", "exists"]),
]


def prepare():
    vdi.make(vditest.path("a.vdi"), size=8 * M, blocks={1: b"x"})
    vdi.make(vditest.path("b.vdi"), size=8 * M)
    vditest.write_file("text", b"This is no image.\n" * 100)
    vditest.write_file("m.vbox", b"<VirtualBox/>")


def test_messages():
    prepare()
    d = vditest.path().rstrip("/")
    before = sorted(os.listdir(d))
    failures = []
    with vditest.unchanged(*[os.path.join(d, f) for f in before]):
        for params, wanted in TABLE:
            params = [p.replace("{d}", d) for p in params]
            out = vditest.serve_fails(None, *params)
            # (A value of 256 letters would be no help.)
            problems = ["not said: " + w for w in wanted
                        if w.replace("{d}", d) not in out]
            if len([line for line in out.splitlines() if line]) != 1:
                problems.append("not one line")
            if "nbdkit: error: " not in out:
                problems.append("not an error")
            if problems:
                failures.append("%s\n  %s\n  %s" % (
                    " ".join(params), "; ".join(problems), out))
            if sorted(os.listdir(d)) != before:
                failures.append("%s\n made or removed a file" % params)
                before = sorted(os.listdir(d))
    assert not failures, "\n".join(failures)


def test_other_formats():
    """What people take for a disk."""
    raw = vditest.write_file("raw", os.urandom(70000))
    disk = vdi.make(vditest.path("disk.vdi"), size=2 * M)
    data = vditest.read_file(disk)
    for name, mode in [("a.ova", "w"), ("a.box", "w:gz")]:
        with tarfile.open(vditest.path(name), mode) as tar:
            tar.add(disk, "disk.vdi")
    with zipfile.ZipFile(vditest.path("a.zip"), "w") as z:
        z.write(disk, "disk.vdi")
    vditest.write_file("a.bz2", bz2.compress(data))
    vditest.write_file("a.xz", lzma.compress(data))
    made = [("a.ova", "tar archive", "tar xf"), ("a.box", ".box", "tar xzf"),
            ("a.zip", "ZIP", "unzip"), ("a.bz2", "bzip2", "bzip2 -d"),
            ("a.xz", "xz", "xz -d")]
    for fmt, kind in [("vmdk", None), ("vpc", "dynamic"), ("vpc", "fixed"),
                      ("vhdx", None), ("qcow", None), ("qcow2", None),
                      ("qed", None), ("parallels", None)]:
        name = vditest.path("a.%s.%s" % (fmt, kind))
        options = ["-o", "subformat=" + kind] if kind else []
        vditest.qemu_img("convert", "-f", "raw", "-O", fmt, *options, raw,
                         name)
        made.append((name, "image", "qemu-nbd -f %s\n" % fmt))
    # For these the programs are not everywhere.
    for name, offset, magic, hint in [
            ("a.lz", 0, b"LZIP\1", "lzip -d"),
            ("a.7z", 0, b"7z\xbc\xaf\x27\x1c", "7z x"),
            ("a.rar", 0, b"Rar!\x1a\x07", "unrar x"),
            ("a.zst", 0, b"\x28\xb5\x2f\xfd", "zstd -d"),
            ("a.iso", 32769, b"CD001", "nbdkit file"),
            ("a.dmg", 70000 - 512, b"koly", "qemu-nbd -f dmg")]:
        data = bytearray(70000)
        data[offset:offset + len(magic)] = magic
        made.append((vditest.write_file(name, bytes(data)), "", hint))
    for name, what, hint in made:
        name = vditest.path(name)
        with vditest.unchanged(name):
            out = vditest.serve_fails(name, readonly=True)
        assert what in out and hint in out and name in out, out


def test_a_parameter_may_come_in_any_order():
    new = vditest.path("new.vdi")
    with vditest.serve(None, "size=8M", "create=dynamic", "file=" + new) as s:
        assert s.connect().get_size() == 8 * M


def test_dump_plugin():
    """It is about the plugin: no file is needed, looked into or made."""
    prepare()
    for params in [["file=" + vditest.path("none.vdi")],
                   ["file=" + vditest.path("a.vdi")],
                   ["file=" + vditest.path("text")],
                   ["file=" + vditest.path("new.vdi"), "create=dynamic",
                    "size=8M"]]:
        with vditest.unchanged(vditest.path("a.vdi")):
            out = vditest.run("nbdkit", "vdi", "--dump-plugin", *params)
        assert "vdi_write=yes" in out.splitlines(), out
        assert not os.path.exists(vditest.path("none.vdi"))
        assert not os.path.exists(vditest.path("new.vdi"))
    out = vditest.run("nbdkit", "vdi", "--dump-plugin", "lock=foo", status=1)
    assert len(out.splitlines()) == 1, out


def test_relative_names():
    """Names are those of the directory in which nbdkit was started, also
    for a server that changes its directory."""
    prepare()
    p = vditest.path
    vdi.child(p("c.vdi"), p("a.vdi"))
    os.mkdir(p("elsewhere"))
    os.rename(p("a.vdi"), p("elsewhere/a.vdi"))
    here = os.getcwd()
    os.chdir(p())
    try:
        for params in [["c.vdi", "parent=elsewhere/a.vdi"],
                       ["./c.vdi", "parent-dir=elsewhere"],
                       ["elsewhere/../c.vdi", "parent-dir=./elsewhere/."]]:
            out = vditest.run(
                "nbdkit", "-r", "-U", "-", "vdi", *params, "--run",
                'nbdsh -u "$uri" -c "print(h.pread(1, 2**20))"')
            assert "b'x'" in out or "bytearray(b'x')" in out, out
    finally:
        os.chdir(here)


vditest.main()
