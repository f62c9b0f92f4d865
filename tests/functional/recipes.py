# SPDX-License-Identifier: BSD-3-Clause
"""What tests need that run the commands of README.md and of the manual page
as they are printed there: a directory with the files that those speak of."""

import contextlib
import os
import subprocess

import vdi
import vditest
from vditest import K, M

SIZE = 16 * M


def content(seed):
    """Data and holes."""
    return b"".join([vditest.pattern(seed, 0, 2 * M + 4 * K),
                     bytes(5 * M),
                     vditest.pattern(seed, 7 * M + 4 * K, M),
                     bytes(SIZE - 8 * M - 4 * K)])


def prepare():
    """What somebody with VirtualBox has; -> the disk of each image."""
    disks = {"disk": content(1), "raw": content(2)}
    raw = vditest.write_file("disk.raw", disks["disk"])
    vditest.make_vdi("disk.vdi", raw=raw)
    vditest.write_file("disk.raw", disks["raw"])

    # A machine with one snapshot.
    disks["before"] = disks["disk"]
    base = vdi.make(vditest.path("web.vdi"), size=SIZE,
                    blocks={i: disks["before"][i * M:(i + 1) * M]
                            for i in (0, 1, 2, 7, 8)})
    os.mkdir(vditest.path("Snapshots"))
    top = vdi.child(vditest.path("Snapshots/web-2.vdi"), base,
                    blocks={0: vdi.ZERO, 3: b"new" * 1000})
    current = bytearray(disks["before"])
    current[0:M] = bytes(M)
    current[3 * M:3 * M + 3000] = b"new" * 1000
    disks["current"] = bytes(current)
    uuids = {"base": vdi.Image(base).uuid_image,
             "top": vdi.Image(top).uuid_image}
    attached = """<StorageControllers>
          <StorageController name="SATA" type="AHCI" PortCount="1">
            <AttachedDevice type="HardDisk" port="0" device="0">
              <Image uuid="{%s}"/>
            </AttachedDevice>
          </StorageController>
        </StorageControllers>"""
    vditest.write_file("web.vbox", ("""<?xml version="1.0"?>
<VirtualBox xmlns="http://www.virtualbox.org/" version="1.19-linux">
  <Machine uuid="{6f0a1c8e-3f0b-4c53-9a3c-0d2f6a7c1e55}" name="web"
           snapshotFolder="Snapshots"
           currentSnapshot="{b1a6c1de-9f5e-4b8e-8c6c-5a3f1f0c9d21}">
    <MediaRegistry>
      <HardDisks>
        <HardDisk uuid="{%(base)s}" location="web.vdi" format="VDI"
                  type="Normal">
          <HardDisk uuid="{%(top)s}" location="Snapshots/web-2.vdi"
                    format="VDI"/>
        </HardDisk>
      </HardDisks>
    </MediaRegistry>
    <Snapshot uuid="{b1a6c1de-9f5e-4b8e-8c6c-5a3f1f0c9d21}"
              name="before upgrade" timeStamp="2026-01-01T00:00:00Z">
      <Hardware>
        """ % uuids + attached % uuids["base"] + """
      </Hardware>
    </Snapshot>
    <Hardware>
        """ + attached % uuids["top"] + """
    </Hardware>
  </Machine>
</VirtualBox>
""").encode())
    return disks


def sh(script):
    """Run a block as a person would who stops at the first error."""
    result = subprocess.run(["bash", "-e", "-c", script], cwd=vditest.path(),
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, timeout=vditest.PATIENCE)
    out = result.stdout.decode(errors="replace")
    assert result.returncode == 0, "%s\n%s" % (script, out)
    return out


def is_raw(name, data):
    assert vditest.read_file(vditest.path(name)) == data, name


def is_image(name, data, fmt="vdi"):
    raw = vditest.qemu_raw(vditest.path(name), name + ".check", fmt)
    assert vditest.read_file(raw) == data, name
    vditest.qemu_check(vditest.path(name), fmt)


def untouched(*names):
    return vditest.unchanged(*(vditest.path(n) for n in names))


@contextlib.contextmanager
def fuse(script, filename, end):
    """Run commands that leave nbdfuse in the background, wait until it shows
    the file, and end it; yields whether that can be done here."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        # Containers often have none; nothing of ours is missing.
        print("nbdfuse cannot be run here: no /dev/fuse")
        yield False
        return
    process = subprocess.Popen(["bash", "-e", "-c", script + "\nwait"],
                               cwd=vditest.path(), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
    try:
        vditest.wait_until(
            lambda: os.path.exists(vditest.path(filename)) or
            process.poll() is not None, "nbdfuse does not start")
        if process.poll() is not None:
            out = process.stdout.read().decode(errors="replace")
            assert "fuse: " in out or "mount" in out, out
            print("nbdfuse cannot be run here: " + out)
            yield False
            return
        yield True
    finally:
        subprocess.run(end, cwd=vditest.path(), shell=True, check=False)
    assert process.wait(vditest.PATIENCE) == 0


MACHINE = ("web.vdi", "web.vbox", "Snapshots/web-2.vdi")
