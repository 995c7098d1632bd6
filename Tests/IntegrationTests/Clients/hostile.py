#!/usr/bin/python3
"""A hostile client of an NBD server, with plain sockets and bytes of its own.

  hostile.py ATTACK PLACE EXPORT     until SIGTERM; PLACE is unix:PATH or tcp:HOST:PORT

It prints "going" when the attack has done what it is for, and goes on with it; at the end what it did. It ends with 1 when the server did
something that it must not.
"""
import os
import random
import selectors
import signal
import socket
import struct
import sys
import time

import handshakes
from answers import (CACHE, DISCONNECT, FLUSH, READ, STATUS, TRIM, WRITE, ZEROES, Wrong, allowed_errors, payload_count, read_answer,
                     request, take)
from handshakes import GO, INFO, LIST, SET_META, STARTTLS, ask, connect, drop, enter, greet, option, query, query_meta

EDGES = sorted({edge & (1 << 64) - 1 for bits in (0, 9, 12, 16, 25, 26, 31, 32, 48, 62, 63, 64) for edge in
                ((1 << bits) - 1, 1 << bits, (1 << bits) + 1)})
rng = random.Random(4)
stopped = False


def on_stop(*_):
    global stopped
    stopped = True


def expect_alive():
    """A client that behaves is served."""
    client = enter()
    client.sendall(request(FLUSH))
    if take(client, 16)[4:8] != bytes(4):
        raise Wrong("FLUSH failed")
    client.sendall(request(DISCONNECT))
    client.close()


def going():
    print("going", flush=True)


# Attacks: generators. Each "yield" is a moment at which the attack may end.

def slow_handshakes():
    """Hundreds of clients that send a byte of the handshake now and then."""
    script = struct.pack(">I", 3) + option(INFO, query(b"x" * 4000)) * 20
    clients, rounds = [], 0
    while True:
        while len(clients) < 400:
            clients.append([connect(timeout=0), 0])
        for entry in clients:
            try:
                entry[0].send(script[entry[1]:entry[1] + 1])
                entry[1] += 1
            except BlockingIOError:
                pass
            except OSError:  # cut off, as it must be
                entry[0].close()
                entry[1] = -1
        cut = sum(1 for entry in clients if entry[1] < 0)
        slow_handshakes.done += cut
        clients = [entry for entry in clients if entry[1] >= 0]
        rounds += 1
        if slow_handshakes.done >= 400 and not slow_handshakes.said:
            slow_handshakes.said = True
            going()
        time.sleep(0.2)
        yield f"{slow_handshakes.done} slow handshakes were cut off"


slow_handshakes.done, slow_handshakes.said = 0, False


def silent_crowd():
    """More connections that say nothing than the server takes; others must get in all the same."""
    crowd, count = [], 0
    while True:
        while len(crowd) < 1500:
            crowd.append(connect())
            count += 1
        expect_alive()
        for _ in range(100):
            drop(crowd.pop(0))
        if count == 2000:
            going()
        yield f"{count} silent connections"


def half_closed():
    """Sockets that are shut in one direction, at every point of the conversation."""
    count, refused = 0, 0
    while True:
        for stage in range(6):
            for way in (socket.SHUT_RD, socket.SHUT_WR):
                try:
                    half_closed.kept.append(half_close(stage, way))
                    count += 1
                except (OSError, EOFError):
                    # So many of these are not ended yet that the server is at its limit: this attack is not about that.
                    refused += 1
                    for client in half_closed.kept[:10]:
                        drop(client)
                    del half_closed.kept[:10]
        while len(half_closed.kept) > 100:
            drop(half_closed.kept.pop(0))
        if count >= 240 and not half_closed.said:
            half_closed.said = True
            going()
        yield f"{count} half-closed sockets, {refused} refused"


def half_close(stage, way):
    if stage > 3:
        client = enter()
        client.sendall(request(READ, 0, 64 << 10) * 4)
    else:
        client = connect()
        if stage > 0:
            greet(client)
        if stage > 1:
            client.sendall(option(INFO, query(handshakes.export)))
        if stage == 3:
            client.sendall(option(GO, query(handshakes.export)))
    if stage > 4:
        client.sendall(request(WRITE, 0, 64 << 10) + bytes(1000))
    client.shutdown(way)
    return client


half_closed.said = False
half_closed.kept = []


def connects():
    """10,000 connects: some only connect, some greet, some get an export."""
    count = 0
    while True:
        for _ in range(100):
            kind = rng.randrange(8)
            client = enter() if kind == 0 else connect()
            if kind == 1:
                greet(client)
            elif kind == 2:
                client.sendall(bytes(rng.randrange(256) for _ in range(rng.randrange(64))))
            drop(client, hard=kind % 2 == 0)
            count += 1
        if count == 10000:
            going()
        yield f"{count} connects"


def edges():
    """Requests with every command, flags, offsets and lengths at the edge of each integer, in all three styles. Each answer must be the one that
    the protocol has for it, and the connection must end where it has none."""
    count, ended, rounds = 0, 0, 0
    clients = {}
    cases = [(kind, offset, length) for kind in (*range(9), 255, 65535) for offset in EDGES for length in EDGES]
    rng.shuffle(cases)
    while True:
        for style in ("simple", "structured", "extended"):
            for kind, offset, length in cases[rounds % 8::8]:
                if style not in clients:
                    clients[style] = enter(style)
                client = clients[style]
                flags = rng.choice((0, 0, 1, 2, 4, 8, 16, 32, 33, 63, 65535))
                if style != "extended":
                    length &= 0xFFFFFFFF
                count += 1
                wanted = allowed_errors(enter.size, style, kind, offset, length, flags)
                payload = payload_count(style, kind, length, flags)
                what = f"{style}: command {kind}, flags {flags}, {length} bytes at {offset}"
                client.sendall(request(kind, offset, length, flags, count, style == "extended"))
                if wanted is not None and payload > 1 << 17:  # gone in the middle of it
                    drop(clients.pop(style), hard=rng.random() < 0.5)
                    continue
                try:
                    if wanted is not None:
                        client.sendall(bytes(payload))
                    answer = read_answer(client, style, kind, offset, length, count)
                except TimeoutError:
                    raise Wrong(f"no answer to {what}")
                except Wrong as error:
                    raise Wrong(f"{error}. {what}")
                except (OSError, EOFError) as error:
                    if wanted is not None:
                        raise Wrong(f"the connection ended ({error!r}). {what}")
                    drop(clients.pop(style))
                    ended += 1
                else:
                    if wanted is None or answer.error not in wanted:
                        raise Wrong(f"answered with error {answer.error}, not {wanted}. {what}")
                if stopped:
                    break
            yield f"{count} requests at the edges, {ended} of them the last of their connection"
        rounds += 1
        if rounds == 1:
            going()


def swallow(client):
    """Reads away what has come."""
    client.setblocking(False)
    try:
        while True:
            if not client.recv(1 << 18):
                raise EOFError
    except BlockingIOError:
        pass
    finally:
        client.settimeout(20)


def options():
    """Options by the thousand: too many, too long, with lengths that lie, unknown ones, and LISTs whose replies nobody reads."""
    count, cut = 0, 0
    while True:
        client = connect()
        try:
            greet(client)
            kind = rng.randrange(6)
            sent = 0  # bytes
            while not stopped:
                if kind == 0:
                    data = option(LIST) * 50
                elif kind == 1:
                    data = option(rng.getrandbits(32), bytes(rng.randrange(2000)))
                elif kind == 2:
                    data = option(GO, bytes(4000), length=rng.choice(EDGES) & 0xFFFFFFFF)
                elif kind == 3:
                    data = option(SET_META, query_meta([b"base:" + b"x" * 4000] * 15))
                elif kind == 4:
                    data = option(INFO, query(b"y" * 4096, range(1000)))
                else:
                    data = option(INFO, struct.pack(">I", rng.choice(EDGES) & 0xFFFFFFFF) + bytes(100))
                client.sendall(data)
                if kind != 0:
                    swallow(client)
                sent += len(data)
                count += 50 if kind == 0 else 1
                # 2 MiB of data, 4096 headers, and what the sockets hold.
                if sent > 8 << 20:
                    raise Wrong("the server takes options without an end")
        except (OSError, EOFError):
            cut += 1
        drop(client)
        if cut == 30:
            going()
        yield f"{count} options on {cut} connections"


def mid_payload():
    """Clients that go away in the middle of a payload, and of a reply, with other requests in flight."""
    count = 0
    while True:
        client = enter(rng.choice(("simple", "structured")))
        depth = rng.randrange(1, 32)
        data = bytes([count & 255]) * 65536
        for index in range(depth):
            client.sendall(request(WRITE, index << 16, 65536, cookie=index) + data)
            client.sendall(request(READ, index << 16, 65536, cookie=100 + index))
        length = rng.choice((4096, 65536, 1 << 20, 32 << 20))
        client.sendall(request(WRITE, 0, length) + bytes(rng.randrange(length) % 5000))
        if rng.random() < 0.5:
            client.recv(rng.randrange(1, 100000))
        drop(client, hard=rng.random() < 0.5)
        count += 1
        if count == 300:
            going()
        yield f"{count} clients left in mid-payload"


def hoarders():
    """Clients that take all the memory there is for payloads, and send or read a byte now and then. Those that are cut off come again."""
    clients, cut = [], 0
    while True:
        while len(clients) < 400:
            client = enter()
            kind = len(clients) % 4
            if kind == 0:
                client.sendall(request(READ, 0, 32 << 20) * 2)
            else:
                client.sendall(request(WRITE, 0, 32 << 20 if kind == 1 else 1 << 20 if kind == 2 else 4096) + bytes(100))
            # With a time limit Python would wait for each of them that long, whatever the call says.
            client.setblocking(False)
            clients.append((client, kind))
            if len(clients) % 20 == 0:
                yield f"{cut} hoarders were cut off"
        for entry in list(clients):
            client, kind = entry
            try:
                if kind == 0:
                    if not client.recv(1):
                        raise EOFError
                else:
                    client.send(b"x")
            except BlockingIOError:
                pass
            except (OSError, EOFError):
                clients.remove(entry)
                drop(client)
                cut += 1
        if cut >= 30 and not hoarders.said:
            hoarders.said = True
            going()
        time.sleep(0.2)
        yield f"{cut} hoarders were cut off"


hoarders.said = False


def greedy():
    """Clients that behave and want everything: full queues of large requests on many connections."""
    poll = selectors.DefaultSelector()
    for number in range(16):
        client = enter()
        client.setblocking(False)
        block = request(READ, 0, 1 << 20) if number % 2 else request(WRITE, 0, 1 << 20) + bytes(1 << 20)
        poll.register(client, selectors.EVENT_READ | selectors.EVENT_WRITE, [block, 0])
    received = 0
    while True:
        for key, events in poll.select(0.1):
            if events & selectors.EVENT_WRITE:
                try:
                    block, sent = key.data
                    key.data[1] = (sent + key.fileobj.send(block[sent:])) % len(block)
                except BlockingIOError:
                    pass
            if events & selectors.EVENT_READ:
                piece = key.fileobj.recv(1 << 20)
                if not piece:
                    raise Wrong("a client that behaves was cut off")
                received += len(piece)
        if received > 64 << 20 and not greedy.said:
            greedy.said = True
            going()
        yield f"{received >> 20} MiB of replies"


greedy.said = False


def long_ranges():
    """Clients that trim, zero, fetch or ask about a whole large virtual disk a hundred times over, in a few bytes, and leave."""
    count, kept = 0, []
    while True:
        for kind in (TRIM, ZEROES, CACHE, STATUS) * 5:
            client = enter("extended")
            client.sendall(request(kind, 0, enter.size, extended=True) * 128)
            kept.append(client)
            count += 1
        while len(kept) > 100:
            drop(kept.pop(0))
        if count == 400:
            going()
        yield f"{count} clients asked for all of the virtual disk 128 times"


def tls():
    """Garbage for a ClientHello, the half of one, and clients that stop in the middle of it."""
    # A record that says that it holds a ClientHello of 512 bytes.
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(rng.randrange(256) for _ in range(505))
    count, kept = 0, []
    while True:
        for kind in range(6):
            client = connect()
            greet(client)
            if ask(client, STARTTLS) != 1:
                raise Wrong("STARTTLS was refused")
            garbage = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 3000)))
            client.sendall((garbage, hello[:rng.randrange(1, len(hello))], hello, b"\x16\x03\x01\xff\xff" + garbage,
                            hello[:5] + garbage, option(GO, query(handshakes.export)))[kind])
            kept.append(client)
            count += 1
        while len(kept) > 200:
            drop(kept.pop(0))
        if count == 600:
            going()
        yield f"{count} broken TLS handshakes"


def main():
    attack, handshakes.place, handshakes.export = globals()[sys.argv[1]], sys.argv[2], os.fsencode(sys.argv[3])
    signal.signal(signal.SIGTERM, on_stop)
    told = ""
    try:
        for told in attack():
            if stopped:
                break
    except Wrong as error:
        sys.exit(f"{sys.argv[1]}: {error}")
    print(f"{sys.argv[1]}: {told}", flush=True)


if __name__ == "__main__":
    main()
