# SPDX-License-Identifier: BSD-3-Clause
"""What the tests test-kill-*.py share: one run of the kill program, which
kills the server while four clients are writing (see kill.c).

NBDKIT_VDI_QUICK=yes does a tenth of the kills.  KILL_SEED=n uses another
seed, KILL_COUNT=n another number of kills.
"""

import os
import re

import vditest

KILL = os.path.join(vditest.builddir, "kill")


def run(image, kills, seed, flushes, acked, *params, parent=None):
    if not os.path.exists(KILL):
        vditest.skip("for want of a program: libnbd-dev")
    vditest.requires("nbdkit")
    if vditest.quick:
        kills //= 10
    if vditest.sanitizer:
        kills //= 4
    kills = int(os.environ.get("KILL_COUNT", kills))
    seed = int(os.environ.get("KILL_SEED", seed))
    out = vditest.run(KILL, image, kills, seed, int(flushes), int(acked),
                      *([parent] if parent else []), "--",
                      vditest.NBDKIT, "-f", "vdi", *params, timeout=None)
    assert "Sanitizer" not in out, out
    # What the server says of its clients' requests is of no interest.
    print(re.search("^kill: .*$", out, re.MULTILINE).group(0))
