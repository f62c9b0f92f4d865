#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""machine=: the disks of a VirtualBox machine, now and at its snapshots."""

import errno
import json
import os
import uuid
from xml.sax.saxutils import quoteattr

import nbd

import vdi
import vditest
from vditest import M


def braces(u):
    return quoteattr("{%s}" % u)


def hard_disk(image, location, children="", **attributes):
    """An entry of the registry."""
    more = "".join(" %s=%s" % (k, quoteattr(v))
                   for k, v in attributes.items())
    return '<HardDisk uuid=%s location=%s format="VDI"%s>%s</HardDisk>' % (
        braces(image.uuid_image), quoteattr(location), more, children)


def attached(*images, controller="SATA"):
    return ('<Hardware><StorageControllers><StorageController name=%s '
            'type="AHCI" PortCount="8">%s</StorageController>'
            '</StorageControllers></Hardware>') % (
        quoteattr(controller), "".join(
            '<AttachedDevice type="HardDisk" port="%d" device="0">'
            '<Image uuid=%s/></AttachedDevice>' % (
                port, braces(image.uuid_image))
            for port, image in enumerate(images)))


def snapshot(name, *images, children="", **attributes):
    u = uuid.uuid4()
    more = "".join(" %s=%s" % (k, quoteattr(v))
                   for k, v in attributes.items())
    return u, ('<Snapshot uuid=%s name=%s '
               'timeStamp="2026-01-01T00:00:00Z"%s>%s%s</Snapshot>') % (
        braces(u), quoteattr(name), more, attached(*images),
        "<Snapshots>%s</Snapshots>" % children if children else "")


def write_vbox(registry, hardware, snapshots="", name="web", **attributes):
    more = "".join(" %s=%s" % (k, quoteattr(v))
                   for k, v in attributes.items())
    text = ('<?xml version="1.0"?>\n'
            '<VirtualBox xmlns="http://www.virtualbox.org/" '
            'version="1.19-linux"><Machine uuid=%s name=%s%s>'
            '<MediaRegistry><HardDisks>%s</HardDisks></MediaRegistry>'
            '%s%s</Machine></VirtualBox>') % (
        braces(uuid.uuid4()), quoteattr(name), more, registry, snapshots,
        hardware)
    return vditest.write_file("web.vbox", text.encode())


class Machine:
    """A machine with a disk, a snapshot of it in memory of which base.vdi
    is kept, and a second disk without."""

    def __init__(self, **attributes):
        p = vditest.path
        os.mkdir(p("Snapshots"))
        self.base = vdi.make(p("base.vdi"), size=4 * M,
                             blocks={0: b"old zero", 1: b"old one"})
        self.top = vdi.child(p("Snapshots/top.vdi"), self.base,
                             blocks={1: b"new one"})
        self.data = vdi.make(p("data.vdi"), size=2 * M,
                             blocks={1: b"data"}, **attributes.pop(
                                 "data", {}))
        base, top, data = [vdi.Image(f)
                           for f in (self.base, self.top, self.data)]
        self.snapshot, text = snapshot("before <upgrade> & co", base)
        self.vbox = write_vbox(
            hard_disk(base, "base.vdi",
                      hard_disk(top, "Snapshots/top.vdi"), type="Normal") +
            hard_disk(data, "data.vdi", type="Normal"),
            attached(top, data), text, **attributes)
        self.files = [self.base, self.top, self.data, self.vbox]

    def serve(self, *params, **kw):
        return vditest.serve(None, "machine=" + self.vbox, *params, **kw)

    def fails(self, *params):
        return vditest.serve_fails(None, "machine=" + self.vbox, *params)


def warnings(s):
    return [line for line in s.log().splitlines() if "warning" in line]


def description(s):
    h = s.new_handle()
    h.set_full_info(True)
    h.connect_unix(s.socket)
    return h.get_export_description()


def test_current_state():
    m = Machine()
    with vditest.unchanged(m.base, m.data, m.vbox):
        with m.serve("disk=0") as s:
            h = s.connect()
            assert not h.is_read_only()
            assert h.get_size() == 4 * M
            assert bytes(h.pread(8, 0)) == b"old zero"
            assert bytes(h.pread(7, M)) == b"new one"
            h.pwrite(b"NEW", 0)
            h.flush()
            text = description(s)
            assert warnings(s) == [], s.log()
    for words in ["machine web", "current state", "SATA", "differencing",
                  "chain of 2 images", str(vdi.Image(m.top).uuid_image)]:
        assert words in text, text
    data = vdi.Image(m.top).read(vdi.Image(m.base))
    assert data[:8] == b"NEW zero" and vdi.Image(m.top).problems() == []


def test_which_disk():
    m = Machine()
    with vditest.unchanged(*m.files):
        # The first, but it is said that there is another.
        with m.serve(readonly=True) as s:
            assert s.connect().get_size() == 4 * M
            assert len(warnings(s)) == 1 and "disk=" in warnings(s)[0]
        for disk in ["1", "SATA:1", "SATA:1:0"]:
            with m.serve("disk=" + disk, readonly=True) as s:
                h = s.connect()
                assert h.get_size() == 2 * M
                assert bytes(h.pread(4, M)) == b"data"
        for disk in ["2", "SATA:2", "IDE:0", "", "-1", "SATA", "1x"]:
            out = m.fails("disk=" + disk)
            assert m.vbox in out and "SATA:1:0" in out, out
            assert len(out.splitlines()) == 1, out


def test_snapshot():
    """By name or UUID; read-only, whatever the client wants."""
    m = Machine()
    with vditest.unchanged(*m.files):
        for which in ["before <upgrade> & co", str(m.snapshot),
                      "{%s}" % str(m.snapshot).upper()]:
            with m.serve("snapshot=" + which) as s:
                for _ in range(2):
                    h = s.connect()
                    assert h.is_read_only()
                    assert bytes(h.pread(7, M)) == b"old one"
                text = description(s)
                assert "snapshot before <upgrade> & co" in text, text
                assert len(warnings(s)) == 1, s.log()
                assert "read-only" in warnings(s)[0], s.log()
                assert m.base in warnings(s)[0], s.log()
            # Who only wants to read need not be warned.
            with m.serve("snapshot=" + which, readonly=True) as s:
                s.connect()
                assert warnings(s) == [], s.log()
        out = m.fails("snapshot=nonsense")
        assert "nonsense" in out and "before <upgrade> & co" in out, out


def test_snapshots_of_one_name():
    base = vdi.Image(vdi.make(vditest.path("base.vdi")))
    u2, inner = snapshot("same", base)
    u1, outer = snapshot("same", base, children=inner)
    vbox = write_vbox(hard_disk(base, "base.vdi"), attached(base), outer)
    out = vditest.serve_fails(None, "machine=" + vbox, "snapshot=same")
    assert str(u1) in out and str(u2) in out, out


def test_saved_machine():
    """It will go on with the disk as it was."""
    m = Machine(stateFile="Snapshots/2026.sav")
    with vditest.unchanged(*m.files):
        with m.serve("disk=1") as s:
            h = s.connect()
            assert h.is_read_only()
            assert any("saved" in line for line in warnings(s)), s.log()
            assert any("read-only" in line for line in warnings(s)), s.log()


def test_immutable():
    base = vdi.Image(vdi.make(vditest.path("base.vdi")))
    vbox = write_vbox(hard_disk(base, "base.vdi", type="Immutable"),
                      attached(base))
    with vditest.unchanged(base.filename, vbox):
        with vditest.serve(None, "machine=" + vbox) as s:
            h = s.connect()
            assert h.is_read_only()
            with vditest.raises(errno.EPERM):
                h.set_strict_mode(0)
                h.pwrite(b"x", 0)
            assert "Immutable" in s.log(), s.log()


def test_parent_elsewhere():
    """The registry knows where no search would look."""
    p = vditest.path
    os.makedirs(p("far/away"))
    base = vdi.make(p("far/away/base.vdi"), blocks={3: b"three"})
    os.makedirs(p("near/by"))
    top = vdi.child(p("near/by/top.vdi"), base)
    vbox = write_vbox(
        hard_disk(vdi.Image(base), "far/away/base.vdi",
                  hard_disk(vdi.Image(top), p("near/by/top.vdi"))),
        attached(vdi.Image(top)))
    assert "parent" in vditest.serve_fails(top)
    with vditest.serve(None, "machine=" + vbox, readonly=True) as s:
        assert bytes(s.connect().pread(5, 3 * M)) == b"three"


def test_parent_moved():
    """Neither where the registry says nor in a usual place."""
    p = vditest.path
    m = Machine()
    os.mkdir(p("attic"))
    os.rename(m.base, p("attic/base.vdi"))
    out = m.fails("disk=0")
    assert str(vdi.Image(m.top).uuid_parent) in out, out
    for params in [["parent-dir=" + p("attic")],
                   ["parent=" + p("attic/base.vdi")]]:
        with m.serve("disk=0", *params, readonly=True) as s:
            assert bytes(s.connect().pread(8, 0)) == b"old zero"


def test_another_image_in_its_place():
    """The wrong data would be worse than none."""
    m = Machine()
    wanted = vdi.Image(m.data).uuid_image
    vdi.patch(m.data, uuid_image=uuid.uuid4())
    with vditest.unchanged(*m.files):
        out = m.fails("disk=1")
    assert str(wanted) in out, out


def test_moved_to_parent_dir():
    """The machine's folder is on one disk, its images are on another."""
    m = Machine()
    os.mkdir(vditest.path("mnt"))
    for f in [m.base, m.top, m.data]:
        os.rename(f, vditest.path("mnt/" + os.path.basename(f)))
    out = m.fails("disk=0")
    assert "was not found" in out and "parent-dir=" in out, out
    with m.serve("disk=0", "parent-dir=" + vditest.path("mnt")) as s:
        h = s.connect()
        assert bytes(h.pread(8, 0)) == b"old zero"
        assert bytes(h.pread(7, M)) == b"new one"
        assert not h.is_read_only()


def test_snapshot_since():
    """Nobody was connected when VirtualBox took a snapshot: what is served
    is the parent of the machine's disk now."""
    m = Machine()
    with m.serve("disk=0") as s:
        newest = vdi.child(vditest.path("Snapshots/newest.vdi"), m.top)
        base, top, new, data = [vdi.Image(f) for f in
                                (m.base, m.top, newest, m.data)]
        text = snapshot("now", top)[1]
        write_vbox(
            hard_disk(base, "base.vdi", hard_disk(
                top, "Snapshots/top.vdi",
                hard_disk(new, "Snapshots/newest.vdi"))) +
            hard_disk(data, "data.vdi"), attached(new, data), text)
        with vditest.unchanged(m.base, m.top, newest):
            h = s.connect()
            assert h.is_read_only()
            assert bytes(h.pread(7, M)) == b"new one"
            assert "after a snapshot" in warnings(s)[-1], s.log()


def test_machine_file_gone_since():
    """Nobody writes to a disk of which it is not known whose it is."""
    m = Machine()
    with m.serve("disk=0") as s:
        os.rename(m.vbox, m.vbox + "-prev")
        refused = False
        try:
            s.connect()
        except nbd.Error:
            refused = True
        assert refused and "machine='%s-prev'" % m.vbox in s.log(), s.log()
        # It was only being written, for example.
        os.rename(m.vbox + "-prev", m.vbox)
        assert not s.connect().is_read_only()


def test_after_a_crash():
    """What VirtualBox keeps of its settings can be used in their place."""
    m = Machine()
    os.rename(m.vbox, m.vbox + "-prev")
    vditest.write_file("web.vbox", bytes(8192))
    out = m.fails("disk=0")
    assert "8192 bytes of zeros" in out, out
    assert "machine='%s-prev'" % m.vbox in out, out
    # It may know nothing of the newest snapshot, so that nobody may write.
    with vditest.unchanged(*[f for f in m.files if f != m.vbox]):
        with vditest.serve(None, "machine=%s-prev" % m.vbox, "disk=0") as s:
            h = s.connect()
            assert bytes(h.pread(7, M)) == b"new one"
            assert h.is_read_only()
            assert "may be older" in warnings(s)[-1], s.log()
    os.rename(m.vbox + "-prev", m.vbox)
    with m.serve("disk=0") as s:
        assert not s.connect().is_read_only()


def test_cut_anywhere():
    """Also within a tag, a value or a character."""
    m = Machine(comment="Gr\u00f6\u00dfe")
    whole = vditest.read_file(m.vbox)
    places = [whole.index(b"\xc3") + 1, whole.index(b"<Snapshot ") + 12,
              whole.index(b"location=") + 15, len(whole) // 2,
              len(whole) - 1]
    for n in places:
        vditest.write_file("web.vbox", whole[:n])
        out = m.fails("disk=0")
        assert "ends too early, after %d bytes" % n in out, out
    vditest.write_file("web.vbox", bytes(64) + whole[64:])
    out = m.fails("disk=0")
    assert "zeros instead of text from byte 0 on" in out, out


def test_directory():
    m = Machine()
    out = vditest.serve_fails(None, "machine=" + os.path.dirname(m.vbox))
    assert "but a directory: name the .vbox file in it" in out, out


def test_encrypted_machine():
    m = Machine()
    vditest.write_file(
        "web.vbox", b'<?xml version="1.0"?>\n<VirtualBox '
        b'xmlns="http://www.virtualbox.org/" version="1.19-linux">'
        b'<MachineEncrypted uuid="{%s}"/></VirtualBox>'
        % str(uuid.uuid4()).encode())
    out = m.fails()
    for words in ["encrypted as a whole", "file=", "cipher text"]:
        assert words in out, out


def test_blanks_without_quotes():
    m = Machine()
    for words in [["upgrade"], ["the", "upgrade"]]:
        out = m.fails("snapshot=before", *words)
        assert words[0] in out and words[-1] in out, out
        assert "quotes" in out, out


def test_not_a_machine():
    m = Machine()
    for text in [b"", b"<VirtualBox", b"<html/>", b"\0" * 1000,
                 b"<VirtualBox/>", b"<VirtualBox><Machine/></VirtualBox>"]:
        vbox = vditest.write_file("bad.vbox", text)
        out = vditest.serve_fails(None, "machine=" + vbox)
        assert vbox in out and len(out.splitlines()) == 1, (text, out)
    out = vditest.serve_fails(None, "machine=" + m.vbox + "/x")
    assert "Not a directory" in out, out


def test_names_that_are_no_help():
    """A name may be long, and cut where it is not to be cut."""
    image = vdi.make(vditest.path("a.vdi"))
    for name in ["é" * 150 + "x", "x" + "é" * 150, "€" * 400, "a\tb\u0085c"]:
        vbox = write_vbox(hard_disk(vdi.Image(image), "a.vdi"),
                          attached(vdi.Image(image)), name=name)
        with vditest.serve(None, "machine=" + vbox, readonly=True) as s:
            # Decoded strictly.
            info = json.loads(vditest.run("nbdinfo", "--json", s.uri))
        assert "blocks of 1 MiB" in info["exports"][0]["description"]


def test_many_missing_ancestors():
    """The files beside a machine are read once, not once for each of its
    images that is not there."""
    missing, others = 100, 300
    # What the registry says of its parents is not so.
    top = vdi.Image(vdi.make(vditest.path("top.vdi"), size=M))
    for i in range(others):
        vdi.make(vditest.path("other-%d.vdi" % i), size=M)
    vbox = write_vbox("".join(
        '<HardDisk uuid=%s location="%d.vdi" format="VDI">' % (
            braces(uuid.uuid4()), i) for i in range(missing)) +
        hard_disk(top, "top.vdi") + "</HardDisk>" * missing, attached(top))
    with vditest.serve(None, "machine=" + vbox, readonly=True) as s:
        try:
            with open("/proc/%d/io" % s.pid) as f:
                counts = dict(line.split(": ") for line in f)
        except FileNotFoundError:
            vditest.skip("the kernel does not count reads")
    assert others < int(counts["syscr"]) < 10 * others, counts


vditest.main()
