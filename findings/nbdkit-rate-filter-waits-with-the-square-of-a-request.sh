#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdkit's rate filter makes one large request wait with the square of its
# size.
#
# With rate=80M, which are 10 MB a second, one expects of a request of twice
# the size that it takes twice as long, whatever may come in a burst.  As
# soon as one is larger than the burst it takes about four times as long,
# while the same bytes in small requests take what the rate says.
#
# Seen with: nbdkit 1.32.5-1, libnbd 1.14.2-1 (Debian 12): 32 requests of
# 1 MiB 2.7 s, one of 16 MiB 1.9 s, one of 32 MiB 8.8 s.
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
rate=$filters/nbdkit-rate-filter.so
memory=$plugins/nbdkit-memory-plugin.so

# Milliseconds to read so many MiB in requests of so many.
ms () {
  local began
  began=$(date +%s%3N)
  nbdkit -U - --filter="$rate" "$memory" "$1M" rate=80M burstiness=0.5 --run \
    "nbdcopy --no-extents --connections=1 --requests=1 \
     --request-size=$(($2 * 1048576)) \"\$uri\" null:"
  echo $(($(date +%s%3N) - began))
}
small=$(ms 32 1) one16=$(ms 16 16) one32=$(ms 32 32)
echo "32 requests of 1 MiB: $small ms"
echo "1 request of 16 MiB: $one16 ms"
echo "1 request of 32 MiB: $one32 ms"
[ "$one32" -gt $((3 * one16)) ]
[ "$one32" -gt $((3 * small)) ]
