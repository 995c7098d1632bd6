#!/usr/bin/python3
"""Makes the seeds of the fuzz targets, in corpus/TARGET. What a seed's bytes mean stands with each target's Swift file.

partition-table   small disks with every kind of table: one byte that chooses the disk (bit 0: 4096-byte sectors; bit 1: sparse, of 16 TiB; bit 2:
                  checksums are made right before each run) and the disk's first and last sectors, half and half
nbd-handshake     whole conversations with every option: one byte that chooses the client's manners, and what it sends from its flags on
nbd-transmission  requests of every kind: two bytes that choose what was negotiated, and the requests
metadata          edits of disks, records and structures: one byte that chooses what, and the edits
"""
import pathlib
import struct
import zlib

CORPUS = pathlib.Path(__file__).parent / "corpus"
HERE = CORPUS / "partition-table"
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


# nbd-handshake

def option(number, data=b""):
    return struct.pack(">QII", 0x49484156454F5054, number, len(data)) + data


def text(value):
    return struct.pack(">I", len(value)) + value


def query(name, *types):
    return text(name) + struct.pack(">H", len(types)) + b"".join(struct.pack(">H", kind) for kind in types)


def meta(name, *queries):
    return text(name) + struct.pack(">I", len(queries)) + b"".join(map(text, queries))


FLAGS = struct.pack(">I", 3)
LEAVE = struct.pack(">IHHQQI", 0x25609513, 0, 2, 0, 0, 0)
OPTIONS = {
    "export-name": [(1, b"disk")], "export-name-unknown": [(1, b"nothing")], "abort": [(2, b"")], "list": [(3, b""), (3, b"x")],
    "starttls": [(5, b"")], "info": [(6, query(b"disk", 0, 1, 2, 3, 99))], "go": [(7, query(b"disk", 3))], "go-default": [(7, query(b""))],
    "go-unknown": [(7, query(b"x" * 300)), (7, query(b"denied")), (7, query(b"\xff")), (7, query(b"a\0b"))],
    "lengths": [(7, struct.pack(">I", 0xFFFFFFFF) + b"disk"), (7, query(b"disk", 1)[:-1]), (10, text(b"disk") + b"\xff" * 4)],
    "structured": [(8, b""), (9, meta(b"disk")), (9, meta(b"disk", b"base:", b"spaceport:")), (10, meta(b"disk", b"base:allocation")),
                   (7, query(b"disk"))],
    "extended": [(11, b""), (8, b""), (10, meta(b"", b"base:allocation", b"spaceport:slab", b"x:y")), (7, query(b"", 3))],
    "no-namespace": [(8, b""), (10, meta(b"disk", b"allocation")), (9, meta(b"disk", b"x" * 5000))],
    "unknown": [(0, b""), (4, b""), (12, b"abc"), (255, b"")],
    "too-many": [(3, b"")] * 33,
}

directory = CORPUS / "nbd-handshake"
directory.mkdir(parents=True, exist_ok=True)
for name, options in OPTIONS.items():
    (directory / name).write_bytes(b"\0" + FLAGS + b"".join(option(*each) for each in options) + LEAVE)
    (directory / f"{name}-headers-made-right").write_bytes(
        b"\1\3" + b"".join(struct.pack(">BH", number, len(data)) + data for number, data in options))
(directory / "in-pieces").write_bytes(b"\2" + FLAGS + option(7, query(b"disk")) + LEAVE)
(directory / "leaves-at-once").write_bytes(b"\4" + FLAGS + option(3) + option(7, query(b"disk")))
(directory / "read-only").write_bytes(b"\x08" + FLAGS + option(7, query(b"disk", 1, 2, 3)) + LEAVE)
(directory / "too-long").write_bytes(b"\0" + FLAGS + struct.pack(">QII", 0x49484156454F5054, 7, 0x7FFFFFFF))
(directory / "export-name-too-long").write_bytes(b"\0" + FLAGS + struct.pack(">QII", 0x49484156454F5054, 1, 0x10001))
(directory / "no-fixed-newstyle").write_bytes(b"\0" + struct.pack(">I", 0) + option(5) + option(1, b"disk") + LEAVE)
(directory / "unknown-flags").write_bytes(b"\0" + struct.pack(">I", 4))

# nbd-transmission

READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS = range(8)
SIMPLE, STRUCTURED, EXTENDED = 0, 1 | 4 | 8, 2 | 4 | 8


def request(style, kind, offset=0, length=0, flags=0, payload=b""):
    if style & 3 == 2:
        return struct.pack(">IHHQQQ", 0x21E41C71, flags, kind, 0, offset, length) + payload
    return struct.pack(">IHHQQI", 0x25609513, flags, kind, 0, offset, length) + payload


def every(style):
    has_payload = 32 if style & 3 == 2 else 0
    yield "read", [request(style, READ, 512, 1024), request(style, READ, 40 << 10, 64 << 10), request(style, READ, 48 << 10, 4096, 4)]
    yield "write", [request(style, WRITE, 4096, 100, has_payload, b"w" * 100), request(style, WRITE, 7 << 20, 8, 1 | has_payload, b"12345678"),
                    request(style, READ, 0, 16)]
    yield "others", [request(style, FLUSH), request(style, TRIM, 0, 1 << 20), request(style, CACHE, 0, 1 << 20),
                     request(style, ZEROES, 0, 1 << 20, 2), request(style, ZEROES, 0, 1 << 20, 16), request(style, DISC)]
    yield "status", [request(style, STATUS, 0, 1 << 20), request(style, STATUS, 5, 1 << 24, 8)]
    yield "errors", [request(style, READ, 1 << 63, 512), request(style, READ, 0, (32 << 20) + 1), request(style, 9, 0, 1), request(style, READ, 0, 1, 128),
                     request(style, WRITE, 1 << 63, 8, has_payload, b"12345678"), request(style, FLUSH, 1, 1), request(style, READ, 0, 0)]
    yield "cut", [request(style, READ, 0, 512), request(style, WRITE, 0, 512, has_payload, b"half")]
    yield "too-long", [request(style, READ, 0, 512), request(style, WRITE, 0, (64 << 20) + 1, has_payload, b"half")]
    if has_payload:
        asked = struct.pack(">QII", 1 << 20, 1, 2)
        yield "status-payload", [request(style, STATUS, 0, 16, 32, asked), request(style, STATUS, 0, 12, 32, asked[:12]),
                                 request(style, STATUS, 0, 16, 32, asked[:12] + asked[8:12]), request(style, STATUS, 0, 8, 32, asked[:8])]
        yield "payload-of-others", [request(style, READ, 0, 5, 32, b"abcde"), request(style, READ, 0, 512)]


directory = CORPUS / "nbd-transmission"
directory.mkdir(parents=True, exist_ok=True)
for name, style in (("simple", SIMPLE), ("structured", STRUCTURED), ("extended", EXTENDED)):
    for what, requests in every(style):
        stream = b"".join(requests)
        (directory / f"{name}-{what}").write_bytes(bytes([style, 0]) + stream)
        (directory / f"{name}-{what}-headers-made-right").write_bytes(bytes([style | 16 | 32, 0]) + stream)
    (directory / f"{name}-in-pieces").write_bytes(bytes([style | 128, 1]) + stream)
    (directory / f"{name}-leaves-at-once").write_bytes(bytes([style | 128, 2]) + stream)
    (directory / f"{name}-read-only-disk-fails").write_bytes(bytes([style | 64, 4]) + stream)

# metadata


def edit(block, place, data):
    return struct.pack(">BHB", block, place, len(data)) + data


directory = CORPUS / "metadata"
directory.mkdir(parents=True, exist_ok=True)
for disks in (0, 1):
    (directory / f"pool-of-{disks + 1}").write_bytes(bytes([disks]))
    for block in range(0, 40):
        (directory / f"pool-of-{disks + 1}-block-{block}").write_bytes(bytes([disks | 4]) + edit(block, 128, b"\xff" * 8) + edit(block, 72, b"\1"))
(directory / "pool-damaged").write_bytes(bytes([0]) + edit(0, 100, b"x") + edit(4, 100, b"x"))
for kind in range(14):
    (directory / f"structure-{kind}").write_bytes(bytes([2, kind, 1, 0, 1]) + bytes(range(200)))
    (directory / f"structure-{kind}-checksums-made-right").write_bytes(bytes([2 | 4, kind, 1, 0, 1]) + bytes([1] * 64) + bytes(400))
for block in range(0, 10):
    (directory / f"cache-disk-{block}").write_bytes(bytes([3 | 4]) + edit(block, 64, b"\1\0\0\0") + edit(block, 260, b"\xff" * 8))
for block in (0, 1):
    (directory / f"witness-{block}").write_bytes(bytes([3 | 4 | 8]) + edit(block, 48, b"\xff" * 7) + edit(block, 172, b"\1"))
(directory / "cache-disk").write_bytes(bytes([3]))
(directory / "witness").write_bytes(bytes([3 | 8]))
