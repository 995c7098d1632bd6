"""Clients of one export, from plain sockets and bytes of their own, up to transmission."""
import socket
import struct

from answers import Wrong, take

OPTION = b"IHAVEOPT"
EXPORT_NAME, ABORT, LIST, _, STARTTLS, INFO, GO, STRUCTURED, LIST_META, SET_META, EXTENDED = range(1, 12)
# Set once: unix:PATH or tcp:HOST:PORT, and the export's name.
place, export = "", b""


def connect(timeout=20):
    kind, _, where = place.partition(":")
    if kind == "unix":
        client = socket.socket(socket.AF_UNIX)
    else:
        host, _, port = where.rpartition(":")
        client, where = socket.socket(), (host, int(port))
    # Blocking: where the queue of a Unix socket is full it waits for its turn.
    client.connect(where)
    client.settimeout(timeout)
    return client


def greet(client):
    if take(client, 18)[:16] != b"NBDMAGIC" + OPTION:
        raise Wrong("no greeting")
    client.sendall(struct.pack(">I", 3))


def option(number, data=b"", length=None):
    return OPTION + struct.pack(">II", number, len(data) if length is None else length) + data


def query(name, types=()):
    return struct.pack(f">I{len(name)}sH{len(types)}H", len(name), name, len(types), *types)


def reply(client):
    """Number, type and data of an option's reply."""
    magic, number, kind, length = struct.unpack(">QIII", take(client, 20))
    if magic != 0x3E889045565A9 or length > 1 << 20:
        raise Wrong("no reply to an option")
    return number, kind, take(client, length)


def ask(client, number, data=b""):
    client.sendall(option(number, data))
    while True:
        answer = reply(client)
        if answer[:2] == (GO, 3) and answer[2][:2] == bytes(2):  # NBD_INFO_EXPORT
            enter.size, = struct.unpack_from(">Q", answer[2], 2)
        if answer[1] == 1 or answer[1] >> 31:
            return answer[1]


def enter(style="simple", timeout=20):
    client = connect(timeout)
    greet(client)
    if style != "simple":
        ask(client, STRUCTURED if style == "structured" else EXTENDED)
        ask(client, SET_META, query_meta([b"base:allocation"]))
    if ask(client, GO, query(export)) != 1:
        raise Wrong("the export was refused")
    return client


enter.size = 0  # of the export, in bytes, once one was entered


def query_meta(contexts):
    return struct.pack(">I", len(export)) + export + struct.pack(">I", len(contexts)) + b"".join(
        struct.pack(">I", len(context)) + context for context in contexts)


def drop(client, hard=False):
    """Goes away; with `hard` what is unread or unsent turns into a reset."""
    try:
        if hard:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    client.close()
