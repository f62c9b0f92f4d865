#!/bin/bash -
# SPDX-License-Identifier: BSD-3-Clause
# functions.sh itself: servers are stopped, clean-up keeps the status,
# directories go, and the wrapper's --run is like nbdkit's.

. ./functions.sh
set -e
set -x
requires nbdkit --version
requires nbdinfo --version
tmpdir

start_nbdkit memory size=1M
test "$(nbdinfo --size "$uri")" = 1048576
first=$pid
stop_nbdkit
if kill -0 $first 2>/dev/null; then fail "still there"; fi

nbdkit -U - memory size=2M --run 'nbdinfo --size "$uri"' >"$tmp/out"
grep -qx 2097152 "$tmp/out"

# The status of the command.
status=0
nbdkit -U - memory size=2M --run 'exit 3' || status=$?
test $status -eq 3

# A test that fails, one that is skipped, and one whose server is gone.
for t in "false" "exit 77" "start_nbdkit memory size=1M; kill -KILL \$pid; while kill -0 \$pid; do sleep 0.1; done"; do
    status=0
    bash -c ". ./functions.sh; tmpdir; echo \$tmp >$tmp/where; set -e; $t" || status=$?
    case $t in
        exit*) test $status -eq 77 ;;
        *) test $status -ne 0 ;;
    esac
    test ! -e "$(cat "$tmp/where")"
done

unpack min-1m.vdi
test "$(head -c 39 "$tmp/min-1m.vdi")" = '<<< Oracle VM VirtualBox Disk Image >>>'
