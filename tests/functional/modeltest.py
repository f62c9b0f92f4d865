# SPDX-License-Identifier: BSD-3-Clause
"""What the tests test-model-*.py share: one run of the model program.

    run("base-4k", image, ops=10000, seed=1, acked=True)

The image is served and changed by random operations, and so is a raw file
that starts with the content that vdi.py (not our code) sees in it: see
model.h.  At each stop of the server the image is examined by vdi.py and
by qemu-img; at the end they have to agree with the raw file.

NBDKIT_VDI_QUICK=yes does a third.  MODEL_SEED=n uses another seed, and
MODEL_OPS=n another number of operations.
"""

import os
import shlex
import sys

import vdi
import vditest

MODEL = os.path.join(vditest.builddir, "model")


def in_memory():
    """Put the files on a file system in memory, if there is one.  A killed
    server leaves the same in both, and syncs cost nothing there.  To be
    called before anything makes a file."""
    try:
        st = os.statvfs("/dev/shm")
    except OSError:
        return
    if os.access("/dev/shm", os.W_OK) and \
            st.f_bavail * st.f_frsize > vditest.G:
        os.environ["TMPDIR"] = "/dev/shm"


def operations(ops):
    if "MODEL_OPS" in os.environ:
        return int(os.environ["MODEL_OPS"])
    if vditest.quick:
        ops //= 3
    if vditest.sanitizer:
        ops //= 4
    return ops


def qemu_reads(image):
    """Can QEMU open it (vdi-format.md 3.3), and is what it reads right?"""
    return (image.version == 0x00010001 and image.block_size == vdi.M and
            image.block_extra == 0 and image.map_off % 512 == 0 and
            image.data_off % 512 == 0 and image.type != vdi.DIFF and
            image.uuid_parent == vdi.NULL_UUID and
            image.uuid_parent_mod == vdi.NULL_UUID)


def run(name, image, *params, parents=(), ops=5000, seed=1, acked=False,
        torn=False, holes=False, kills=None, restarts=None, connections=4,
        in_flight=16):
    """image, parents: files, nearest first.  params: more for the plugin.
    acked: a SIGKILL loses nothing (else what was flushed).  holes: the
    image has unused physical blocks that nobody promised to fill."""
    if not os.path.exists(MODEL):
        vditest.skip("for want of a program: libnbd-dev")
    seed = int(os.environ.get("MODEL_SEED", seed))
    ops = operations(ops)
    raw = vditest.write_file(name + ".raw", vdi.Image(image).read(
        *[vdi.Image(p) for p in parents]))
    socket = vditest.path("s")
    # Each stop costs two starts of the server and a look at everything.
    kills = max(2, ops // 500) if kills is None else kills
    restarts = max(1, ops // 1500) if restarts is None else restarts
    hook = " ".join(shlex.quote(a) for a in [
        sys.executable, os.path.abspath(__file__), image, raw,
        "holes" if holes else "exact"])
    command = [MODEL, "--raw", raw, "--socket", socket, "--seed", seed,
               "--ops", ops, "--kills", kills, "--restarts", restarts,
               "--connections", connections, "--in-flight", in_flight,
               "--block-size", vdi.Image(image).block_size, "--hook", hook]
    command += ["--acked"] if acked else []
    command += ["--torn"] if torn else []
    command += ["--", vditest.NBDKIT, "-f", "-U", socket, "vdi", image]
    command += params
    environ = dict(os.environ)
    environ["MODEL_REPLAY"] = \
        "cd %s && MODEL_SEED=%d VDITEST_BUILDDIR=. %s %s test_%s" % (
            shlex.quote(vditest.builddir), seed, sys.executable,
            shlex.quote(os.path.abspath(sys.argv[0])), name.replace("-", "_"))
    with vditest.unchanged(*parents):
        out = vditest.run(*command, env=environ, timeout=900)
    print(out.splitlines()[-1])
    sys.stdout.flush()

    # Once more, by somebody else.
    seen = vdi.Image(image).read(*[vdi.Image(p) for p in parents])
    assert seen == vditest.read_file(raw), "vdi.py reads something else"


def examine(filename, raw, holes, how):
    """After a stop ("clean", "killed"); raises AssertionError."""
    image = vdi.Image(filename)
    used = sorted(image.allocated().values())
    assert len(set(used)) == len(used), "an index is used twice"
    assert not used or used[-1] < image.n_alloc, "entry beyond the count"
    assert image.n_alloc <= image.n_blocks, "count beyond the disk"
    assert image.file_size >= image.exact_size(), "the file is too short"
    if how == "clean" and not holes:
        assert not image.problems(), image.problems()
    if not qemu_reads(image):
        return
    out = vditest.qemu_img("check", "-f", "vdi", filename,
                           status=0 if how == "clean" and not holes else None)
    # After a kill there may be reserved blocks, and nothing worse.
    for line in out.splitlines():
        assert not line.startswith("ERROR:") or \
            line.startswith("ERROR: allocated blocks mismatch"), out
    if how == "clean":
        vditest.qemu_compare(filename, raw)


if __name__ == "__main__":
    examine(sys.argv[1], sys.argv[2], sys.argv[3] == "holes", sys.argv[4])
