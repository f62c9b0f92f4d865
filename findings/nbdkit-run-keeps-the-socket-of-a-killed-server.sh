#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# After a kill of the server of nbdkit --run, who connects waits for ever.
#
# nbdkit --run has two processes: one serves, the other, its parent, waits for
# the command.  When the one that serves is killed by SIGKILL one expects
# that new clients are refused, as with any server that is gone.  The other
# process has the listening socket open, too, so the kernel accepts their
# connections, and nobody ever answers.
#
# Seen with: nbdkit 1.32.5-1, libnbd 1.14.2-1 (Debian 12).
set -euo pipefail

d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
chmod 755 .
apt-get download -q nbdkit=1.32.5-1 libnbd-bin=1.14.2-1 libnbd0=1.14.2-1 \
  >/dev/null 2>&1
for p in *.deb; do dpkg -x "$p" .; done
lib=$(dirname "$(find . -name libnbd.so.0)")
export LD_LIBRARY_PATH=$d/$lib PATH=$d/usr/bin:$PATH
plugins=$(dirname "$(find "$d" -name nbdkit-file-plugin.so)")
filters=$(dirname "$(find "$d" -name nbdkit-cache-filter.so)")

nbdkit --version
memory=$plugins/nbdkit-memory-plugin.so

cat >command <<'END'
nbdinfo --size "$uri"
server=$(cat pid)
kill -9 "$server"
while kill -0 "$server" && ! grep -q '^State:.Z' "/proc/$server/status"; do
  sleep 0.1
done
status=0
timeout 5 nbdinfo --size "$uri" || status=$?
echo "status $status"
END
nbdkit -U - -P pid "$memory" 1M --run 'export uri; bash ./command' | tee out || true
grep -qx 1048576 out
# timeout's, not that of a connection that is refused.
grep -qx 'status 124' out
