# SPDX-License-Identifier: BSD-3-Clause
"""Random operations on the top of chains, with mixed sizes of blocks and
disks: a SIGKILL loses nothing that was flushed, and parents are never
written."""

import os
import random

import vdi
import vditest
import modeltest

K = vditest.K
M = vditest.M


def chain(seed, *levels):
    """Images, base first, as (size of the disk, size of its blocks), each
    with random blocks stored and some ZERO.  Files, top first."""
    rng = random.Random(seed)
    files = []
    for level, (size, block_size) in enumerate(levels):
        n = (size + block_size - 1) // block_size
        numbers = rng.sample(range(n), n // 2)
        blocks = {}
        for i, b in enumerate(numbers):
            blocks[b] = rng.randbytes(block_size) if i % 5 else vdi.ZERO
        order = [b for b in numbers if blocks[b] != vdi.ZERO]
        name = vditest.path("level%d.vdi" % level)
        if level == 0:
            vdi.make(name, size=size, block_size=block_size, blocks=blocks,
                     order=order)
        else:
            # The top starts small: most of it is still the parents'.
            if level == len(levels) - 1:
                blocks = {b: blocks[b] for b in sorted(blocks)[::4]}
                order = None
            vdi.child(name, files[0], size=size, block_size=block_size,
                      blocks=blocks, order=order)
        files.insert(0, name)
    return files


def run(name, seed, ops, levels, *params, **kw):
    top, *parents = chain(seed, *levels)
    modeltest.run(name, top, *params, parents=parents, seed=seed, ops=ops,
                  **kw)


def test_chain_2():
    run("chain-2", 301, 8000, [(12 * M, M), (12 * M, M)])


def test_chain_2_small_blocks():
    """Much smaller blocks than the parent's, and a larger disk."""
    run("chain-2-small-blocks", 302, 7000,
        [(5 * M + 512, M), (6 * M, 4 * K)], "commit=1")


def test_chain_3():
    """Larger blocks than the parents', and a smaller disk."""
    run("chain-3", 303, 7000,
        [(16 * M, 64 * K), (10 * M + 1536, 256 * K), (15 * M, 2 * M)])


def test_chain_4():
    run("chain-4", 304, 7000,
        [(9 * M, 2 * M), (7 * M + 512, 4 * K), (12 * M, M),
         (10 * M + 512, 64 * K)], "commit=0")


def test_chain_fixed():
    """Over a fixed base, with fresh children by create=diff."""
    base = vdi.make(vditest.path("base.vdi"), size=8 * M, type=vdi.FIXED,
                    blocks={1: b"a" * M, 6: b"b" * M})
    files = [base]
    for level in range(2):
        name = vditest.path("child%d.vdi" % level)
        parents = ["parent=" + f for f in files]
        with vditest.serve(name, "create=diff", *parents):
            assert os.path.exists(name)
        files.insert(0, name)
    modeltest.run("chain-fixed", files[0], parents=files[1:], seed=305,
                  ops=5000)


modeltest.in_memory()
vditest.main()
