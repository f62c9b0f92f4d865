#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdkit -r does not reach the plugin below the ext2 filter.
#
# A plugin's .open is told "readonly" by its argument; with nbdkit -r one
# expects it to be always true.  The ext2 filter opens what is below it for
# writing even then (ext2 needs to), so a plugin that takes locks, or changes
# its file, for those who may write does so under -r.  .preconnect is told
# the truth.
#
# Seen with: nbdkit 1.32.5-1 (Debian 12).
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
plugins=$(dirname "$(find "$d" -name nbdkit-eval-plugin.so)")
filters=$(dirname "$(find "$d" -name nbdkit-ext2-filter.so)")

nbdkit --version
truncate -s 4M fs
mkfs.ext2 -q -F fs
echo hello >greeting
debugfs -w -R 'write greeting greeting' fs >/dev/null 2>&1
export d

# What .preconnect and .open are told, with these filters.
told () {
  rm -f told
  nbdkit -r -U - "$@" "$plugins/nbdkit-eval-plugin.so" \
    preconnect='echo "preconnect $2" >>"$d/told"' \
    open='echo "open $2" >>"$d/told"' \
    get_size='stat -c %s "$d/fs"' \
    can_write='exit 0' can_flush='exit 0' flush=true \
    pread='dd if="$d/fs" skip=$4 count=$3 iflag=skip_bytes,count_bytes 2>/dev/null' \
    pwrite='dd of="$d/fs" seek=$4 conv=notrunc oflag=seek_bytes 2>/dev/null' \
    ${file:+ext2file=$file} --run 'nbdinfo --size "$uri"' >&2
  cat told
}
echo "alone:"; told | tee alone
echo "with the ext2 filter:"
file=/greeting told --filter="$filters/nbdkit-ext2-filter.so" | tee ext2
grep -qx 'preconnect true' alone
grep -qx 'open true' alone
grep -qx 'preconnect true' ext2
grep -qx 'open false' ext2
