#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What clients are told about the disk, and what people are told with
debug flags."""

import json
import os

import vdi
import vditest
from vditest import K, M


def nbdinfo(s, *args):
    vditest.requires("nbdinfo")
    return json.loads(vditest.run("nbdinfo", "--json", *args, s.uri))


def description(filename, *params, **kw):
    kw.setdefault("readonly", True)
    with vditest.serve(filename, *params, **kw) as s:
        return nbdinfo(s)["exports"][0]["description"]


def test_flags():
    image = vdi.make(vditest.path("a.vdi"), size=8 * M)
    for readonly in [False, True]:
        with vditest.serve(image, readonly=readonly) as s:
            info = nbdinfo(s)["exports"][0]
        assert info["export-size"] == 8 * M
        assert info["is_read_only"] == readonly
        assert info["is_rotational"] is False
        assert info["can_multi_conn"] is True
        assert info["can_cache"] is True
        assert info["can_df"] is True
        for flag in ["fua", "fast_zero", "trim", "zero"]:
            assert info["can_" + flag] is not readonly, flag
        assert info["can_flush"] is True
        assert info["block_size_minimum"] == 1
        assert info["block_size_preferred"] == 4096
        assert info["block_size_maximum"] == 2**32 - 1
        assert info["contexts"] == ["base:allocation"]


def test_descriptions():
    image = vdi.make(vditest.path("a.vdi"), size=8 * M + 512,
                     blocks={1: b"x", 3: b"y"})
    assert description(image) == \
        "VirtualBox disk image, dynamically allocated, " \
        "2 of 9 blocks of 1 MiB allocated, UUID %s" % \
        vdi.Image(image).uuid_image
    fixed = vdi.make(vditest.path("f.vdi"), size=2 * M, type=vdi.FIXED,
                     block_size=512 * K)
    assert "fixed size, 4 of 4 blocks of 512 KiB" in description(fixed)
    tiny = vdi.make(vditest.path("t.vdi"), size=2 * K, block_size=512)
    assert "0 of 4 blocks of 512 bytes" in description(tiny)
    child = vdi.child(vditest.path("c.vdi"), image)
    text = description(child)
    assert "differencing, 0 of 9 blocks" in text, text
    assert "chain of 2 images" in text, text
    vdi.set_entry(image, 1, 1000)
    assert ", damaged" in description(image)


def test_new_virtualbox():
    """It no longer opens all sizes of blocks.  With -v the log says all that
    the description does."""
    for block_size, old in [(512, True), (64 * K, True), (128 * K, False),
                            (128 * M, False), (256 * M, True)]:
        image = vdi.make(vditest.path("b.vdi"), size=M, block_size=block_size)
        with vditest.serve(image, readonly=True, verbose=True) as s:
            text = nbdinfo(s)["exports"][0]["description"]
            assert (", not for VirtualBox from September 2026 on" in text) \
                == old, text
            assert "debug: " + text in s.log(), s.log()
        os.unlink(image)


def test_comment():
    """Comments may be anything at all, descriptions must be UTF-8."""
    image = vdi.make(vditest.path("a.vdi"), comment="Prüfstand: nicht löschen")
    assert "Prüfstand: nicht löschen" in description(image)
    for comment, shown in [
            (b"\xff\xfe", "??"), (b"\xc3", "?"), (b"caf\xe9", "caf?"),
            (b"\xed\xa0\x80", "???"), (b"\xc0\xaf", "??"),
            (b"\xe2\x82", "??"), (b"\xf4\x90\x80\x80", "????"),
            (b"\xe0\x9f\xbf", "???"), (b"\xf8\x88\x80\x80\x80", "?????"),
            (b"\xe2\x82\xac", "\u20ac"), (b"\xf0\x9f\x92\xbe", "\U0001f4be"),
            (b"\xc2\x9b31m", "??31m"),
            (b"a\x1b[31mb\nc\x7f", "a?[31mb?c?")]:
        vdi.patch(image, comment=comment)
        text = description(image)
        assert text.endswith(", comment: " + shown), (comment, text)
    # The field need not end.
    vdi.patch(image, comment=256 * b"x")
    assert description(image).endswith(", comment: " + 255 * "x")
    vdi.patch(image, comment=b"")
    assert "comment" not in description(image)


def test_description_follows_the_disk():
    """Each new connection learns how many blocks there are now."""
    image = vdi.make(vditest.path("a.vdi"))
    with vditest.serve(image) as s:
        assert "0 of 8 blocks" in nbdinfo(s)["exports"][0]["description"]
        s.connect().pwrite(b"x" * 2 * M, 3 * M)
        assert "2 of 8 blocks" in nbdinfo(s)["exports"][0]["description"]


def test_list():
    image = vdi.make(vditest.path("a.vdi"))
    with vditest.serve(image, readonly=True) as s:
        exports = nbdinfo(s, "--list")["exports"]
        assert len(exports) == 1
        assert exports[0]["export-name"] == ""
        assert "VirtualBox disk image" in exports[0]["description"]


def test_odd_size():
    image = vdi.make(vditest.path("a.vdi"), size=3 * M + 100,
                     blocks={3: b"x" * 100})
    with vditest.serve(image, readonly=True) as s:
        h = s.connect()
        assert h.get_size() == 3 * M + 512
        assert bytes(h.pread(512, 3 * M)) == b"x" * 100 + bytes(412)


def debug_log(filename, *flags):
    """What the server says with -v while a client writes."""
    options = [o for f in flags for o in ("-D", f)]
    with vditest.serve(filename, options=options, verbose=True) as s:
        h = s.connect()
        h.pwrite(os.urandom(4096), 0)
        h.flush()
        s.stop()
        return [line for line in s.log().splitlines()
                if "debug: " in line]


def test_debug_flags():
    """Each flag shows lines that are not there without it, also when it
    is not the only one."""
    base = vdi.make(vditest.path("base.vdi"))
    image = vdi.child(vditest.path("a.vdi"), base)
    for flags in [[], ["chain"], ["commit"], ["chain", "commit"]]:
        log = debug_log(image, *["vdi.%s=1" % f for f in flags])
        for topic in ["chain", "commit"]:
            assert (topic in flags) == \
                any("debug: %s: " % topic in line for line in log), flags


def test_no_debug_without_v():
    image = vdi.make(vditest.path("a.vdi"))
    with vditest.serve(image, options=["-D", "vdi.commit=1"]) as s:
        h = s.connect()
        h.pwrite(b"x", 0)
        h.flush()
        s.stop()
        assert s.log() == "", s.log()


vditest.main()
