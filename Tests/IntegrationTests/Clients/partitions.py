#!/usr/bin/python3
"""Clients of a virtual disk and its partitions.

  partitions.py hold URI LOG          reads and writes the first and the last 4 KiB of an export, over and over, each with its own number. Each
                                      round is logged. When a request fails: "failed ERRNO", then until the connection ends: "ended".
  partitions.py table FILE URI        copies what a tool did to a disk's table: each sector that differs between FILE and the export, within
                                      the first and the last 32 KiB, the last ones first, as sgdisk writes them
  partitions.py fetch URI FILE        the reverse: a sparse FILE with the export's first and last 32 KiB

Needs python3-libnbd.
"""
import errno
import os
import sys

import nbd

SECTOR = 512
AREA = 32 << 10
BLOCK = 4096


def connect(uri):
    handle = nbd.NBD()
    handle.connect_uri(uri)
    return handle


def hold(uri, log_path):
    handle = connect(uri)
    size = handle.get_size()
    with open(log_path, "w", buffering=1) as log:
        log.write(f"open {size}\n")
        number = 0
        failures = 0
        while True:
            number += 1
            data = number.to_bytes(8, "little") * (BLOCK // 8)
            try:
                for offset in (0, size - BLOCK):
                    handle.pwrite(data, offset)
                    if handle.pread(BLOCK, offset) != data:
                        log.write("wrong\n")
                        return 1
                if failures:
                    log.write("served again\n")
                    return 1
                log.write(f"round {number}\n")
            except nbd.Error as error:
                failures += 1
                log.write(f"failed {errno.errorcode.get(error.errnum, error.errnum)}\n")
                if handle.aio_is_dead() or handle.aio_is_closed():
                    log.write("ended\n")
                    return 0
                if failures > 100000:
                    return 1


def table(path, uri):
    handle = connect(uri)
    size = handle.get_size()
    with open(path, "rb") as file:
        for start in (size - AREA, 0):
            file.seek(start)
            wanted = file.read(AREA)
            there = handle.pread(AREA, start)
            for offset in range(0, AREA, SECTOR):
                if wanted[offset:offset + SECTOR] != there[offset:offset + SECTOR]:
                    handle.pwrite(wanted[offset:offset + SECTOR], start + offset)
    handle.flush()
    handle.shutdown()
    return 0


def fetch(uri, path):
    handle = connect(uri)
    size = handle.get_size()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.ftruncate(descriptor, size)
    for start in (0, size - AREA):
        os.pwrite(descriptor, handle.pread(AREA, start), start)
    os.close(descriptor)
    handle.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit({"hold": hold, "table": table, "fetch": fetch}[sys.argv[1]](*sys.argv[2:]))
