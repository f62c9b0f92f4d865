#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Every command of README.md, as it is printed there, in a directory with
the files that it speaks of."""

import os
import re
import subprocess

import vdi
import vditest
from vditest import K, M

SIZE = 16 * M


def blocks():
    """The commands: what is in ```sh fences, in order."""
    with open(os.path.join(vditest.top_srcdir, "README.md")) as f:
        return re.findall(r"^```sh\n(.*?)^```$", f.read(), re.S | re.M)


def block_with(*words):
    """The one with all of these words."""
    found = [b for b in blocks() if all(w in b for w in words)]
    assert len(found) == 1, (words, found)
    seen.add(found[0])
    return found[0]


seen = set()


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


MACHINE = ("web.vdi", "web.vbox", "Snapshots/web-2.vdi")


def test_look():
    prepare()
    with untouched("disk.vdi"):
        out = sh(block_with("--map"))
    assert "export-size: %d" % SIZE in out, out
    assert "hole,zero" in out and "data" in out, out


def test_copy():
    disks = prepare()
    sh(block_with("copy.raw"))
    is_raw("copy.raw", disks["disk"])
    is_image("disk.vdi", disks["raw"])


def test_convert():
    disks = prepare()
    with untouched("disk.vdi"):
        sh(block_with("disk.qcow2"))
    is_image("disk.qcow2", disks["disk"], "qcow2")


def test_create():
    disks = prepare()
    sh(block_with("create=dynamic"))
    is_image("new.vdi", disks["raw"] + bytes(48 * M))


def test_fuse():
    script = block_with("nbdfuse")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        # Containers often have none; nothing of ours is missing.
        print("nbdfuse cannot be run here: no /dev/fuse")
        return
    disks = prepare()
    # The block ends with nbdfuse in the background.
    process = subprocess.Popen(["bash", "-c", script + "\nwait"],
                               cwd=vditest.path(), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
    mounted = vditest.path("mnt")
    try:
        vditest.wait_until(
            lambda: os.path.exists(os.path.join(mounted, "nbd")) or
            process.poll() is not None, "nbdfuse does not start")
        if process.poll() is not None:
            out = process.stdout.read().decode(errors="replace")
            assert "fuse: " in out or "mount" in out, out
            print("nbdfuse cannot be run here: " + out)
            return
        is_raw("mnt/nbd", disks["disk"])
    finally:
        subprocess.run(["umount", mounted], check=False)
    assert process.wait(vditest.PATIENCE) == 0


def test_overlay():
    prepare()
    block = block_with("create=diff").split("\n")
    assert block[1] == "rm try.vdi"
    with untouched("disk.vdi"):
        sh(block[0])
        top = vdi.Image(vditest.path("try.vdi"))
        base = vdi.Image(vditest.path("disk.vdi"))
        assert top.read(base) == content(2)
        sh(block[1])
    assert not os.path.exists(vditest.path("try.vdi"))


def test_chain():
    prepare()
    with untouched(*MACHINE):
        out = sh(block_with("Snapshots/web-2.vdi"))
    assert "export-size: %d" % SIZE in out, out


def test_snapshot():
    disks = prepare()
    with untouched(*MACHINE):
        sh(block_with("before upgrade"))
    is_raw("before-upgrade.raw", disks["before"])


def test_flatten():
    disks = prepare()
    with untouched(*MACHINE):
        sh(block_with("flat.vdi"))
    is_image("flat.vdi", disks["current"])


def test_virt_v2v():
    """With a virt-v2v that only copies the disk: what the real one would
    read is what matters here."""
    disks = prepare()
    os.mkdir(vditest.path("bin"))
    fake = vditest.write_file("bin/virt-v2v", b"""#!/bin/sh
test "$*" = '-i disk web.qcow2 -o local -os .' || exit 1
exec qemu-img convert -f qcow2 -O raw web.qcow2 web-sda
""")
    os.chmod(fake, 0o755)
    with untouched(*MACHINE):
        sh("PATH=$PWD/bin:$PATH\n" + block_with("virt-v2v"))
    is_raw("web-sda", disks["current"])
    assert not os.path.exists(vditest.path("web.qcow2"))


def test_all():
    """No block was forgotten."""
    assert [b for b in blocks() if b not in seen] == []


vditest.main()
