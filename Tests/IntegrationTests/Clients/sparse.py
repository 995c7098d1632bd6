#!/usr/bin/python3
"""Goes through what structured replies bring, as libnbd speaks it, on a thin virtual disk of 64 MiB that nobody has written yet.

  sparse.py URI

Ends with an AssertionError where something is not as it must be. Needs python3-libnbd.
"""
import errno
import sys

import nbd

MIB = 1 << 20
ALLOCATION, SLAB = "base:allocation", "spaceport:slab"


def connect(uri):
    handle = nbd.NBD()
    handle.add_meta_context(ALLOCATION)
    handle.add_meta_context(SLAB)
    handle.connect_uri(uri)
    return handle


def status(handle, offset, count, flags=0):
    found = {}

    def extents(name, at, entries, error):
        assert at == offset and name not in found, (name, at)
        found[name] = list(zip(entries[::2], entries[1::2]))

    handle.block_status(count, offset, extents, flags)
    assert set(found) == {ALLOCATION, SLAB}, found
    return found


def chunks(handle, offset, count, flags=0):
    found = []

    def chunk(data, at, kind, error):
        found.append((at, len(data), kind))

    data = handle.pread_structured(count, offset, chunk, flags)
    return data, sorted(found)


def fails(body):
    try:
        body()
    except nbd.Error as error:
        return error.errnum
    return None


handle = connect(sys.argv[1])
assert handle.get_structured_replies_negotiated()
assert handle.can_meta_context(ALLOCATION) and handle.can_meta_context(SLAB)
assert handle.can_df() and handle.can_cache() and handle.can_fast_zero() and handle.can_zero()

# Nothing is there.
assert status(handle, 0, 64 * MIB) == {ALLOCATION: [(64 * MIB, 3)], SLAB: [(64 * MIB, 0)]}
data, found = chunks(handle, 0, MIB)
assert data == bytes(MIB) and found == [(0, MIB, nbd.READ_HOLE)], found

# Something is.
pattern = bytes(range(1, 252)) * (16 * MIB // 251 + 1)
handle.pwrite(pattern[: 16 * MIB], 0)
handle.flush()
now = status(handle, 0, 64 * MIB)
assert now[ALLOCATION][-1][1] == 3 and sum(length for length, flags in now[ALLOCATION] if not flags & 2) >= 16 * MIB, now
rows = [flags for length, flags in now[SLAB] if flags]
assert rows and len(rows) == len(set(rows)) and now[SLAB][-1][1] == 0, now
one = status(handle, 4096, 32 * MIB, nbd.CMD_FLAG_REQ_ONE)
assert all(len(extents) == 1 and extents[0][0] <= 32 * MIB for extents in one.values()), one

# Zeros between data: whole chunks, told as holes, whole with DF.
handle.zero(8 * MIB, 4 * MIB, nbd.CMD_FLAG_FAST_ZERO)
expected = pattern[: 4 * MIB] + bytes(8 * MIB) + pattern[12 * MIB : 16 * MIB]
data, found = chunks(handle, 0, 16 * MIB)
assert data == expected and any(kind == nbd.READ_HOLE for at, length, kind in found), found
data, found = chunks(handle, 0, 16 * MIB, nbd.CMD_FLAG_DF)
assert data == expected and found == [(0, 16 * MIB, nbd.READ_DATA)], found
assert handle.pread(16 * MIB, 0) == expected

# A part of a block cannot be zeroed without reading it.
assert fails(lambda: handle.zero(512, 512, nbd.CMD_FLAG_FAST_ZERO)) == errno.ENOTSUP
assert handle.pread(4 * MIB, 0) == expected[: 4 * MIB]

# Space that is kept, and space that is not.
handle.zero(8 * MIB, 40 * MIB, nbd.CMD_FLAG_NO_HOLE)
kept = status(handle, 40 * MIB, 8 * MIB)
assert all(not flags & 1 for length, flags in kept[ALLOCATION]) and all(flags for length, flags in kept[SLAB]), kept
assert handle.pread(8 * MIB, 40 * MIB) == bytes(8 * MIB)
handle.trim(64 * MIB, 0)
handle.flush()
assert status(handle, 0, 64 * MIB) == {ALLOCATION: [(64 * MIB, 3)], SLAB: [(64 * MIB, 0)]}

# To be cached, or not: it succeeds.
handle.pwrite(pattern[: 4 * MIB], 0)
handle.cache(64 * MIB, 0)
assert handle.pread(4 * MIB, 0) == pattern[: 4 * MIB]

# What is not valid is refused, and the connection goes on.
handle.set_strict_mode(0)
assert fails(lambda: handle.pread(MIB, 64 * MIB)) == errno.EINVAL
assert fails(lambda: handle.pwrite(bytes(512), 64 * MIB)) == errno.ENOSPC
assert fails(lambda: handle.block_status(MIB, 64 * MIB, lambda *_: 0)) == errno.EINVAL
assert fails(lambda: handle.cache(MIB, 64 * MIB)) == errno.EINVAL
assert fails(lambda: handle.trim(511, 0)) == errno.EINVAL
assert handle.pread(512, 0) == pattern[:512]
handle.shutdown()
