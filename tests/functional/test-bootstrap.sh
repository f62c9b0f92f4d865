#!/bin/bash -
# SPDX-License-Identifier: BSD-3-Clause
# ./bootstrap serve, for real: it builds the plugin, serves what it is told
# to or a demo image, and Ctrl-C ends it without leaving anything behind.
# (What it installs is installed already where tests are run.)

. ./functions.sh
set -e
set -x
requires nbdkit --version
requires nbdinfo --version
requires nbdcopy --version
requires qemu-img --version
requires debugfs -V
tmpdir

# Its own nbdkit, not the tests' wrapper.
PATH=${PATH#"$builddir/bin:"}
export NBDKIT_VDI_BUILD=$tmp/build
mkdir "$tmp/tmp"
export TMPDIR=$tmp/tmp
unset DESTDIR

bootstrap=
stop_bootstrap ()
{
    if [ -n "$bootstrap" ]; then kill -TERM -- -$bootstrap 2>/dev/null || :; fi
}
cleanup_fn stop_bootstrap

# begin ARGS...: start it in a session of its own, where SIGINT is not
# ignored as it is in the background of a script; wait for its $uri.
begin ()
{
    # What the one before said is not to be taken for this one's.
    rm -f "$tmp/out"
    touch "$tmp/out"
    "$PYTHON" -c '
import os, signal, sys
os.setsid()
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' \
        "$top_srcdir/bootstrap" serve "$@" >"$tmp/out" 2>&1 &
    bootstrap=$!
    set +x
    # It is compiled first, which takes as long as it takes.
    until grep -q 'Ctrl-C ends it' "$tmp/out"; do
        kill -0 $bootstrap || { cat "$tmp/out"; fail "bootstrap ended"; }
        sleep 0.1
    done
    set -x
    cat "$tmp/out"
    uri=$(sed -n 's/^ *\(nbd+unix:[^ ]*\)$/\1/p' "$tmp/out")
    test -n "$uri"
}

# end SIGNAL
end ()
{
    local status=0
    kill -$1 $bootstrap
    wait $bootstrap || status=$?
    bootstrap=
    test $status -eq 0
    # Neither the socket nor anything else is left.
    test -z "$(ls -A "$TMPDIR")"
}

begin
test "$(nbdinfo --size "$uri")" = 67108864
nbdcopy "$uri" "$tmp/demo.raw"
debugfs -R 'cat hello.txt' "$tmp/demo.raw" | grep 'VirtualBox disk image'
end INT

# A file, in a directory with an odd name, written to; and Ctrl-C as it
# comes from a terminal, to all processes at once.
mkdir "$tmp/my disks"
qemu-img create -q -f vdi "$tmp/my disks/a.vdi" 10M
cd "$tmp/my disks"
begin a.vdi
nbdcopy --flush "$fixtures/manifest.tsv" "$uri"
kill -INT -- -$bootstrap
end TERM
qemu-img check -f vdi a.vdi
qemu-img convert -f vdi -O raw a.vdi a.raw
cmp -n "$(stat -c %s "$fixtures/manifest.tsv")" a.raw "$fixtures/manifest.tsv"

# Only to be read.
begin a.vdi -r
nbdinfo "$uri" | grep 'is_read_only: true'
end TERM

# Words that mean nothing, and a file that is not there.
if "$top_srcdir/bootstrap" serf; then fail "status"; fi
if "$top_srcdir/bootstrap" serve not-there.vdi 2>"$tmp/err"; then fail "status"; fi
grep 'not-there.vdi: there is no such file' "$tmp/err"
