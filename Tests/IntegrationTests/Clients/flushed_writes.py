#!/usr/bin/python3
"""Writes to an export until the server is gone, or checks what a server that came back has kept.

  flushed_writes.py write URI LOG SEED     each write is logged before it is sent, each flush once it was answered
  flushed_writes.py check URI LOG          every block holds what was last written before the last flush, or something written since

A block is 4096 bytes that all tell the number of the write they belong to. Needs python3-libnbd.
"""
import random
import sys

import nbd

BLOCK = 4096
AREA_BLOCKS = 8192  # 32 MiB: small, so that blocks are written many times


def content(number):
    return number.to_bytes(8, "little") * (BLOCK // 8)


def connect(uri):
    handle = nbd.NBD()
    handle.connect_uri(uri)
    return handle


def write(uri, log_path, seed):
    rng = random.Random(seed)
    handle = connect(uri)
    first = sum(1 for line in open(log_path)) if seed != "0" else 0
    number = first
    with open(log_path, "a", buffering=1) as log:
        try:
            while True:
                in_flight = []
                for _ in range(rng.randint(1, 24)):
                    number += 1
                    block, count = rng.randrange(AREA_BLOCKS - 16), rng.choice((1, 1, 1, 2, 16))
                    kind = rng.choices("wfzt", (20, 1, 1, 1))[0]
                    log.write(f"{kind} {number} {block} {count}\n")
                    offset, size = block * BLOCK, count * BLOCK
                    if kind in "wf":
                        data = nbd.Buffer.from_bytearray(bytearray(content(number) * count))
                        cookie = handle.aio_pwrite(data, offset, flags=nbd.CMD_FLAG_FUA if kind == "f" else 0)
                    elif kind == "z":
                        cookie = handle.aio_zero(size, offset)
                    else:
                        cookie = handle.aio_trim(size, offset)
                    # overlapping writes in flight have no order: wait for each, but flush only now and then
                    while not handle.aio_command_completed(cookie):
                        handle.poll(-1)
                    if kind == "f":
                        log.write(f"F {number}\n")
                handle.flush()
                log.write(f"flushed {number}\n")
        except nbd.Error:
            return  # the server is gone


def allowed_contents(log_path):
    """For each block the numbers (0: zeros) it may hold."""
    kept = {}  # last flushed
    since = {}  # written after that
    for line in open(log_path):
        words = line.split()
        if words[0] == "flushed":
            for block, numbers in since.items():
                kept[block] = numbers[-1]
            since.clear()
        elif words[0] == "checked":
            kept = {}
            since.clear()
            for entry in words[1:]:
                block, number = entry.split(":")
                kept[int(block)] = int(number)
        elif words[0] == "F":
            number = int(words[1])
            for block, numbers in list(since.items()):
                if numbers[-1] == number:
                    kept[block] = number
                    del since[block]
        elif len(words) == 4:
            number = 0 if words[0] in "zt" else int(words[1])
            for block in range(int(words[2]), int(words[2]) + int(words[3])):
                since.setdefault(block, []).append(number)
    return kept, since


def check(uri, log_path):
    kept, since = allowed_contents(log_path)
    handle = connect(uri)
    found = {}
    wrong = 0
    for start in range(0, AREA_BLOCKS, 256):
        data = bytes(handle.pread(256 * BLOCK, start * BLOCK))
        for block in range(start, start + 256):
            piece = data[(block - start) * BLOCK:(block - start + 1) * BLOCK]
            allowed = {kept.get(block, 0), *since.get(block, [])}
            sectors = {piece[i:i + 512] for i in range(0, BLOCK, 512)}
            for sector in sectors:
                number = int.from_bytes(sector[:8], "little")
                if sector != content(number)[:512] or number not in allowed:
                    wrong += 1
                    if wrong <= 5:
                        print(f"block {block} holds {number}, allowed are {sorted(allowed)}", file=sys.stderr)
            if piece != bytes(BLOCK):
                found[block] = int.from_bytes(piece[:8], "little")
    if wrong:
        sys.exit(f"{wrong} sectors hold what they must not")
    # A read never changes its mind: what was seen is what later checks expect (flushed, so that it is kept as well).
    handle.flush()
    with open(log_path, "a") as log:
        log.write("checked " + " ".join(f"{block}:{number}" for block, number in sorted(found.items())) + "\n")
    print(f"{len(kept)} flushed blocks, {len(since)} written since, all as they may be")


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[2], sys.argv[3], sys.argv[4])
    else:
        check(sys.argv[2], sys.argv[3])
