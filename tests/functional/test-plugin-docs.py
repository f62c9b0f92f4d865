#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The manual page, --help and --dump-plugin tell the same story, and work
with no parameters at all."""

import os
import re
import subprocess

import vditest

POD = os.path.join(vditest.top_srcdir, "nbdkit-vdi-plugin.pod")
PLUGIN = os.path.join(os.path.dirname(os.path.dirname(vditest.builddir)),
                      "plugin", ".libs", "nbdkit-vdi-plugin.so")


def section(heading):
    """The text of a section of the manual."""
    text = vditest.read_file(POD).decode()
    return re.search(r"^=head1 %s\n(.*?)(?=^=head1 |\Z)" % re.escape(heading),
                     text, re.M | re.S).group(1)


def help_lines():
    """What the plugin adds to --help: its parameters."""
    out = vditest.run("nbdkit", "vdi", "--help")
    own = out[out.index("plugin: vdi "):]
    return [line for line in own.splitlines()
            if re.match(r"\[?[a-z-]+=", line)]


def help_keys():
    return [re.match(r"\[?([a-z-]+)=", line).group(1)
            for line in help_lines()]


def pod_keys():
    items = re.findall(r"^=item \[?B<([a-z-]+)=", section("PARAMETERS"), re.M)
    keys = []
    for key in items:
        if key not in keys[-1:]:        # one item per form of its value
            keys.append(key)
    return keys


def test_help():
    lines = help_lines()
    assert lines[0].startswith("[file=]"), lines[0]
    texts = set()
    for line in lines:
        assert len(line) <= 80, line
        texts.add(re.match(r"\S+ +", line).end())
    assert len(texts) == 1, "not aligned"


def test_version():
    out = vditest.run("nbdkit", "vdi", "--version")
    assert re.search(r"^vdi \d+\.\d+", out, re.M), out


def test_parameters():
    """Both name each parameter exactly once, in the order of the
    alphabet (the file first in --help)."""
    assert sorted(help_keys()) == sorted(pod_keys()), \
        set(help_keys()) ^ set(pod_keys())
    assert pod_keys() == sorted(pod_keys())
    assert help_keys()[1:] == sorted(help_keys()[1:])


def test_each_parameter_has_an_example():
    forms = re.compile(r"(^=item .*\n\n)+", re.M)
    texts = forms.sub("=item\n", section("PARAMETERS")).split("=item\n")[1:]
    assert len(texts) == len(help_keys())
    for text in texts:
        assert "For example" in text, text


def test_synopsis():
    synopsis = section("SYNOPSIS")
    for key in pod_keys():
        assert key + "=" in synopsis or "[%s=]" % key in synopsis, key


def test_dump_plugin():
    out = vditest.run("nbdkit", "vdi", "--dump-plugin")
    fields = re.findall(r"^(vdi_[a-z0-9_]+=)", out, re.M)
    items = re.findall(r"^=item C<(vdi_[a-z0-9_]+=)",
                       section("DUMP-PLUGIN OUTPUT"), re.M)
    assert fields == items, (fields, items)
    for item in re.findall(r"^=item C<(vdi_.*)>\s*$",
                           section("DUMP-PLUGIN OUTPUT"), re.M):
        if not item.endswith("="):
            assert item in out.splitlines(), item
    assert "max_thread_model=parallel" in out.splitlines()
    assert "magic_config_key=file" in out.splitlines()


def test_debug_flags():
    """Each debug flag is documented, and nothing else is exported."""
    vditest.requires("nm")
    out = vditest.run("nm", "-D", "--defined-only", PLUGIN)
    symbols = {line.split()[-1] for line in out.splitlines()}
    flags = {"vdi_debug_" + f for f in
             re.findall(r"^=item B<-D vdi\.([a-z]+)=1>",
                        section("DEBUG FLAGS"), re.M)}
    assert flags
    # The sanitizers and gcov export some of their own, with underscores.
    assert {s for s in symbols if not s.startswith("_")} == \
        flags | {"plugin_init"}, symbols


def test_pod():
    vditest.requires("podchecker")
    out = vditest.run("podchecker", "-warnings", "-warnings", POD)
    assert "WARNING" not in out and "ERROR" not in out, out
    text = vditest.read_file(POD).decode()
    headings = re.findall(r"^=head1 (.*)", text, re.M)
    assert headings == ["NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES",
                        "PARAMETERS", "NOTES",
                        "WITH OTHER FILTERS AND CLIENTS",
                        "DUMP-PLUGIN OUTPUT", "DEBUG FLAGS", "FILES",
                        "VERSION", "SEE ALSO", "AUTHORS",
                        "COPYRIGHT"], headings
    for line in text.splitlines():
        assert len(line) <= 76 and line == line.rstrip(), line


def test_manual_page():
    """What is installed is made from the source, and can be shown."""
    vditest.requires("man")
    page = os.path.join(os.path.dirname(os.path.dirname(PLUGIN)),
                        "nbdkit-vdi-plugin.1")
    if not os.path.exists(page):        # it comes with the tarball
        page = os.path.join(vditest.top_srcdir, "plugin",
                            "nbdkit-vdi-plugin.1")
    result = subprocess.run(["man", "--warnings", "-l", page],
                            stdin=subprocess.DEVNULL, capture_output=True,
                            env=dict(os.environ, MANWIDTH="100",
                                     LC_ALL="C.UTF-8"), check=True)
    assert result.stderr == b"", result.stderr.decode()
    for key in pod_keys():
        assert key.encode() + b"=" in result.stdout


vditest.main()
