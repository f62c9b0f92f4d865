#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# QEMU appends to a VDI image at the header's count of blocks, and never
# looks at how many blocks the disk has.
#
# In an image with leaked blocks (a program that counts ahead and is killed
# leaves such ones, and so does QEMU itself), every new block raises the
# count, until it is above the number of entries in the map.  QEMU goes on
# reading and writing the image, but its own check calls the entries that it
# wrote itself damage, and VirtualBox refuses the image from then on.
#
# Seen with: qemu-utils 1:7.2+dfsg-7+deb12u18 (Debian 12): a disk of 4 blocks
# of which 3 leaked and 1 is in use; two writes into unused blocks make the
# count 6 of 4.
set -euo pipefail

d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
chmod 755 .
apt-get download -q 'qemu-utils=1:7.2+dfsg-7+deb12u18*' >/dev/null 2>&1
for p in *.deb; do dpkg -x "$p" .; done
export PATH=$d/usr/bin:$PATH

word () { od -An -tu4 -j "$(($2))" -N 4 "$1" | tr -d ' '; }
n () { word disk.vdi 0x180; }          # blocks of the disk
count () { word disk.vdi 0x184; }      # blocks in the file

qemu-img --version | head -n 1
qemu-img create -q -f vdi disk.vdi 4M
qemu-io -f vdi -c 'write -P 1 0 64k' disk.vdi >/dev/null
# Three blocks at the end that no entry of the map refers to.
truncate -s +3M disk.vdi
printf '\4' | dd of=disk.vdi bs=1 seek=$((0x184)) conv=notrunc status=none
echo "blocks: $(n), count: $(count)"
[ "$(n)" = 4 ] && [ "$(count)" = 4 ]

qemu-io -f vdi -c 'write -P 2 1M 64k' -c 'write -P 3 2M 64k' disk.vdi \
  >/dev/null
echo "after two writes: blocks: $(n), count: $(count)"
[ "$(count)" = 6 ]
qemu-io -r -f vdi -c 'read -P 2 1M 64k' -c 'read -P 3 2M 64k' disk.vdi |
  grep -c '^read 65536'
qemu-img check disk.vdi >check 2>&1 || echo "qemu-img check: exit status $?"
grep 'too large' check
