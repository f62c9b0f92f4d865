#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Parents are found by their UUIDs wherever VirtualBox or people put them,
and what cannot be is refused with all that is needed to do something."""

import os
import shutil
import uuid

import vdi
import vditest
from vditest import M

A = ["chain-a-base", "chain-a-diff1", "chain-a-diff2"]


def lay_out(*places):
    """Unpack chain A, base first, each under a name in the test's
    directory; return the names."""
    result = []
    for name, place in zip(A, places):
        to = vditest.path(place)
        os.makedirs(os.path.dirname(to), exist_ok=True)
        os.rename(vditest.fixture(name + ".vdi"), to)
        result.append(to)
    return result


def check(s, name="chain-a-diff2"):
    _, size, digest = vditest.manifest()[name]
    assert vditest.sha256_export(s.connect(), size) == digest


def warnings_of(s):
    return [line for line in s.log().splitlines() if "warning" in line]


def test_places():
    layouts = [
        # Beside each other; the one above; Snapshots; both.
        ("1/base.vdi", "1/a.vdi", "1/b.vdi"),
        ("2/base.vdi", "2/Snapshots/a.vdi", "2/Snapshots/b.vdi"),
        ("3/Snapshots/base.vdi", "3/Snapshots/a.vdi", "3/b.vdi"),
        ("4/base.vdi", "4/Snapshots/a.vdi", "4/b.vdi"),
        # Names mean nothing.
        ("5/zz", "5/x.vdi.bak", "5/b.vdi"),
    ]
    for layout in layouts:
        files = lay_out(*layout)
        with vditest.unchanged(*files):
            with vditest.serve(files[-1], readonly=True) as s:
                check(s)


def test_parent_dirs():
    files = lay_out("one/base.vdi", "two/a.vdi", "three/x/b.vdi")
    dirs = ["parent-dir=" + vditest.path(d)
            for d in ("one", "missing", "two")]
    with vditest.serve(files[-1], *dirs, readonly=True) as s:
        check(s)
    out = vditest.serve_fails(files[-1], *dirs[:2], readonly=True)
    for words in [files[-1], str(vdi.Image(files[1]).uuid_image),
                  vditest.path("three"), vditest.path("three/x"),
                  vditest.path("three/x/Snapshots"), vditest.path("one"),
                  vditest.path("missing") + " (No such file or directory)",
                  "parent=FILE", "parent-dir=DIR"]:
        assert words in out, "%s is not in: %s" % (words, out)
    # The nearest parent is given, the other one is looked for from there.
    os.rename(files[0], vditest.path("two/base.vdi"))
    with vditest.serve(files[-1], "parent=" + files[1], readonly=True) as s:
        check(s)


def test_missing_middle():
    """It is the child next to the gap that is named."""
    files = lay_out("vm/base.vdi", "vm/a.vdi", "vm/b.vdi")
    wanted = vdi.Image(files[0]).uuid_image
    os.unlink(files[0])
    out = vditest.serve_fails(files[-1], readonly=True)
    assert files[1] + ": its parent" in out and str(wanted) in out, out


def test_link():
    files = lay_out("vm/base.vdi", "vm/Snapshots/a.vdi",
                    "vm/Snapshots/b.vdi")
    os.symlink(files[-1], vditest.path("disk.vdi"))
    with vditest.serve(vditest.path("disk.vdi"), readonly=True) as s:
        check(s)
    # A second name of the same file is not a second file.
    os.link(files[0], vditest.path("vm/also.vdi"))
    os.symlink(files[0], vditest.path("vm/Snapshots/too.vdi"))
    with vditest.serve(files[-1], readonly=True) as s:
        check(s)


def test_twins_alike():
    """A copy of the base that nobody has written to since: either will do,
    and somebody has to tidy up."""
    files = lay_out("vm/base.vdi", "vm/Snapshots/a.vdi",
                    "vm/Snapshots/b.vdi")
    copy = vditest.path("vm/Snapshots/copy of base.vdi")
    shutil.copy(files[0], copy)
    with vditest.serve(files[-1], readonly=True) as s:
        check(s)
        warnings = warnings_of(s)
    # That beside the child is the nearest one.
    assert len(warnings) == 1, warnings
    for words in [files[0], "took " + copy, "looks the same", "parent=FILE"]:
        assert words in warnings[0], "%s is not in: %s" % (words, warnings)
    with vditest.serve(files[-1], "parent=" + files[1],
                       "parent=" + files[0], readonly=True) as s:
        check(s)
        assert "warning" not in s.log(), s.log()


def test_twin_is_old():
    """A backup kept beside the original: the child knows which state it
    was made of, whatever the names."""
    base = vdi.make(vditest.path("base.vdi"), size=M, blocks={0: b"old"})
    old = vditest.path("base-old.vdi")
    shutil.copy(base, old)
    with vditest.serve(base) as s:
        s.connect().pwrite(b"new", 0)
    new = vditest.path("child.vdi")
    with vditest.serve(new, "create=diff", "parent=" + base) as s:
        # Told now, rather than when it is in the way.
        warnings = warnings_of(s)
        assert len(warnings) == 1 and old in warnings[0], s.log()
        assert base in warnings[0] and "parent=" in warnings[0], s.log()
        s.connect().pwrite(b"child", 512)
    with vditest.unchanged(base, old):
        with vditest.serve(new) as s:
            h = s.connect()
            assert bytes(h.pread(3, 0)) == b"new"
            assert bytes(h.pread(5, 512)) == b"child"
            h.pwrite(b"!", 517)
            warnings = warnings_of(s)
    assert len(warnings) == 1, warnings
    assert "took " + base in warnings[0] and old in warnings[0], warnings
    # The other way round.
    os.rename(base, vditest.path("x"))
    os.rename(old, base)
    os.rename(vditest.path("x"), old)
    with vditest.serve(new, readonly=True) as s:
        assert bytes(s.connect().pread(3, 0)) == b"new"
        assert "took " + old in s.log(), s.log()


def test_twins_that_cannot_be_told_apart():
    base = vdi.make(vditest.path("base.vdi"), size=M, blocks={0: b"1"})
    copy = vditest.path("copy.vdi")
    child = vdi.child(vditest.path("child.vdi"), base)
    # Both have been written to since.
    shutil.copy(base, copy)
    for f in base, copy:
        vdi.patch(f, uuid_mod=uuid.uuid4())
    out = vditest.serve_fails(child, readonly=True)
    for words in [child, base, copy, "twice", "neither", "parent=FILE"]:
        assert words in out, "%s is not in: %s" % (words, out)
    # Both say that they are what is wanted, and yet they differ.
    vdi.patch(child, uuid_parent_mod=vdi.Image(base).uuid_mod)
    shutil.copy(base, copy)
    vdi.resize_file(copy, by=M)
    out = vditest.serve_fails(child, readonly=True)
    for words in [child, base, copy, "different", "parent=FILE"]:
        assert words in out, "%s is not in: %s" % (words, out)
    with vditest.serve(child, "parent=" + copy, readonly=True) as s:
        assert bytes(s.connect().pread(1, 0)) == b"1"


def test_among_many_files():
    """The parent is one folder above thousands of other files."""
    os.makedirs(vditest.path("vm/data"))
    for i in range(12000):
        vditest.write_file("vm/data/%05d" % i, b"")
    base = vdi.make(vditest.path("vm/base.vdi"), size=M, blocks={0: b"1"})
    child = vdi.child(vditest.path("vm/data/child.vdi"), base)
    with vditest.serve(child, readonly=True) as s:
        assert bytes(s.connect().pread(1, 0)) == b"1"
        assert "warning" not in s.log(), s.log()
    # Even if its name is no help, but then there is a limit somewhere.
    os.rename(base, vditest.path("vm/base"))
    out = vditest.serve_fails(child, readonly=True)
    assert "only 10000 were looked at" in out, out


def test_bystanders():
    """FIFOs would be waited for, devices have no end, the rest is no
    image."""
    files = lay_out("vm/base.vdi", "vm/Snapshots/a.vdi",
                    "vm/Snapshots/b.vdi")
    os.mkfifo(vditest.path("vm/Snapshots/fifo.vdi"))
    os.symlink("/dev/zero", vditest.path("vm/Snapshots/zero.vdi"))
    os.symlink("nowhere", vditest.path("vm/Snapshots/broken.vdi"))
    os.mkdir(vditest.path("vm/Snapshots/dir.vdi"))
    for name in "cut", "text", "empty":
        with open(vditest.path("vm/Snapshots/%s.vdi" % name), "wb") as f:
            f.write({"cut": vditest.read_file(files[0])[:200],
                     "text": b"hello", "empty": b""}[name])
    with vditest.serve(files[-1], readonly=True) as s:
        check(s)


def make_chain(length):
    """Tiny images on top of each other; return the names, base first."""
    files = [vdi.make(vditest.path("0.vdi"), size=M,
                      blocks={0: b"the base"})]
    for i in range(1, length):
        files.append(vdi.child(vditest.path("%d.vdi" % i), files[-1]))
    return files


def test_cycle():
    files = make_chain(3)
    vdi.patch(files[0], type=vdi.DIFF,
              uuid_parent=vdi.Image(files[2]).uuid_image)
    for f in files:
        out = vditest.serve_fails(f, readonly=True)
        assert "parent" in out and "cannot be" in out, out


def test_self_parent():
    base = vdi.make(vditest.path("a.vdi"), size=M)
    vdi.patch(base, uuid_parent=vdi.Image(base).uuid_image)
    for params in [], ["parent=" + base]:
        out = vditest.serve_fails(base, *params, readonly=True)
        assert "the image itself" in out, out


def test_depth():
    """300 links, as VirtualBox allows, and not one more."""
    files = make_chain(302)
    with vditest.serve(files[300], readonly=True) as s:
        assert bytes(s.connect().pread(8, 0)) == b"the base"
    out = vditest.serve_fails(files[301], readonly=True)
    assert "300" in out and files[301] in out, out


def test_parent_was_changed():
    """VirtualBox does not mind, and leaves such images behind when
    it merges snapshots: served, with a warning."""
    files = lay_out("vm/base.vdi", "vm/a.vdi", "vm/b.vdi")
    with vditest.serve(files[-1], readonly=True) as s:
        check(s)
        assert "warning" not in s.log(), s.log()
    new = uuid.uuid4()
    vdi.patch(files[0], uuid_mod=new)
    with vditest.serve(files[-1], readonly=True) as s:
        check(s)
        log = s.log()
    assert "warning" in log and str(new) in log, log
    assert files[0] in log and files[1] in log, log


def test_older_state():
    """Whoever reads an image that others stand on may want the newest."""
    files = lay_out("vm/base.vdi", "vm/Snapshots/a.vdi",
                    "vm/Snapshots/b.vdi")
    for f in files[:2]:
        with vditest.serve(f, readonly=True) as s:
            warnings = warnings_of(s)
            assert len(warnings) == 1, s.log()
            assert f in warnings[0] and files[2] in warnings[0], s.log()
            s.connect()
            assert warnings_of(s) == warnings, s.log()
    with vditest.serve(files[2], readonly=True) as s:
        check(s)
        assert "warning" not in s.log(), s.log()
    # A second branch, and a machine that knows the snapshot's name.
    branch = vdi.child(vditest.path("vm/Snapshots/c\n.vdi"), files[0])
    write_vbox(vdi.Image(files[0]).uuid_image, snapshot=True)
    with vditest.serve(files[0], readonly=True) as s:
        assert len(warnings_of(s)) == 1, s.log()
        for words in [files[2], branch.replace("\n", "?"),
                      '"before \N{SNOWMAN}"']:
            assert words in s.log(), s.log()
        assert files[1] not in s.log(), s.log()


def write_vbox(base, snapshot=False):
    """A machine with an image of that UUID, and a child far away."""
    with open(vditest.path("vm/m.vbox"), "w", encoding="utf-8") as f:
        f.write("<VirtualBox><Machine name='m'><MediaRegistry><HardDisks>"
                "<HardDisk uuid='{%s}' location='base.vdi'>"
                "<HardDisk uuid='{%s}' location='../far/away.vdi'/></HardDisk>"
                "</HardDisks></MediaRegistry>" % (base, uuid.uuid4()))
        if snapshot:
            f.write("<Snapshot uuid='{%s}' name='before \N{SNOWMAN}'>"
                    "<StorageControllers><StorageController name='SATA'>"
                    "<AttachedDevice type='HardDisk' port='0' device='0'>"
                    "<Image uuid='{%s}'/></AttachedDevice>"
                    "</StorageController></StorageControllers></Snapshot>" % (
                        uuid.uuid4(), base))
        f.write("</Machine></VirtualBox>")


def test_writing_to_a_parent():
    """Said when it may happen: not to readers, nor without children."""
    files = lay_out("vm/base.vdi", "vm/Snapshots/a.vdi",
                    "vm/Snapshots/b.vdi")
    for f, child in (files[0], files[1]), (files[1], files[2]):
        with vditest.serve(f) as s:
            assert not s.connect().is_read_only()
            assert "is the parent of " + child in s.log(), s.log()
        with vditest.serve(f, readonly=True) as s:
            s.connect()
            assert "is the parent of" not in s.log(), s.log()
    with vditest.serve(files[2]) as s:
        s.connect()
        assert "warning" not in s.log(), s.log()

    # The only one who knows may be the machine.
    os.unlink(files[2])
    os.mkdir(vditest.path("far"))
    os.rename(files[1], vditest.path("far/away.vdi"))
    write_vbox(vdi.Image(files[0]).uuid_image)
    with vditest.serve(files[0]) as s:
        s.connect()
        assert "../far/away.vdi" in s.log() and "m.vbox" in s.log(), s.log()


def test_larger_parent():
    """The base was resized, which the snapshots know nothing of."""
    base = vdi.make(vditest.path("base.vdi"), size=4 * M, blocks={0: b"1"})
    child = vdi.child(vditest.path("child.vdi"), base, size=2 * M)
    with vditest.serve(child, readonly=True) as s:
        assert s.connect().get_size() == 2 * M
        warnings = warnings_of(s)
    assert len(warnings) == 1, warnings
    for words in [base, child, str(4 * M), str(2 * M), "snapshots"]:
        assert words in warnings[0], "%s is not in: %s" % (words, warnings)


def test_stand_in():
    """The parent is gone for good: what the child holds can be had with an
    empty image in its place (the manual's recipe)."""
    base = vdi.make(vditest.path("base.vdi"), size=4 * M, blocks={0: b"1"})
    child = vdi.child(vditest.path("child.vdi"), base, blocks={2: b"mine"})
    wanted = str(vdi.Image(base).uuid_image)
    os.unlink(base)
    out = vditest.serve_fails(child, readonly=True)
    assert wanted in out and "Lost parents" in out, out
    vditest.run("nbdkit", "-U", "-", "vdi", vditest.path("stand-in.vdi"),
                "create=dynamic", "size=1M", "uuid=" + wanted,
                "--run", "true")
    with vditest.unchanged(child):
        with vditest.serve(child, readonly=True) as s:
            h = s.connect()
            assert h.get_size() == 4 * M
            data = bytes(h.pread(4 * M, 0))
    assert data[2 * M:2 * M + 4] == b"mine"
    assert not any(data[:2 * M]) and not any(data[2 * M + 4:])


def test_parent_check():
    """The parent's UUID was changed, so that nothing can prove that it is
    the right one: it can be insisted on, for reading."""
    base = vdi.make(vditest.path("base.vdi"), size=2 * M, blocks={0: b"1"})
    middle = vdi.child(vditest.path("middle.vdi"), base)
    top = vdi.child(vditest.path("top.vdi"), middle, blocks={1: b"2"})
    parents = ["parent=" + middle, "parent=" + base]
    size = "parent-check=size"

    # Nothing is different as long as all is right.
    with vditest.serve(top, *parents, size) as s:
        assert not s.connect().is_read_only()
        assert "warning" not in s.log(), s.log()

    vdi.patch(base, uuid_image=uuid.uuid4())
    out = vditest.serve_fails(top, readonly=True)
    assert base + " has the modification UUID" in out and size in out, out
    for params in parents, parents + ["parent-check=uuid"]:
        out = vditest.serve_fails(top, *params, readonly=True)
        assert base in out and "is not the parent" in out and size in out, out
    with vditest.unchanged(base, middle, top):
        for readonly in True, False:
            with vditest.serve(top, *parents, size, readonly=readonly) as s:
                warnings = warnings_of(s)
                assert len(warnings) == 1, s.log()
                assert base in warnings[0] and middle in warnings[0], s.log()
                assert "is the right one" in warnings[0], s.log()
                h = s.connect()
                assert h.is_read_only()
                assert bytes(h.pread(1, 0) + h.pread(1, M)) == b"12"
                last = warnings_of(s)[-1]
        assert "serving it read-only" in last and size in last, last
        assert base in last and top in last, last

    # All of them, even.
    vdi.patch(middle, uuid_image=uuid.uuid4(), uuid_mod=uuid.uuid4())
    with vditest.serve(top, *parents, size, readonly=True) as s:
        assert len(warnings_of(s)) == 2, s.log()
        assert bytes(s.connect().pread(1, 0)) == b"1"

    # What cannot be, all the same.
    larger = vdi.make(vditest.path("larger.vdi"), size=3 * M)
    out = vditest.serve_fails(top, parents[0], "parent=" + larger, size,
                              readonly=True)
    assert larger in out and str(3 * M) in out and str(2 * M) in out, out
    copy = vditest.path("copy.vdi")
    shutil.copy(top, copy)
    out = vditest.serve_fails(top, "parent=" + copy, size, readonly=True)
    assert copy in out and "same UUID" in out, out
    # Only those that are named are taken.
    out = vditest.serve_fails(top, parents[0], size, readonly=True)
    assert "was not found" in out, out


vditest.main()
