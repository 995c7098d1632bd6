#!/usr/bin/env python3
"""What opening a pool with 1.6 million slabs in use takes. See README.md beside this."""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time

from procstat import process_clock_nanoseconds, read_text
from report import number, table
from servers import MIB, BenchError, Spaceport

SLAB_COUNT = 1_600_000
# Title, copies, columns. Rows of one slab have the most records a slab.
LAYOUTS = (("simple, 1 column", 1, 1), ("simple, 4 columns", 1, 4), ("2-way mirror, 1 column", 2, 1))
LIMIT_SECONDS = 3
LIMIT_BYTES = 300 * MIB


class LargePool(Spaceport):
    """A server that opens disks which are there already."""

    name = "large"

    def __init__(self, disk_dir, run_dir, options):
        super().__init__(0, disk_dir, run_dir, options)
        self.paths = []

    def backing_files(self):
        return []

    def make(self, tool, copies, columns):
        done = subprocess.run(
            [tool, self.disk_dir, str(SLAB_COUNT), str(copies), str(columns)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BenchError(f"{tool}: {done.stdout}{done.stderr}")
        self.paths = done.stdout.split()

    def after_start(self):
        """Nothing: the pool is there."""

    def memory_bytes(self):
        """Resident now, and at most so far."""
        status = read_text(f"/proc/{self.pid}/status")
        return [int(re.search(rf"{field}:\s+(\d+)", status)[1]) * 1024 for field in ("VmRSS", "VmHWM")]


def measure_opening(title, copies, columns, options):
    with (
        tempfile.TemporaryDirectory(prefix="spaceport-bench-", dir=options.dir) as disk_dir,
        tempfile.TemporaryDirectory(prefix="spbench-") as run_dir,
    ):
        server = LargePool(disk_dir, run_dir, options)
        print(f"making a pool of {SLAB_COUNT} slabs, {title}", file=sys.stderr, flush=True)
        server.make(options.tool, copies, columns)
        try:
            server.start()
            cpu, began = process_clock_nanoseconds(server.pid), time.monotonic()
            server.control_or_fail("pool", "open", *server.paths)
            elapsed, cpu = time.monotonic() - began, (process_clock_nanoseconds(server.pid) - cpu) / 1e9
            resident, peak = server.memory_bytes()
        finally:
            server.stop()
    return title, elapsed, cpu, resident, peak


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spaceport", required=True, metavar="PATH")
    parser.add_argument("--tool", required=True, metavar="PATH", help="large-pool")
    parser.add_argument("--dir", default="/var/tmp", help="where the disks go, sparse (default: /var/tmp)")
    parser.add_argument("--check-bars", action="store_true", help="exit with status 1 unless both limits are held")
    options = parser.parse_args()
    options.disks = 1
    try:
        figures = [measure_opening(*layout, options) for layout in LAYOUTS]
    except (BenchError, OSError) as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 2
    print(f"## Opening a pool with {SLAB_COUNT:,} slabs in use\n")
    rows = [[title, number(wall), number(cpu), number(now / MIB), number(peak / MIB)] for title, wall, cpu, now, peak in figures]
    print("\n".join(table(["", "seconds", "CPU seconds", "resident MiB", "at most MiB"], rows)))
    held = all(wall < LIMIT_SECONDS and peak < LIMIT_BYTES for _, wall, _, _, peak in figures)
    print(f"Limits of {LIMIT_SECONDS} s and {LIMIT_BYTES // MIB} MiB: {'held' if held else 'missed'}")
    return 1 if options.check_bars and not held else 0


if __name__ == "__main__":
    sys.exit(main())
