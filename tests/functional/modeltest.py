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
import shutil
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
        torn=False, state="file", restore=None):
    """image, parents: files, nearest first.  params: more for the plugin.
    acked: a SIGKILL loses nothing (else what was flushed).  state:
    "device" if the file has a length of its own.  restore: puts the image
    back as it was."""
    if not os.path.exists(MODEL):
        vditest.skip("for want of a program: libnbd-dev")
    ops = operations(ops)
    # New blocks are where the danger is, and after some 1000 operations
    # there are few left: so begin again with other ones.
    rounds = max(1, ops // 1250)
    seeds = [seed * 100 + n for n in range(rounds)]
    if "MODEL_SEED" in os.environ:
        rounds = 1
        seeds = [int(os.environ["MODEL_SEED"])]
    original = vditest.path("original")
    if restore is None:
        shutil.copyfile(image, original)
    with vditest.unchanged(*parents):
        for n, round_seed in enumerate(seeds):
            if n > 0 and restore is not None:
                restore()
            elif n > 0:
                os.unlink(image)
                shutil.copyfile(original, image)
            one_round(name, image, params, parents, ops // rounds,
                      round_seed, acked, torn, state)


def one_round(name, image, params, parents, ops, seed, acked, torn, state):
    below = [vdi.Image(p) for p in parents]
    raw = vditest.write_file(name + ".raw", vdi.Image(image).read(*below))
    vditest.write_file(name + ".raw.holes",
                       b"%d" % holes_in(vdi.Image(image)))
    socket = vditest.path("s")
    hook = " ".join(shlex.quote(a) for a in [
        sys.executable, os.path.abspath(__file__), image, raw, state])
    # Each stop costs a start of the server and a look at everything.
    command = [MODEL, "--raw", raw, "--socket", socket, "--seed", seed,
               "--ops", ops, "--kills", max(2, ops // 400),
               "--restarts", max(1, ops // 1500),
               "--block-size", vdi.Image(image).block_size, "--hook", hook]
    command += ["--acked"] if acked else []
    command += ["--torn"] if torn else []
    command += ["--", vditest.NBDKIT, "-f", "-U", socket, "vdi", image]
    command += params
    environ = dict(os.environ)
    environ["MODEL_REPLAY"] = \
        "cd %s && MODEL_SEED=%d MODEL_OPS=%d VDITEST_BUILDDIR=$PWD " \
        "%s %s test_%s" % (
            shlex.quote(vditest.builddir), seed, ops, sys.executable,
            shlex.quote(os.path.abspath(sys.argv[0])), name.replace("-", "_"))
    out = vditest.run(*command, env=environ, timeout=None)
    print(out.splitlines()[-1])
    sys.stdout.flush()

    # Once more, by somebody else.
    seen = vdi.Image(image).read(*below)
    assert seen == vditest.read_file(raw), "vdi.py reads something else"


def holes_in(image):
    """Physical blocks that nobody uses, below the highest that is used."""
    used = image.allocated().values()
    return max(used) + 1 - len(used) if used else 0


def examine(filename, raw, state, how):
    """After a stop ("clean", "killed"); raises AssertionError."""
    image = vdi.Image(filename)
    used = sorted(image.allocated().values())
    holes = holes_in(image)
    assert len(set(used)) == len(used), "an index is used twice"
    assert not used or used[-1] < image.n_alloc, "entry beyond the count"
    assert image.n_alloc <= image.n_blocks, "count beyond the disk"
    assert image.file_size >= image.exact_size(), "the file is too short"
    if how == "clean":
        assert image.n_alloc == len(used) + holes, "the count is not exact"
        assert state == "device" or \
            image.file_size == image.exact_size(), "the length is not exact"
        # A kill between two new blocks may leave a hole; what was there is
        # used again, and nothing adds to it.
        assert holes <= int(vditest.read_file(raw + ".holes")), \
            "%d new holes" % holes
    with open(raw + ".holes", "w") as f:
        print(holes, file=f)
    if not qemu_reads(image):
        return
    out = vditest.qemu_img("check", "-f", "vdi", filename, status=None)
    # After a kill there may be reserved blocks, and nothing worse.
    for line in out.splitlines():
        assert not line.startswith("ERROR:") or \
            (line.startswith("ERROR: allocated blocks mismatch") and
             (how == "killed" or holes > 0)), out
    if how == "clean":
        vditest.qemu_compare(filename, raw)


if __name__ == "__main__":
    examine(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4])
