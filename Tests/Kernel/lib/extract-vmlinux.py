#!/usr/bin/env python3
"""Unpack the ELF kernel inside a bzImage: QEMU starts it directly (PVH), so the emulated CPU need not decompress it.

usage: extract-vmlinux.py VMLINUZ VMLINUX
"""
import lzma
import struct
import subprocess
import sys
import zlib


def piped_through(*command):
    # The payload is followed by padding, which the tools complain of: take what came out, main looks at that.
    return lambda data: subprocess.run(command, input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout


CODECS = [
    (b"\xfd7zXZ\0", lambda data: lzma.LZMADecompressor().decompress(data)),
    (b"\x28\xb5\x2f\xfd", piped_through("zstd", "-dcq")),
    (b"\x02\x21\x4c\x18", piped_through("lz4", "-dcq")),
    (b"\x1f\x8b\x08", lambda data: zlib.decompressobj(31).decompress(data)),
]


def main(source, destination):
    image = open(source, "rb").read()
    if image[0x202:0x206] != b"HdrS":
        sys.exit(f"{source} is no bzImage")
    # Boot protocol 2.08 and later: payload_offset and payload_length count from the end of the real-mode part,
    # which is setup_sects + 1 sectors of 512 bytes long.
    start = (image[0x1F1] + 1) * 512 + struct.unpack_from("<I", image, 0x248)[0]
    payload = image[start:start + struct.unpack_from("<I", image, 0x24C)[0]]
    for magic, unpack in CODECS:
        if payload.startswith(magic):
            elf = unpack(payload)
            break
    else:
        sys.exit(f"{source}: compressed in a way this program does not know: {payload[:6]!r}")
    if not elf.startswith(b"\x7fELF"):
        sys.exit(f"{source}: what is inside is no ELF file")
    with open(destination, "wb") as output:
        output.write(elf)


if len(sys.argv) != 3:
    sys.exit(__doc__)
main(sys.argv[1], sys.argv[2])
