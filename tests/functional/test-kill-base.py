# SPDX-License-Identifier: BSD-3-Clause
"""Hundreds of kills of a server that nobody ever tells to flush: in a base
image everything that was acknowledged is there."""

import killtest
import modeltest
import vditest
from vditest import M

modeltest.in_memory()


def test_never_flushed():
    killtest.run(vditest.make_vdi(size=24 * M), 350, 1, False, True)


vditest.main()
