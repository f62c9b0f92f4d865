#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdkit's ext2 filter passes the holes of the disk off as those of the file.
#
# An NBD client asks where a file has holes, and does not read there.  Of a
# file that is served by the ext2 filter it is told where the disk below has
# holes, at the same offsets, though the file lies elsewhere on the disk.
# nbdcopy succeeds, and its copy has zeros instead of data.
#
# Seen with: nbdkit 1.32.5-1, libnbd 1.14.2-1, e2fsprogs 1.47.0 (Debian 12).
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
ext2=$filters/nbdkit-ext2-filter.so
noextents=$filters/nbdkit-noextents-filter.so
file=$plugins/nbdkit-file-plugin.so

# 8 MiB of data at the end of a disk of 64 MiB that is sparse otherwise.
head -c 8M < <(yes data) >data
truncate -s 64M disk
mkfs.ext2 -q -F disk
debugfs -w -R 'write data data' disk >/dev/null 2>&1
debugfs -R 'dump data dumped' disk >/dev/null 2>&1
cmp data dumped

copied () {
  rm -f copy
  nbdkit -r -U - "$@" "$file" disk ext2file=/data --run 'nbdcopy "$uri" copy'
  if cmp -s data copy; then echo the data
  else echo "$(tr -d '\0' <copy | wc -c) bytes of $(stat -c %s data)"; fi
}
echo "copied: $(copied --filter="$ext2" | tee one)"
echo "with noextents above: $(copied --filter="$noextents" \
                                     --filter="$ext2" | tee two)"
grep -q ' bytes of ' one
grep -qx 'the data' two
