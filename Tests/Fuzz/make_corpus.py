#!/usr/bin/python3
"""Makes the seeds of the fuzzer of partition tables, in corpus/partition-table: small disks with every kind of table.

A seed is one byte that chooses the disk (bit 0: 4096-byte sectors; bit 1: sparse, of 16 TiB; bit 2: checksums are made right before each run)
and the disk's first and last sectors, half and half.
"""
import pathlib
import struct
import zlib

HERE = pathlib.Path(__file__).parent / "corpus" / "partition-table"
LINUX = bytes.fromhex("af3dc60f838472478e793d69d8477de4")
ENTRIES = 4


def mbr(*entries):
    sector = bytearray(512)
    for index, (kind, first, count) in enumerate(entries):
        struct.pack_into("<B3xB3xII", sector, 446 + 16 * index, 0, kind, first, count)
    sector[510:] = b"\x55\xaa"
    return bytes(sector)


def entry(number, first, last, name):
    return LINUX + bytes([number] * 16) + struct.pack("<QQQ", first, last, 1 << 60) + name.encode("utf-16-le").ljust(72, b"\0")


def header(mine, other, first, last, entries_lba, array, size):
    fields = struct.pack("<8sIIII", b"EFI PART", 0x10000, 92, 0, 0)
    fields += struct.pack("<QQQQ16sQIII", mine, other, first, last, bytes([7] * 16), entries_lba, ENTRIES, 128, zlib.crc32(array))
    fields = fields[:16] + struct.pack("<I", zlib.crc32(fields)) + fields[20:]
    return fields.ljust(size, b"\0")


class Disk:
    """`sectors` of them are kept: half at the head, half at the end of a disk of `count`."""

    def __init__(self, size, sectors=12, count=None, partitions=None):
        self.size, self.count, self.head = size, count or sectors, (sectors - sectors // 2)
        self.data = bytearray(sectors * size)
        last = self.count - 1
        self.usable = (3, last - 2)
        partitions = partitions or [entry(1, 3, 4, "one"), entry(2, 5, last - 2, "zwei")]
        array = b"".join(partitions).ljust(128 * ENTRIES, b"\0")
        self.put(0, mbr((0xEE, 1, min(last, 0xFFFFFFFF))))
        self.put(1, header(1, last, *self.usable, 2, array, size))
        self.put(2, array)
        self.put(last - 1, array)
        self.put(last, header(last, 1, *self.usable, last - 1, array, size))

    def put(self, lba, data):
        place = lba if lba < self.head else lba - self.count + len(self.data) // self.size
        self.data[place * self.size:place * self.size + len(data)] = data
        return self

    def seed(self, name, fixes=False):
        choice = (self.size == 4096) | (self.count > 1 << 20) << 1 | fixes << 2
        (HERE / name).write_bytes(bytes([choice]) + self.data)


HERE.mkdir(parents=True, exist_ok=True)
for size in (512, 4096):
    Disk(size).seed(f"gpt-{size}")
    Disk(size, count=(1 << 44) // size).seed(f"gpt-large-{size}")
Disk(512).seed("gpt-checksums-made-right", fixes=True)
Disk(512).put(1, bytes(512)).seed("primary-lost")
Disk(512).put(2, b"\xff").seed("primary-entries-wrong")
Disk(512).put(11, bytes(512)).seed("backup-lost")
Disk(512, sectors=16).put(15, bytes(512)).put(0, Disk(512).data[:1536]).put(10, Disk(512).data[10 * 512:]).seed("grown")
Disk(512, partitions=[entry(1, 3, 6, "a"), entry(2, 5, 9, "b")]).seed("overlap")
Disk(512, partitions=[entry(1, 3, 4, "a"), entry(1, 5, 9, "a")]).seed("twins")
Disk(512, partitions=[entry(1, 8, 3, "a"), entry(2, 5, 1 << 62, "b")]).seed("out-of-bounds", fixes=True)
Disk(512).put(0, mbr((0xEE, 1, 2), (0x83, 3, 2))).seed("hybrid")
Disk(512).put(0, mbr((0x83, 3, 2))).seed("mbr-over-gpt")
Disk(512).put(0, bytes.fromhex("eb3c90") + b"mkfs.fat" + bytes([0, 2, 4]) + bytes(496) + b"\x55\xaa").seed("boot-sector-over-gpt")
chain = Disk(512, sectors=16)
chain.data[:] = bytes(len(chain.data))
chain.put(0, mbr((0x83, 1, 1), (0x05, 3, 10))).put(3, mbr((0x83, 1, 1), (0x05, 3, 3))).put(6, mbr((0x82, 1, 1), (0x0F, 6, 3)))
chain.put(9, mbr((0x83, 1, 1))).seed("mbr-chain")
chain.put(9, mbr((0x83, 1, 1), (0x05, 0, 3))).seed("mbr-loop")
