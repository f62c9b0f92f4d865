#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# qemu-nbd binds its socket, and listens on it, before it opens the image.
#
# So "wait until the socket is there" is no way to know that the image is
# open, its locks taken, or that it can be opened at all: a client that
# connects then waits, or is disconnected when the image turns out to be in
# use.  Readiness is a connection that has been answered.
#
# Seen with: qemu-utils 1:7.2+dfsg-7+deb12u18 (Debian 12), by strace: bind and
# listen come before the first openat of the image.
set -euo pipefail

d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
chmod 755 .
apt-get download -q 'qemu-utils=1:7.2+dfsg-7+deb12u18*' strace=6.1-0.1 >/dev/null 2>&1
for p in *.deb; do dpkg -x "$p" .; done

usr/bin/qemu-nbd --version | head -n 1
usr/bin/qemu-img create -q -f raw disk.raw 1M
usr/bin/strace -f -e trace=bind,listen,openat -o trace \
  usr/bin/qemu-nbd -f raw -k "$d/sock" -t disk.raw &
pid=$!
for ((i = 0; i < 300; i++)); do
  grep -q 'openat(.*disk.raw' trace 2>/dev/null && break
  sleep 0.1
done
sleep 0.5
pkill -P "$pid" -x qemu-nbd || :
wait "$pid" || :

line () { grep -n "$1" trace | head -n 1 | cut -d: -f1; }
listen=$(line 'listen(.*= 0')
image=$(line 'openat(.*disk\.raw')
echo "listen is call $listen, the first open of the image is call $image"
[ "$listen" -lt "$image" ]
