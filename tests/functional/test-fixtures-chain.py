# SPDX-License-Identifier: BSD-3-Clause
"""The chains that VirtualBox wrote, at every level, however the parents
are found."""

import os
import shutil

import vdi
import vditest


def chains():
    return {name: files for name, (files, _, _) in vditest.manifest().items()
            if len(files) > 1}


def check(s, name):
    _, size, digest = vditest.manifest()[name]
    assert vditest.sha256_export(s.connect(), size) == digest, name


def test_discovered_beside():
    assert len(chains()) == 5
    for name, files in chains().items():
        images = [vditest.fixture(f) for f in files]
        with vditest.unchanged(*images):
            with vditest.serve(images[-1], readonly=True) as s:
                check(s, name)
            with vditest.serve(images[-1]) as s:
                check(s, name)


def test_given():
    """parent=, nearest first, where nobody would look."""
    for name, files in chains().items():
        images = []
        for i, f in enumerate(files):
            d = vditest.path("%s-%d" % (name, i))
            os.mkdir(d)
            images.append(shutil.move(vditest.fixture(f), d))
        params = ["parent=" + p for p in reversed(images[:-1])]
        with vditest.serve(images[-1], *params, readonly=True) as s:
            check(s, name)
        said = vditest.serve_fails(images[-1], readonly=True)
        wanted = vdi.Image(images[-1]).uuid_parent
        assert str(wanted) in said, said
        assert "parent=" in said and "parent-dir=" in said, said


def test_virtualbox_directories():
    """Children in Snapshots/, the base above, as VirtualBox keeps them."""
    for name, files in chains().items():
        top = vditest.path(name)
        os.makedirs(os.path.join(top, "Snapshots"))
        shutil.move(vditest.fixture(files[0]), top)
        for f in files[1:]:
            shutil.move(vditest.fixture(f), os.path.join(top, "Snapshots"))
        with vditest.serve(os.path.join(top, "Snapshots", files[-1]),
                           readonly=True) as s:
            check(s, name)


def test_parent_dir():
    for name, files in chains().items():
        d = vditest.path("parents-" + name)
        os.mkdir(d)
        for f in files[:-1]:
            shutil.move(vditest.fixture(f), d)
        with vditest.serve(vditest.fixture(files[-1]), "parent-dir=" + d,
                           readonly=True) as s:
            check(s, name)


def test_wrong_parent():
    """Another image than the one asked for is refused, by name."""
    child = vditest.fixture("chain-z-diff.vdi")
    other = vditest.fixture("chain-a-base.vdi")
    vditest.fixture("chain-z-base.vdi")
    said = vditest.serve_fails(child, "parent=" + other, readonly=True)
    assert "chain-a-base.vdi" in said and "UUID" in said, said


def test_written():
    """The child takes the changes, the parents stay as they are."""
    for name, files in chains().items():
        images = [vditest.fixture(f) for f in files]
        want = bytearray(vdi.Image(images[-1]).read(
            *[vdi.Image(p) for p in reversed(images[:-1])]))
        with vditest.unchanged(*images[:-1]):
            with vditest.serve(images[-1]) as s:
                h = s.connect()
                assert vditest.read_all(h) == want, name
                for offset in range(1000, len(want) - 5000, 300000):
                    h.pwrite(b"\xc7" * 5000, offset)
                    want[offset:offset + 5000] = b"\xc7" * 5000
                h.zero(1100000, 900000)
                want[900000:2000000] = vditest.zeros(1100000)
                h.flush()
                assert vditest.read_all(h) == want, name
            with vditest.serve(images[-1], readonly=True) as s:
                assert vditest.read_all(s.connect()) == want, name
        seen = vdi.Image(images[-1]).read(
            *[vdi.Image(p) for p in reversed(images[:-1])])
        assert seen == want, name
        assert vdi.Image(images[-1]).problems() == [], name


vditest.main()
