# SPDX-License-Identifier: BSD-3-Clause
"""Read, write and damage VDI files, for tests.

Written from the description of the format, not from common/image/header.c, so
that both have to be wrong in the same way for a test to miss it.  Knows
both header versions.  Checks nothing that it does not need: making
images that nobody should accept is what it is for.

    make("a.vdi", size=8 << 20, blocks={0: b"...", 5: ZERO})
    image = Image("a.vdi")
    image.n_alloc, image.map, image.read()      # what is there
    patch("a.vdi", n_alloc=1, comment=b"x")     # change header fields
    set_entry("a.vdi", 3, 1000)                 # change a map entry
"""

import os
import struct
import uuid as _uuid

MAGIC = 0xbeda107f
FREE = 0xffffffff       # not stored here: the parent's, or zeros
ZERO = 0xfffffffe       # zeros, whatever the parent has
DYNAMIC, FIXED, UNDO, DIFF = 1, 2, 3, 4
M = 1 << 20

TEXT = b"<<< Oracle VM VirtualBox Disk Image >>>\n"

_U32, _U64 = "<I", "<Q"

# Field -> (offset in the file, how it is stored).
_PRE = {
    "text": (0x00, "64s"),
    "magic": (0x40, _U32),
    "version": (0x44, _U32),
}
_V1 = {
    "header_len": (0x48, _U32),
    "type": (0x4c, _U32),
    "flags": (0x50, _U32),
    "comment": (0x54, "256s"),
    "map_off": (0x154, _U32),
    "data_off": (0x158, _U32),
    "geo1_cylinders": (0x15c, _U32),
    "geo1_heads": (0x160, _U32),
    "geo1_sectors": (0x164, _U32),
    "geo1_sector_size": (0x168, _U32),
    "dummy": (0x16c, _U32),
    "disk_size": (0x170, _U64),
    "block_size": (0x178, _U32),
    "block_extra": (0x17c, _U32),
    "n_blocks": (0x180, _U32),
    "n_alloc": (0x184, _U32),
    "uuid_image": (0x188, "uuid"),
    "uuid_mod": (0x198, "uuid"),
    "uuid_parent": (0x1a8, "uuid"),
    "uuid_parent_mod": (0x1b8, "uuid"),
    "geo2_cylinders": (0x1c8, _U32),
    "geo2_heads": (0x1cc, _U32),
    "geo2_sectors": (0x1d0, _U32),
    "geo2_sector_size": (0x1d4, _U32),
}
_V0 = {
    "type": (0x48, _U32),
    "flags": (0x4c, _U32),
    "comment": (0x50, "256s"),
    "geo1_cylinders": (0x150, _U32),
    "geo1_heads": (0x154, _U32),
    "geo1_sectors": (0x158, _U32),
    "geo1_sector_size": (0x15c, _U32),
    "disk_size": (0x160, _U64),
    "block_size": (0x168, _U32),
    "n_blocks": (0x16c, _U32),
    "n_alloc": (0x170, _U32),
    "uuid_image": (0x174, "uuid"),
    "uuid_mod": (0x184, "uuid"),
    "uuid_parent": (0x194, "uuid"),
}
_V0_MAP = 0x1a4
NULL_UUID = _uuid.UUID(int=0)


def _fields(version):
    fields = dict(_PRE)
    fields.update(_V0 if version >> 16 == 0 else _V1)
    return fields


def _as_uuid(value):
    return value if isinstance(value, _uuid.UUID) else _uuid.UUID(value)


def _encode(how, value):
    # Stored like a Windows GUID: the first three fields little-endian.
    if how == "uuid":
        return _as_uuid(value).bytes_le
    if how.endswith("s"):
        if isinstance(value, str):
            value = value.encode()
        return struct.pack(how, value)
    return struct.pack(how, value)


def _decode(how, data):
    if how == "uuid":
        return _uuid.UUID(bytes_le=data)
    return struct.unpack(how, data)[0]


def _length(how):
    return 16 if how == "uuid" else struct.calcsize(how)


class Image:
    """A file as it is now.  Attributes: the header's fields (see the
    tables above; those that version 0.2 has not got have the values that
    it implies), map (list of integers), file_size."""

    def __init__(self, filename):
        self.filename = filename
        with open(filename, "rb") as f:
            # Of a block device, too.
            self.file_size = f.seek(0, os.SEEK_END)
            f.seek(0)
            head = f.read(512).ljust(512, b"\0")
            version = struct.unpack_from(_U32, head, 0x44)[0]
            self.block_extra = 0
            self.header_len = 0
            self.uuid_parent_mod = NULL_UUID
            for name, (offset, how) in _fields(version).items():
                setattr(self, name,
                        _decode(how, head[offset:offset + _length(how)]))
            if version >> 16 == 0:
                self.map_off = _V0_MAP
                self.data_off = _V0_MAP + 4 * self.n_blocks
            f.seek(self.map_off)
            entries = f.read(4 * self.n_blocks)
            self.map = list(struct.unpack("<%dI" % (len(entries) // 4),
                                          entries[:len(entries) // 4 * 4]))
        self.stride = self.block_size + self.block_extra

    def block_offset(self, index):
        """Where the data of a physical block begin in the file."""
        return self.data_off + index * self.stride + self.block_extra

    def exact_size(self):
        """How long the file has to be by its count."""
        return self.data_off + self.n_alloc * self.stride

    def allocated(self):
        """Block number -> physical index of what is stored here."""
        return {i: e for i, e in enumerate(self.map) if e < ZERO}

    def problems(self):
        """What is wrong with map, count and length, as a list of lines:
        what a clean close must leave empty."""
        result = []
        used = sorted(self.allocated().values())
        if len(used) != len(set(used)):
            result.append("an index is used twice")
        if used and used[-1] >= self.n_alloc:
            result.append("entry %d, count %d" % (used[-1], self.n_alloc))
        if used != list(range(self.n_alloc)):
            result.append("%d blocks are used, count %d" %
                          (len(used), self.n_alloc))
        if self.file_size != self.exact_size():
            result.append("the file has %d bytes, not %d" %
                          (self.file_size, self.exact_size()))
        return result

    def block(self, number):
        """The bytes of a stored block; None for FREE, zeros for ZERO."""
        entry = self.map[number]
        if entry == FREE:
            return None
        if entry == ZERO:
            return bytes(self.block_size)
        with open(self.filename, "rb") as f:
            f.seek(self.block_offset(entry))
            return f.read(self.block_size).ljust(self.block_size, b"\0")

    def read(self, *parents):
        """The whole disk, over its parents (Image, nearest first)."""
        size = (self.disk_size + 511) & ~511
        below = parents[0].read(*parents[1:]) if parents else b""
        below = below[:size].ljust(size, b"\0")
        result = []
        for number in range((size + self.block_size - 1) // self.block_size):
            start = number * self.block_size
            data = self.block(number)
            if data is None:
                data = below[start:start + self.block_size]
            result.append(data)
        return b"".join(result)[:size]


def make(filename, size=8 * M, block_size=M, blocks=None, type=DYNAMIC,
         version=0x00010001, map_off=512, data_off=None, block_extra=0,
         n_blocks=None, order=None, tail=b"", **fields):
    """Make an image.

    blocks: block number -> bytes (padded with zeros), FREE or ZERO.
    order: the block numbers in the order in which they are stored; None
      is ascending.  An element None leaves a physical block unused.
    data_off: None is as close behind the map as 512 bytes' alignment
      allows.  tail: what follows the last block.
    fields: any field of the header, instead of what it should be, such as
      n_alloc=7, header_len=0x180, uuid_parent=..., comment="x".
    Returns filename.
    """
    blocks = dict(blocks or {})
    if n_blocks is None:
        n_blocks = (size + block_size - 1) // block_size
    if type == FIXED:
        for number in range(n_blocks):
            blocks.setdefault(number, b"")
    stored = [b for b in sorted(blocks) if not isinstance(blocks[b], int)]
    order = stored if order is None else list(order)
    assert sorted(b for b in order if b is not None) == stored
    if version >> 16 == 0:
        map_off = _V0_MAP
        data_off = map_off + 4 * n_blocks
        assert block_extra == 0
    elif data_off is None:
        data_off = (map_off + 4 * n_blocks + 511) & ~511

    values = {
        "text": TEXT,
        "magic": MAGIC,
        "version": version,
        "header_len": 0x190,
        "type": type,
        "flags": 0,
        "comment": b"",
        "map_off": map_off,
        "data_off": data_off,
        "geo1_cylinders": 0,
        "geo1_heads": 0,
        "geo1_sectors": 0,
        "geo1_sector_size": 512,
        "dummy": 0,
        "disk_size": size,
        "block_size": block_size,
        "block_extra": block_extra,
        "n_blocks": n_blocks,
        "n_alloc": len(order),
        "uuid_image": _uuid.uuid4(),
        "uuid_mod": _uuid.uuid4(),
        "uuid_parent": NULL_UUID,
        "uuid_parent_mod": NULL_UUID,
        "geo2_cylinders": 0,
        "geo2_heads": 0,
        "geo2_sectors": 0,
        "geo2_sector_size": 512,
    }
    known = _fields(version)
    for name in fields:
        assert name in known, name
    values.update(fields)
    if values["header_len"] < 0x190 and version >> 16 == 1:
        # What is not in the header is nobody's.
        for name in list(known):
            if name.startswith("geo2_") and name not in fields:
                values[name] = 0

    entries = [FREE] * n_blocks
    for number, content in blocks.items():
        if isinstance(content, int):
            entries[number] = content
    for index, number in enumerate(order):
        if number is not None:
            entries[number] = index

    stride = block_size + block_extra
    with open(filename, "wb") as f:
        for name, (offset, how) in known.items():
            f.seek(offset)
            f.write(_encode(how, values[name]))
        f.seek(map_off)
        f.write(struct.pack("<%dI" % n_blocks, *entries))
        for index, number in enumerate(order):
            if number is not None and blocks[number]:
                data = blocks[number]
                assert len(data) <= block_size
                f.seek(data_off + index * stride + block_extra)
                f.write(data)
        end = data_off + len(order) * stride
        f.truncate(end)
        f.seek(end)
        f.write(tail)
    return filename


def child(filename, parent, blocks=None, **kw):
    """Make a differencing image of another file, as large as that."""
    p = Image(parent)
    kw.setdefault("size", p.disk_size)
    kw.setdefault("block_size", p.block_size)
    kw.setdefault("uuid_parent", p.uuid_image)
    kw.setdefault("uuid_parent_mod", p.uuid_mod)
    return make(filename, blocks=blocks, type=kw.pop("type", DIFF), **kw)


def patch(filename, **fields):
    """Change fields of the header of a file, and nothing else."""
    with open(filename, "r+b") as f:
        version = struct.unpack_from(_U32, f.read(72).ljust(72, b"\0"),
                                     0x44)[0]
        known = _fields(version)
        for name, value in fields.items():
            offset, how = known[name]
            f.seek(offset)
            f.write(_encode(how, value))


def set_entry(filename, number, value):
    """Change one entry of the block map."""
    image = Image(filename)
    with open(filename, "r+b") as f:
        f.seek(image.map_off + 4 * number)
        f.write(struct.pack(_U32, value))


def resize_file(filename, size=None, by=0):
    """Cut a file, or make it longer."""
    if size is None:
        size = os.stat(filename).st_size
    os.truncate(filename, size + by)
