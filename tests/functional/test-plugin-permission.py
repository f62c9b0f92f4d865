#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Somebody who may read the file but not write it gets what they can
have, and is told."""

import os
import shutil

import vdi
import vditest
from vditest import M

PLUGIN = os.path.join(os.path.dirname(os.path.dirname(vditest.builddir)),
                      "plugin", ".libs", "nbdkit-vdi-plugin.so")


def serve_as_nobody(image, command):
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
                       "--clear-groups", nbdkit, "-U", "-", plugin, image,
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


vditest.main()
