#!/usr/bin/python3
"""A client that outlives its server: what was not answered when the connection ended it sends again on the next one.

  reconnecting.py URI LOG MODE     until SIGTERM; then everything it wrote must be there

MODE is "path", where nobody may be listening for a while, or "backlog", where a connect is never refused. A line in LOG for each batch of writes
and for each lost connection. Needs python3-libnbd.
"""
import random
import signal
import sys
import time

import nbd

BLOCK = 8192
BLOCKS = 4096  # 32 MiB
DEPTH = 16
rng = random.Random(7)
stopped = False


def on_stop(*_):
    global stopped
    stopped = True


def content(number):
    return number.to_bytes(8, "little") * (BLOCK // 8)


class Client:
    def __init__(self, uri, log, mode):
        self.uri, self.log, self.mode = uri, log, mode
        self.handle = None

    def connect(self):
        deadline = time.monotonic() + 60
        while True:
            handle = nbd.NBD()
            try:
                handle.connect_uri(self.uri)
                self.handle = handle
                return
            except nbd.Error as error:
                # A handshake that the stop has cut short is tried again; that nobody listens must not be.
                if self.mode == "backlog" and error.errno in ("ECONNREFUSED", "ENOENT"):
                    sys.exit(f"a connect was refused: {error}")
                if time.monotonic() > deadline:
                    sys.exit(f"no server for a minute: {error}")
                time.sleep(0.005)

    def run(self, start):
        """Does what `start` begins on a handle, again and again until all of it was answered; `start` returns the commands by their names."""
        done = set()
        while True:
            if self.handle is None:
                self.connect()
            commands = {}
            try:
                commands = start(self.handle, done)
                for name, cookie in commands.items():
                    while not self.handle.aio_command_completed(cookie):
                        self.handle.poll(1000)
                    done.add(name)
                return
            except nbd.Error as error:
                if self.handle.aio_is_ready():
                    sys.exit(f"a request failed on a connection that lives: {error}")
                self.handle = None
                self.log.write("lost\n")

    def write(self, blocks):
        def start(handle, done):
            return {block: handle.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(content(number))), block * BLOCK)
                    for block, number in blocks.items() if block not in done}
        self.run(start)

    def flush(self):
        self.run(lambda handle, done: {} if "flush" in done else {"flush": handle.aio_flush()})

    def check(self, blocks):
        for block, number in blocks.items():
            buffer = nbd.Buffer(BLOCK)
            self.run(lambda handle, done: {"read": handle.aio_pread(buffer, block * BLOCK)})
            if bytes(buffer.to_bytearray()) != content(number):
                sys.exit(f"block {block} does not hold write {number}")


def main():
    signal.signal(signal.SIGTERM, on_stop)
    written, number, batches = {}, 0, 0
    with open(sys.argv[2], "w", buffering=1) as log:
        client = Client(sys.argv[1], log, sys.argv[3])
        while not stopped:
            blocks = {}
            for block in rng.sample(range(BLOCKS), DEPTH):
                number += 1
                blocks[block] = number
            client.write(blocks)
            written.update(blocks)
            batches += 1
            if batches % 8 == 0:
                client.flush()
            if batches % 16 == 0:
                client.check({block: written[block] for block in rng.sample(sorted(written), 8)})
            log.write(f"batch {batches}\n")
        client.check(written)
        log.write(f"all {len(written)} blocks are as they were written\n")


main()
