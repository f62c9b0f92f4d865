#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Somebody who may read the file but not write it gets what they can
have, and is told."""

import os
import shutil
import uuid

import vdi
import vditest
from vditest import M

PLUGIN = os.path.join(os.path.dirname(os.path.dirname(vditest.builddir)),
                      "plugin", ".libs", "nbdkit-vdi-plugin.so")


def serve_as_nobody(image, command, *options):
    """nbdkit --run, as a user who owns nothing.  What it needs is copied:
    where it was built need not be readable to them."""
    if os.geteuid() != 0:
        vditest.skip("needs root, to become somebody else")
    if vditest.sanitizer:
        vditest.skip("the sanitizer's library may not be readable to others")
    vditest.requires("setpriv", "nbdinfo")
    plugin = vditest.path("nbdkit-vdi-plugin.so")
    if not os.path.exists(plugin):
        shutil.copy(PLUGIN, plugin)
        os.chmod(plugin, 0o755)
    directory = vditest.path()
    while directory != os.path.dirname(os.environ["VDITEST_DIR"]):
        os.chmod(directory, 0o755)
        directory = os.path.dirname(directory)
    nbdkit = shutil.which("nbdkit", path="/usr/local/bin:/usr/bin:/usr/sbin")
    return vditest.run("setpriv", "--reuid=65534", "--regid=65534",
                       "--clear-groups", nbdkit, *options, "-U", "-", plugin,
                       image,
                       "--run", command)


def make(mode):
    image = vdi.make(vditest.path("a.vdi"), size=4 * M, blocks={0: b"x"})
    os.chmod(image, mode)
    return image


def test_readable():
    image = make(0o444)
    with vditest.unchanged(image):
        out = serve_as_nobody(
            image, 'nbdinfo --json "$uri"; nbdinfo --size "$uri"')
    assert '"is_read_only": true' in out, out
    # Said once, however many connections there are.
    warnings = [line for line in out.splitlines() if "warning" in line]
    assert len(warnings) == 1, out
    for word in ["read-only", image, "Permission denied"]:
        assert word in warnings[0], out


def test_seen_at_the_start():
    """Before there is a client, for those who debug: with -r, of which the
    plugin does not know yet, nobody else wants to hear it."""
    options = ["-v", "-D", "vdi.chain=1"]
    words = "a.vdi: cannot be written to: Permission denied"
    assert words in serve_as_nobody(make(0o444), "true", *options)
    os.chmod(vditest.path("a.vdi"), 0o666)
    assert words not in serve_as_nobody(vditest.path("a.vdi"), "true",
                                        *options)


def test_writable():
    """So it was not for another reason."""
    image = make(0o666)
    out = serve_as_nobody(image, 'nbdinfo --json "$uri"')
    assert '"is_read_only": false' in out and "warning" not in out, out


def test_unreadable():
    image = make(0o600)
    nobody = None
    try:
        nobody = serve_as_nobody(image, "true")
    except AssertionError as e:
        assert image in str(e) and "Permission denied" in str(e), e
    assert nobody is None, "was served"


def test_unreadable_parent():
    """An old copy of the parent is found, but the real one is there, too:
    said, not passed over."""
    base = vdi.make(vditest.path("base.vdi"), size=M, blocks={0: b"new"})
    child = vdi.child(vditest.path("child.vdi"), base)
    copy = vditest.path("copy.vdi")
    os.chmod(child, 0o644)
    os.chmod(base, 0)
    try:
        out = serve_as_nobody(child, "true")
    except AssertionError as e:
        out = str(e)
    assert "1 file could not be read" in out and base in out, out
    assert "Permission denied" in out and "was not found" in out, out

    shutil.copy(base, copy)
    vdi.patch(copy, uuid_mod=uuid.uuid4())
    os.chmod(copy, 0o644)
    out = serve_as_nobody(child, "true")
    assert "took " + copy in out and "may be one that was not read" in out, out
    assert base + ": Permission denied" in out, out


def test_unreadable_image_of_a_machine():
    disk = vdi.make(vditest.path("disk.vdi"), size=M)
    vbox = vditest.write_file("m.vbox", (
        "<VirtualBox><Machine name='m'><MediaRegistry><HardDisks>"
        "<HardDisk uuid='{%(uuid)s}' location='disk.vdi'/>"
        "</HardDisks></MediaRegistry><StorageControllers>"
        "<StorageController name='SATA'>"
        "<AttachedDevice type='HardDisk' port='0' device='0'>"
        "<Image uuid='{%(uuid)s}'/></AttachedDevice></StorageController>"
        "</StorageControllers></Machine></VirtualBox>" % {
            "uuid": vdi.Image(disk).uuid_image}).encode())
    os.chmod(vbox, 0o644)
    os.chmod(disk, 0)
    try:
        out = serve_as_nobody("machine=" + vbox, "true")
    except AssertionError as e:
        out = str(e)
    assert "1 file could not be read" in out, out
    assert disk + ": Permission denied" in out, out


vditest.main()
