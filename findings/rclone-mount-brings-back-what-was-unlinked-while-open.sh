#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# On rclone's mount a file that is unlinked while it is open comes back when
# it is closed.
#
# A file system of user space lets a file go on that somebody has open, and
# when it is closed the file is gone, as everywhere.  With rclone mount as it
# is without options (--vfs-cache-mode off) the name is gone only until then:
# the file is there again after the close, empty or with what was written.
# So a program that removes what it could not finish, and then closes it,
# leaves it behind.
#
# Seen with: rclone 1.60.1 (Debian 12), mount of a local directory.
set -euo pipefail

d=$(mktemp -d)
trap 'umount "$d/mnt" 2>/dev/null || true; wait; rm -rf "$d"' EXIT
cd "$d"
chmod 755 .
apt-get download -q rclone=1.60.1+dfsg-2+b5 >/dev/null 2>&1
dpkg -x rclone_*.deb .

mkdir below mnt
export RCLONE_CONFIG=$d/rclone.conf
touch rclone.conf
usr/bin/rclone version | head -1
usr/bin/rclone mount "$d/below" mnt --dir-cache-time 0s >log 2>&1 &
for _ in $(seq 100); do mountpoint -q mnt && break; sleep 0.1; done
mountpoint -q mnt

cat >unlink.py <<'END'
import os, sys, time
name = sys.argv[1]
fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
if len(sys.argv) > 2:
    os.write(fd, sys.argv[2].encode())
os.unlink(name)
print("unlinked:", "there" if os.path.exists(name) else "gone")
os.close(fd)
time.sleep(1)
print("closed:", "%d bytes" % os.stat(name).st_size
      if os.path.exists(name) else "gone")
END
echo "on this file system:"; python3 unlink.py below/a data | tee here
echo "through rclone:"; python3 unlink.py mnt/b data | tee there
echo "through rclone, nothing written:"; python3 unlink.py mnt/c | tee empty
grep -qx 'closed: gone' here
grep -qx 'unlinked: gone' there
grep -qx 'closed: 4 bytes' there
grep -qx 'closed: 0 bytes' empty
