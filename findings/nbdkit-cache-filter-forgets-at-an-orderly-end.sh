#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdkit's cache filter forgets what was written at an orderly end.
#
# The manual of the filter says that with cache=writeback, which is what it
# does by itself, writes go to the plugin when the client flushes.  One could
# expect them to go there also when the client disconnects or nbdkit ends, as
# with every other cache.  They do not: nbdcopy, which does not flush unless
# it is told to, succeeds, nbdkit ends well, and the disk is as before.
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
cache=$filters/nbdkit-cache-filter.so
file=$plugins/nbdkit-file-plugin.so
head -c 1M < <(yes data) >data

# What is on the disk after nbdcopy and nbdkit have ended well.
after () {
  truncate -s 0 disk
  truncate -s 1M disk
  nbdkit -U - "$@" --run "nbdcopy $flush data \"\$uri\""
  if cmp -s data disk; then echo data
  elif cmp -s disk <(head -c 1M /dev/zero); then echo nothing
  else echo something else; fi
}
flush=
echo "without the filter: $(after "$file" disk | tee plain)"
echo "with the filter: $(after --filter="$cache" "$file" disk | tee cached)"
flush=--flush
echo "with the filter and a flush: $(after --filter="$cache" "$file" disk |
                                     tee flushed)"
grep -qx data plain
grep -qx nothing cached
grep -qx data flushed
