"""Requests of NBD and their answers as the protocol's text has them, for clients that send bytes of their own.

Of a writable export with one minimum block of a byte, entered without a promise about block sizes.
"""
import struct

READ, WRITE, DISCONNECT, FLUSH, TRIM, CACHE, ZEROES, STATUS = range(8)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO, PAYLOAD_LEN = (1 << bit for bit in range(6))
EINVAL, ENOSPC, EOVERFLOW, ENOTSUP = 22, 28, 75, 95
PAYLOAD = 32 << 20  # the largest, in bytes
SKIPPED = 64 << 20  # payloads up to here are read and refused


class Wrong(Exception):
    """The server did what it must not."""


def take(client, count):
    data = bytearray(count)
    view = memoryview(data)
    while view:
        got = client.recv_into(view)
        if got == 0:
            raise EOFError
        view = view[got:]
    return bytes(data)


def request(kind, offset=0, length=0, flags=0, cookie=1, extended=False):
    if extended:
        return struct.pack(">IHHQQQ", 0x21E41C71, flags, kind, cookie, offset & (1 << 64) - 1, length & (1 << 64) - 1)
    return struct.pack(">IHHQQI", 0x25609513, flags, kind, cookie, offset & (1 << 64) - 1, length & (1 << 32) - 1)


def payload_count(style, kind, length, flags):
    """Bytes that follow the request's header."""
    return length if (flags & PAYLOAD_LEN if style == "extended" else kind == WRITE) else 0


def allowed_errors(size, style, kind, offset, length, flags):
    """What may be answered, 0 for success; None: the connection ends instead."""
    extended = style == "extended"
    if payload_count(style, kind, length, flags) > (PAYLOAD if extended else SKIPPED) or kind == DISCONNECT:
        return None
    if kind > STATUS:
        return {EINVAL}
    known = FUA | {READ: 0 if style == "simple" else DF, WRITE: PAYLOAD_LEN if extended else 0, ZEROES: NO_HOLE | FAST_ZERO,
                   STATUS: REQ_ONE}.get(kind, 0)
    if flags & ~known:
        # For BLOCK_STATUS with a payload as well: that of zeros, as these clients send it, names no context.
        return {EINVAL}
    if kind == FLUSH:
        return {EINVAL} if offset or length else {0}
    if kind == WRITE and extended and not flags & PAYLOAD_LEN:
        return {EINVAL}
    if kind in (READ, WRITE) and length > PAYLOAD:
        return {EOVERFLOW} if kind == READ and style != "simple" else {EINVAL}
    if offset + length > size:
        return {ENOSPC} if kind in (WRITE, ZEROES) else {EINVAL}
    if kind == STATUS and (style == "simple" or length == 0):
        return {EINVAL}
    return {0, ENOTSUP} if flags & FAST_ZERO and length else {0}


class Answer:
    def __init__(self):
        self.error = 0
        self.data = b""
        self.extents = {}  # by context: length, flags


def read_answer(client, style, kind, offset, length, cookie=1):
    """The answer to the only request that is under way; Wrong where it is none to that request."""
    answer = Answer()
    if style == "simple":
        magic, answer.error, name = struct.unpack(">IIQ", take(client, 16))
        if magic != 0x67446698 or name != cookie:
            raise Wrong("no reply where one belongs")
        if kind == READ and not answer.error:
            answer.data = take(client, length)
        return answer
    pieces, read, done = [], 0, False
    while not done:
        if style == "extended":
            magic, flags, what, name, place, count = struct.unpack(">IHHQQQ", take(client, 32))
            if magic != 0x6E8A278C or place != offset & (1 << 64) - 1:
                raise Wrong("no extended chunk where one belongs")
        else:
            magic, flags, what, name, count = struct.unpack(">IHHQI", take(client, 20))
            if magic != 0x668E33EF:
                raise Wrong("no chunk where one belongs")
        if name != cookie or flags > 1 or count > PAYLOAD + 8:
            raise Wrong("a chunk that belongs to no request")
        body, done = take(client, count), flags == 1
        if what in (1, 2) and kind == READ:
            at, = struct.unpack_from(">Q", body)
            pieces.append(body[8:] if what == 1 else bytes(struct.unpack_from(">I", body, 8)[0]))
            if at != offset + read or not pieces[-1]:
                raise Wrong("data out of order")
            read += len(pieces[-1])
        elif what == (6 if style == "extended" else 5) and kind == STATUS:
            wide = what == 6
            context, = struct.unpack_from(">I", body)
            extents = list(struct.iter_unpack(">QQ" if wide else ">II", body[8 if wide else 4:]))
            if context in answer.extents or not extents or wide and len(extents) != struct.unpack_from(">I", body, 4)[0]:
                raise Wrong("extents that do not add up")
            if any(extent[0] == 0 for extent in extents) or sum(extent[0] for extent in extents) > length:
                raise Wrong("empty extents, or beyond the request")
            answer.extents[context] = extents
        elif what in (0x8001, 0x8002):
            answer.error, = struct.unpack_from(">I", body)
            if not answer.error:
                raise Wrong("an error without a number")
        elif what != 0 or count:
            raise Wrong(f"a chunk of type {what} for command {kind}")
    answer.data = b"".join(pieces)
    if not answer.error and (kind == READ and read != length or kind == STATUS and not answer.extents):
        raise Wrong("success without all that was asked for")
    return answer
