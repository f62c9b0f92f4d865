# SPDX-License-Identifier: BSD-3-Clause
"""Hundreds of kills of a server on a differencing image: everything that was
flushed is there, and the parent's data everywhere else."""

import killtest
import modeltest
import vdi
import vditest
from vditest import K, M

modeltest.in_memory()


def chain(**kw):
    parent = vdi.make(vditest.path("parent.vdi"), size=12 * M)
    return vdi.child(vditest.path("child.vdi"), parent, **kw), parent


def test_child():
    child, parent = chain()
    killtest.run(child, 200, 1, True, False, parent=parent)


def test_child_of_small_blocks():
    child, parent = chain(block_size=64 * K)
    killtest.run(child, 100, 2, True, False, parent=parent)


def test_child_that_commits_by_itself():
    child, parent = chain()
    killtest.run(child, 50, 3, False, False, "commit=1", parent=parent)


vditest.main()
