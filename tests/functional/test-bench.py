# SPDX-License-Identifier: BSD-3-Clause
"""The benchmark works: all its workloads, as small as they can be.  How
fast anything is, is not tested."""

import json
import os
import shutil
import subprocess
import sys
import tempfile

import vditest

BENCH = os.path.join(vditest.top_srcdir, "bench")
BUILD = os.path.dirname(os.path.dirname(vditest.builddir))

# bin/nbdkit is for tests.
env = dict(os.environ, PATH=os.environ["PATH"].split(os.pathsep, 1)[1])


def bench(program, *args, status=0):
    """Run it where it does not wait for a disk; returns what it prints."""
    if not os.path.exists(os.path.join(BUILD, "bench", "client")):
        vditest.skip("bench/client is not built: configure found no libnbd")
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else vditest.path()
    work = tempfile.mkdtemp(prefix="vdi-test.", dir=where)
    try:
        p = subprocess.run(
            [sys.executable, os.path.join(BENCH, program), "--tiny",
             "--fs=here", "--work", work, *args], cwd=BUILD, env=env,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=600)
        print(p.stderr.decode())
        assert p.returncode == status, p.returncode
        assert os.listdir(work) == [], "files are left"
    finally:
        shutil.rmtree(work)
    return p.stdout.decode()


def measured():
    """What bench/run --json writes, of all workloads; made once."""
    if not cache:
        vditest.requires("qemu-nbd", "qemu-img", "nbdcopy")
        file = vditest.path("speed.json")
        cache["text"] = bench("run", "--no-calls", "--json", file)
        with open(file) as f:
            cache["data"] = json.load(f)
    return cache["data"]


cache = {}


def test_all():
    results = measured()["results"]
    names = [line.split()[0] for line in bench("run", "--list").splitlines()]
    assert [r["name"] for r in results] == names
    assert len(set(names)) == len(names) > 50
    for r in results:
        assert len(r["samples"]) >= 2, r
        for samples in r["samples"].values():
            assert len(samples) == 1 and samples[0]["value"] > 0, r
    for r in results:
        assert "| %s | here |" % r["title"] in cache["text"], r["title"]


def test_calls():
    """Counted, or said not to be."""
    text = bench("run", "--only", "^touch-64g-1$")
    usage = text[text.index("What the servers used"):].splitlines()
    cells = [c.strip() for c in usage[-1].split("|")]
    for cell in cells[7:9]:
        assert cell == "not measured" or float(cell) >= 3, usage


def test_compare():
    text = bench("compare", "--only", "^place-read-4k-1-1$", ".", ".")
    assert "place-read-4k-1-1 | here | /s |" in text, text


def test_readme():
    """The table is made anew; what is around it is left alone."""
    data = dict(measured())
    data["results"] = [dict(r, place="tmpfs") for r in data["results"]]
    sys.path.insert(1, BENCH)
    import figures
    import readme
    shutil.copy(os.path.join(vditest.top_srcdir, "README.md"),
                vditest.path())
    os.chmod(vditest.path("README.md"), 0o644)
    readme.SOURCE = vditest.path()
    readme.RESULTS = vditest.path("bench/results")
    old = vditest.read_file(vditest.path("README.md")).decode()
    for _ in range(2):
        readme.update(data, figures.report(data))
        new = vditest.read_file(vditest.path("README.md")).decode()
        assert new.split(readme.BEGIN)[0] == old.split(readme.BEGIN)[0]
        assert new.split(readme.END)[1] == old.split(readme.END)[1]
        for r in data["results"]:
            if r["readme"]:
                assert "\n| %s | " % r["title"] in new, r["title"]
    assert "\n| workload |" in vditest.read_file(
        vditest.path("bench/results/speed.txt")).decode()
    if shutil.which("gnuplot"):
        for picture in "speed.svg", "curves.svg":
            svg = vditest.read_file(vditest.path("bench/results/" + picture))
            assert svg.startswith(b"<?xml") and b"this plugin" in svg.lower()


vditest.main()
