#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The families of docs/architecture.md are those that there are, and they
include each other as it says there, and nobody in a circle."""

import os
import re

import vditest

COMMON = os.path.join(vditest.top_srcdir, "common")
PLUGIN = os.path.join(vditest.top_srcdir, "plugin")


def read(filename):
    return vditest.read_file(filename).decode()


def table():
    """What each family may use, itself too."""
    rows = re.findall(r"^\| `([a-z.]+)` \|.*\|(.*)\|$",
                      read(os.path.join(vditest.top_srcdir, "docs",
                                        "architecture.md")), re.M)
    return {family: {family} | set(re.findall("`([a-z.]+)`", may))
            for family, may in rows}


def sources(top):
    """{name within top: its includes in quotes}"""
    found = {}
    for directory, _, names in os.walk(top):
        for name in names:
            if name.endswith((".c", ".h")):
                path = os.path.join(directory, name)
                found[os.path.relpath(path, top)] = \
                    re.findall(r'^#\s*include\s+"(.*)"', read(path), re.M)
    return found


def family(name):
    """utils/error.h is of utils, vdi.h of vdi.h."""
    return name.split("/")[0]


def wrong(files, may):
    """All includes that the table does not allow."""
    return ["%s includes %s" % (name, included)
            for name, includes in sorted(files.items())
            for included in includes
            if included not in files
            or family(included) not in may.get(family(name), ())]


def circle(uses):
    """Of {name: names that it uses} some that use each other, or None."""
    done = set()

    def visit(name, above):
        if name in above:
            return above[above.index(name):] + [name]
        if name in done:
            return None
        done.add(name)
        for used in sorted(uses.get(name, ())):
            found = visit(used, above + [name])
            if found:
                return found
        return None

    return next(filter(None, (visit(name, []) for name in sorted(uses))),
                None)


def test_the_test():
    may = {"a": {"a"}, "b": {"b", "a"}, "f.h": {"f.h", "a"}}
    files = {"a/x.h": [], "b/y.c": ["a/x.h", "b/y.h"], "b/y.h": [],
             "f.h": ["a/x.h"]}
    assert wrong(files, may) == [] and circle(files) is None
    files["a/x.h"] = ["b/y.h"]
    files["b/y.h"] = ["b/nowhere.h", "f.h"]
    assert wrong(files, may) == ["a/x.h includes b/y.h",
                                 "b/y.h includes b/nowhere.h",
                                 "b/y.h includes f.h"]
    assert circle(files) == ["a/x.h", "b/y.h", "f.h", "a/x.h"]


def test_names():
    """What the papers name is there."""
    code = "".join(read(os.path.join(top, name))
                   for top in (COMMON, PLUGIN) for name in sources(top))
    for paper in "docs/architecture.md", "CONTRIBUTING.md":
        text = read(os.path.join(vditest.top_srcdir, paper))
        files = re.findall(r"`([a-z/-]+/[a-z-]+\.[ch])`", text)
        assert files, paper
        for name in files:
            assert any(os.path.exists(os.path.join(top, name))
                       for top in (COMMON, vditest.top_srcdir)), name
        for name in re.findall(r"`([a-z]+_[a-z_]+|[A-Z]+_[A-Z_]+)`", text):
            assert re.search(r"\b%s\b" % name, code), name


def test_families():
    families = {family(name) for name in sources(COMMON)}
    assert len(families) > 5
    assert set(table()) == families, families


def test_includes():
    files = sources(COMMON)
    assert wrong(files, table()) == [], wrong(files, table())
    assert circle(files) is None, circle(files)


def test_order():
    uses = {name: used - {name} for name, used in table().items()}
    assert circle(uses) is None, circle(uses)


def test_plugin():
    """It sees the face of the library, and small things."""
    own = sources(PLUGIN)
    for name, includes in own.items():
        for included in includes:
            assert included in own or included == "vdi.h" \
                or family(included) == "utils", (name, included)


def test_nbdkit():
    """The library knows nothing of it."""
    for name in sources(COMMON):
        assert "<nbdkit" not in read(os.path.join(COMMON, name)), name


def test_sizes():
    """One noun, one file."""
    for top in COMMON, PLUGIN:
        for name in sources(top):
            lines = read(os.path.join(top, name)).count("\n")
            assert lines <= 600, (name, lines)


vditest.main()
