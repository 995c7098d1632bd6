#!/usr/bin/python3
"""Reads or writes 4 KiB at a time, as the kernel's client does: without structured replies.

  simple.py SOCKET EXPORT randread|randwrite COUNT     COUNT requests in the first 64 MiB, 16 at a time
"""
import os
import random
import struct
import sys

import handshakes
from answers import DISCONNECT, READ, WRITE, Wrong, request, take

BLOCK, BLOCKS, DEPTH = 4096, 64 << 8, 16


def main():
    handshakes.place, handshakes.export = "unix:" + sys.argv[1], os.fsencode(sys.argv[2])
    kind, count = READ if sys.argv[3] == "randread" else WRITE, int(sys.argv[4])
    rng, payload = random.Random(count), b"\2" * BLOCK if kind == WRITE else b""
    client = handshakes.enter("simple")
    sent = done = 0
    while done < count:
        while sent < count and sent - done < DEPTH:
            client.sendall(request(kind, rng.randrange(BLOCKS) * BLOCK, BLOCK, cookie=sent) + payload)
            sent += 1
        magic, error, cookie = struct.unpack(">IIQ", take(client, 16))
        if magic != 0x67446698 or error or cookie >= sent:
            raise Wrong(f"a reply of {magic:#x} with error {error} to {cookie}")
        if kind == READ:
            take(client, BLOCK)
        done += 1
    client.sendall(request(DISCONNECT))
    client.close()


main()
