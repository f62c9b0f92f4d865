#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdcopy looks for zeros in pieces of the destination's preferred block size.
#
# A server that tells a large preferred size, because its own unit of
# allocation is large, gets no holes smaller than that: the zeros in between
# are sent and stored.  What looks like a hint for speed decides how much
# space a copy takes.
#
# Seen with: libnbd-bin 1.14.2-1, nbdkit 1.32.5-1 (Debian 12): of 8 MiB with
# 64 KiB of data in every 256 KiB, 2 MiB are data in the copy where the
# preferred size is 4096, and all 8 MiB where it is 1 MiB.
set -euo pipefail

d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
chmod 755 .
apt-get download -q libnbd-bin=1.14.2-1 libnbd0=1.14.2-1 nbdkit=1.32.5-1 \
  >/dev/null 2>&1
for p in *.deb; do dpkg -x "$p" .; done
lib=$(dirname "$(find . -name libnbd.so.0)")
export LD_LIBRARY_PATH=$d/$lib PATH=$d/usr/bin:$PATH
plugins=$(dirname "$(find "$d" -name nbdkit-file-plugin.so)")
filters=$(dirname "$(find "$d" -name nbdkit-blocksize-policy-filter.so)")

nbdcopy --version
nbdkit --version
for ((i = 0; i < 32; i++)); do
  head -c 65536 /dev/zero | tr '\0' x
  head -c 196608 /dev/zero
done >disk.raw

# KiB that a copy takes, on a server that prefers blocks of this size.
copied () {
  rm -f copy.raw
  truncate -s 8M copy.raw
  nbdkit -U - "$plugins/nbdkit-file-plugin.so" copy.raw \
    --filter="$filters/nbdkit-blocksize-policy-filter.so" \
    blocksize-preferred="$1" blocksize-minimum=1 blocksize-maximum=32M \
    --run 'nbdcopy disk.raw "$uri"'
  cmp disk.raw copy.raw
  du -k copy.raw | cut -f 1
}
small=$(copied 4096)
large=$(copied 1M)
echo "preferred 4096: $small KiB; 1M: $large KiB"
[ "$small" -lt 2500 ] && [ "$large" -ge 8192 ]
