#!/usr/bin/python3
"""A thousand clients that have an export open and do nothing, after each has read 1 MiB and had 32 requests in flight.

  idle.py PATH EXPORT COUNT [CA]     with TLS where a certificate authority is named

It prints "idle" and waits for its standard input to end; then each of them reads once more.
"""
import os
import socket
import ssl
import struct
import sys

OPTION = b"IHAVEOPT"


def take(client, count):
    left = count
    while left:
        piece = client.recv(min(left, 1 << 20))
        if not piece:
            sys.exit("the server closed a connection")
        left -= len(piece)


def request(offset, length):
    return struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, offset, length)


def enter(path, export, tls):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(60)
    client.connect(path)
    take(client, 18)
    client.sendall(struct.pack(">I", 3))
    if tls:
        client.sendall(OPTION + struct.pack(">II", 5, 0))
        take(client, 20)
        client = tls.wrap_socket(client)
    query = struct.pack(">I", len(export)) + export + b"\0\0"
    client.sendall(OPTION + struct.pack(">II", 7, len(query)) + query)
    while True:
        header = b""
        while len(header) < 20:
            header += client.recv(20 - len(header))
        kind, length = struct.unpack(">II", header[12:])
        take(client, length)
        if kind == 1:
            return client
        if kind >> 31:
            sys.exit("the export was refused")


def main():
    path, export, count = sys.argv[1], os.fsencode(sys.argv[2]), int(sys.argv[3])
    tls = ssl.create_default_context(cafile=sys.argv[4]) if len(sys.argv) > 4 else None
    if tls:
        tls.check_hostname = False
    clients = [enter(path, export, tls) for _ in range(count)]
    for client in clients:
        client.sendall(request(0, 1 << 20))
        take(client, 16 + (1 << 20))
        client.sendall(b"".join(request(block << 12, 4096) for block in range(32)))
        take(client, 32 * (16 + 4096))
    print("idle", flush=True)
    sys.stdin.read()
    for client in clients:
        client.sendall(request(0, 4096))
        take(client, 16 + 4096)
    print("served", flush=True)


main()
