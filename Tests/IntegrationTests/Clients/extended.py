#!/usr/bin/python3
"""Requests longer than 32 bits can say, on an empty virtual disk of terabytes.

  extended.py SOCKET EXPORT SIZE     with the log of what took how long on standard output

It ends with 1 when something is not as it must be. Meanwhile another client must be served.
"""
import os
import select
import socket
import struct
import sys
import time

from answers import CACHE, FAST_ZERO, FLUSH, FUA, PAYLOAD_LEN, READ, STATUS, TRIM, WRITE, ZEROES, Wrong, read_answer, request, take

OPTION = b"IHAVEOPT"
MIB, TIB = 1 << 20, 1 << 40
# Of a read of 4 KiB beside a request of terabytes. Seconds.
LONGEST_WAIT = 5


def ask(client, number, data=b""):
    """Reply types and data of an option, without the last, which must be an acknowledgement."""
    client.sendall(OPTION + struct.pack(">II", number, len(data)) + data)
    replies = []
    while True:
        _, _, kind, length = struct.unpack(">QIII", take(client, 20))
        body = take(client, length)
        if kind == 1:
            return replies
        if kind >> 31:
            raise Wrong(f"option {number} was refused: {kind:#x} {body}")
        replies.append((kind, body))


def enter(path, export, extended):
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    client.settimeout(120)
    take(client, 18)
    client.sendall(struct.pack(">I", 3))
    contexts = {}
    name = struct.pack(">I", len(export)) + export
    if extended:
        ask(client, 11)
        wanted = (b"base:allocation", b"spaceport:slab")
        query = name + struct.pack(">I", len(wanted)) + b"".join(struct.pack(">I", len(context)) + context for context in wanted)
        contexts = {body[4:]: struct.unpack_from(">I", body)[0] for kind, body in ask(client, 10, query)}
    ask(client, 7, name + b"\0\0")
    return client, contexts


def main():
    path, export, size = sys.argv[1], os.fsencode(sys.argv[2]), int(sys.argv[3])
    client, contexts = enter(path, export, True)
    other, _ = enter(path, export, False)

    def other_reads():
        began = time.monotonic()
        other.sendall(request(READ, 4096, 4096, cookie=2))
        read_answer(other, "simple", READ, 4096, 4096, cookie=2)
        waited = time.monotonic() - began
        if waited > LONGEST_WAIT:
            raise Wrong(f"another client waited {waited:.1f} s")

    def do(kind, offset, length, flags=0, payload=b""):
        began = time.monotonic()
        client.sendall(request(kind, offset, length, flags, extended=True) + payload)
        other_reads()
        # As often as it is not answered yet.
        while not select.select([client], [], [], 0)[0]:
            other_reads()
            if time.monotonic() - began > 100:
                raise Wrong(f"command {kind} of {length} bytes has no end")
        answer = read_answer(client, "extended", kind, offset, length)
        if kind != STATUS:
            print(f"command {kind} of {length} bytes at {offset}: error {answer.error} after {time.monotonic() - began:.3f} s", flush=True)
        return answer

    def succeeds(*arguments):
        answer = do(*arguments)
        assert answer.error == 0, answer.error
        return answer

    def status():
        """Of all of it: an answer may end before its request does. Extents by context, those of the same flags that touch as one."""
        whole = {name: [] for name in contexts}
        place = count = 0
        while place < size:
            extents = succeeds(STATUS, place, size - place).extents
            assert set(extents) == set(contexts.values()), extents
            count += 1
            lengths = {sum(length for length, _ in extents[number]) for number in contexts.values()}
            # Answers of an empty disk are longer than 32 bits could say.
            assert count > 1 or max(length for each in extents.values() for length, _ in each) > 1 << 32, extents
            for name, number in contexts.items():
                covered = min(lengths)
                for length, flags in extents[number]:
                    length = min(length, covered)
                    covered -= length
                    if length and whole[name] and whole[name][-1][1] == flags:
                        whole[name][-1] = (whole[name][-1][0] + length, flags)
                    elif length:
                        whole[name].append((length, flags))
            place += min(lengths)
        return whole

    def is_empty():
        assert status() == {b"base:allocation": [(size, 3)], b"spaceport:slab": [(size, 0)]}

    places = 5 * TIB + MIB, size - MIB
    data = os.urandom(MIB)

    def write():
        for place in places:
            succeeds(WRITE, place, MIB, PAYLOAD_LEN | FUA, data)
            assert succeeds(READ, place, MIB).data == data

    is_empty()
    write()
    allocation = status()[b"base:allocation"]
    holes = sum(length for length, flags in allocation if flags == 3)
    assert sum(length for length, _ in allocation) == size and allocation[0][1] == 3 and 4 * TIB < allocation[0][0] <= places[0], allocation
    assert holes >= size - 4096 * MIB and any(flags == 0 for _, flags in allocation), allocation
    succeeds(CACHE, 0, size)
    assert succeeds(READ, places[0], MIB).data == data
    for kind, flags in ((ZEROES, 0), (TRIM, FUA), (ZEROES, FAST_ZERO)):
        write()
        succeeds(kind, 0, size, flags)
        for place in places:
            assert succeeds(READ, place, MIB).data == bytes(MIB)
        is_empty()
    succeeds(FLUSH, 0, 0)
    # A byte more, and none is changed.
    write()
    for kind, error in ((ZEROES, 28), (TRIM, 22), (CACHE, 22), (STATUS, 22)):
        for offset, length in ((0, size + 1), (1, size), (size, 1), (0, (1 << 64) - 1), ((1 << 64) - 1, 1), ((1 << 63) + 1, 1 << 63)):
            answer = do(kind, offset, length)
            assert answer.error == error, (kind, offset, length, answer.error)
    for place in places:
        assert succeeds(READ, place, MIB).data == data
    print("all as it must be", flush=True)


main()
