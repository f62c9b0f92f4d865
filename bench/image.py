# SPDX-License-Identifier: BSD-3-Clause
"""The images that are served: the same disk as a raw file and as VDIs.

There are three families: "vdi" for our plugin, "qemu" for QEMU's, both VDIs
of the same layout, and "raw".
"""

import contextlib
import os
import random
import subprocess

K, M, G, T = 1 << 10, 1 << 20, 1 << 30, 1 << 40
FORMATS = {"raw": "raw", "vdi": "vdi", "qemu": "vdi"}


class Images:
    """The images in one directory."""

    def __init__(self, directory, create):
        self.directory = directory
        self.create = create            # the program bench/create

    def path(self, name):
        return os.path.join(self.directory, name)

    def exists(self, name):
        return os.path.exists(self.path(name))

    def remove(self, *names):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path(name))

    def remove_all(self):
        for entry in os.scandir(self.directory):
            if entry.is_file():
                os.unlink(entry.path)

    def settle(self, name):
        """What one server has left dirty must not slow down the next."""
        fd = os.open(self.path(name), os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)

    def cache(self, name):
        """Have the file in memory in small pages.  The large ones that the
        kernel makes on its own depend on how the file was written and on
        where in it the data begin, and cost a small write several times as
        much: that is not what is to be compared.
        """
        with open(self.path(name), "rb") as f:
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            while f.read(M):
                pass

    # As VirtualBox lays VDIs out: the map and the data begin at multiples
    # of 1 MiB.  QEMU's own images do not even align the data to a page,
    # which makes a difference of its own when they are copied, either way.

    def make_empty(self, family, name, size):
        self.remove(name)
        if FORMATS[family] == "raw":
            with open(self.path(name), "wb") as f:
                f.truncate(size)
        else:
            subprocess.run([self.create, self.path(name), str(size // M)],
                           check=True)

    def make_child(self, name, parent):
        self.remove(name)
        subprocess.run([self.create, self.path(name), "0",
                        self.path(parent)], check=True)

    def make_sparse(self, family, name, size, stride, stored, random=False):
        """Of the disk's blocks of 1 MiB every stride-th is there, in the
        order of the disk or in a random one; each has so many bytes stored
        at its beginning, and is a hole behind them.
        """
        self.remove(name)
        raw = ["--raw"] if FORMATS[family] == "raw" else []
        subprocess.run([self.create, *raw, *(["--random"] if random else []),
                        "--stride=%d" % stride, "--stored=%d" % stored,
                        self.path(name), str(size // M)], check=True)

    def make_full(self, size, half=False):
        """The same content for each family: source.img, and one copy each.

        One VDI is no copy of the other: each has a UUID of its own, or the
        base of a chain would be there twice.
        """
        names = full_names(half)
        if all(map(self.exists, names.values())):
            return names
        source = "half.img" if half else "source.img"
        piece = random.Random(1).randbytes(M)
        with open(self.path(source), "wb") as f:
            for i in range(size // M):
                if half and i % 2:
                    f.seek(M, os.SEEK_CUR)
                else:
                    f.write(i.to_bytes(8, "little") + piece[8:])
            f.truncate(size)
        for family, name in names.items():
            self.make_empty(family, name, size)
            subprocess.run(["qemu-img", "convert", "-n", "--target-is-zero",
                            "-f", "raw", "-O", FORMATS[family],
                            self.path(source), self.path(name)], check=True)
            self.settle(name)
            self.cache(name)
        return names


def full_names(half=False):
    prefix = "half-" if half else "full-"
    return {"raw": prefix + "raw.img", "vdi": prefix + "vdi.vdi",
            "qemu": prefix + "qemu.vdi"}

