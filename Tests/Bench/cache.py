#!/usr/bin/env python3
"""What the read cache is worth, and how virtual disks share a busy disk. Ratios of one run; see README.md beside this."""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from measure import Job, check_fio, measure, prefill, run_fio
from report import number, spread, table
from servers import MIB, BenchError, NbdkitMemory, Server, Spaceport, require_tool

READ_DELAY_MILLISECONDS = 5
# Reads that the slow disk works on at a time.
SLOW_DISK_THREADS = 16
START_LIMIT_SECONDS = 30
WARM_LIMIT_SECONDS = 600
CACHED_JOBS = (
    Job("cached-qd32", "4 KiB random read, all in cache, depth 32", ("--rw=randread", "--bs=4k", "--iodepth=32"), ("read",)),
    Job("cached-qd1", "4 KiB random read, all in cache, depth 1", ("--rw=randread", "--bs=4k", "--iodepth=1"), ("read",)),
)
# Of the CPU time that nbdkit memory takes for the first of these, at most.
MOST_CPU = 0.6
ZIPF = ("--rw=randread", "--bs=4k", "--iodepth=32", "--random_distribution=zipf:0.99")
MEMORY_CONTROL_GROUPS = "/sys/fs/cgroup/memory"


def say(text):
    print(text, file=sys.stderr, flush=True)


class SlowDisk:
    """A file whose reads take 5 ms: nbdkit's delay filter before a plain file, mounted as a file by nbdfuse."""

    def __init__(self, directory, size_bytes):
        directory = tempfile.mkdtemp(dir=directory)
        self.backing = os.path.join(directory, "backing")
        self.path = os.path.join(directory, "slow")
        backing, sock = self.backing, os.path.join(directory, "slow.sock")
        for path, length in ((backing, size_bytes), (self.path, 0)):
            with open(path, "wb") as file:
                file.truncate(length)
        delay = ["--filter=delay", "file", backing, f"rdelay={READ_DELAY_MILLISECONDS}ms"]
        threads = ["-t", str(SLOW_DISK_THREADS)]
        self.processes = [self.start([require_tool("nbdkit", "nbdkit"), "-f", "-U", sock, *threads, *delay])]
        self.wait(lambda: os.path.exists(sock))
        # nbdfuse has one request at a time on each connection.
        self.processes.append(self.start([require_tool("nbdfuse", "libnbd-bin"), "-C", str(SLOW_DISK_THREADS), self.path, "--unix", sock]))
        self.wait(lambda: os.path.getsize(self.path) == size_bytes)

    @staticmethod
    def start(command):
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)

    @staticmethod
    def wait(condition):
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise BenchError("the slow disk (nbdkit, nbdfuse) did not start; is there a /dev/fuse?")
            time.sleep(0.05)

    def stop(self):
        subprocess.run(["umount", "--lazy", self.path], check=False, capture_output=True)
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        os.remove(self.backing)


class CachingSpaceport(Spaceport):
    """On one disk that is given to it, with a read cache."""

    def __init__(self, disk_path, size_bytes, disk_dir, run_dir, options, cache=None):
        self.name = "spaceport" if cache is None else f"spaceport-{cache[1] >> 10}k"
        self.disk_path = disk_path
        self.cache = cache
        super().__init__(size_bytes, disk_dir, run_dir, options)

    def backing_files(self):
        return [self.disk_path]

    def start(self):
        """The disk is there already."""
        self.prepare()
        with open(os.path.join(self.run_dir, "log"), "wb") as log:
            self.process = self.launch(log)
        self.wait_until("it accepts connections", self.is_ready)
        self.after_start()

    def command(self):
        if self.cache is None:
            return super().command()
        return super().command() + ["--cache-memory", str(self.cache[0]), "--cache-page-size", str(self.cache[1])]

    def after_start(self):
        self.control_or_fail("pool", "create", "bench", *self.backing_files(), "--force")
        self.create("disk")

    def create(self, name, *arguments):
        size = ["--size", str(self.size_bytes), "--provisioning", "fixed"]
        self.control_or_fail("vdisk", "create", f"bench/{name}", *size, *arguments)

    def settle(self):
        """Nothing of it is in the page cache."""


class OnDisk(Server):
    """Another server on a disk that is given to it."""

    def __init__(self, disk_path, size_bytes, disk_dir, run_dir, options):
        self.disk_path = disk_path
        super().__init__(size_bytes, disk_dir, run_dir, options)

    def backing_files(self):
        return [self.disk_path]

    def start(self):
        with open(os.path.join(self.run_dir, "log"), "wb") as log:
            self.process = self.launch(log)
        self.wait_until("it accepts connections", self.is_ready)
        self.after_start()

    def settle(self):
        """What it has written back or not makes no difference to reads."""


class NbdkitCache(OnDisk):
    name = "nbdkit-cache"

    def __init__(self, cache_bytes, *arguments):
        self.cache_bytes = cache_bytes
        super().__init__(*arguments)

    def command(self):
        cache = [f"cache-max-size={self.cache_bytes}", "cache-on-read=true", "cache-min-block-size=4K"]
        return [require_tool("nbdkit", "nbdkit"), "-f", "-U", self.socket_path, "--filter=cache", "file", self.disk_path, *cache]


class QemuPageCache(OnDisk):
    """qemu-nbd by the page cache, on a loop device over the disk, with so much memory more than it has when it is idle."""

    name = "qemu-page-cache"

    def __init__(self, cache_bytes, *arguments):
        self.cache_bytes = cache_bytes
        self.loop = None
        super().__init__(*arguments)
        self.group = os.path.join(MEMORY_CONTROL_GROUPS, f"spaceport-bench-{os.getpid()}")

    def launch(self, log):
        os.mkdir(self.group)
        # Direct: what the disk below has in the page cache would be a second cache.
        losetup = ["losetup", "--find", "--show", "--direct-io=on", self.disk_path]
        self.loop = subprocess.run(losetup, check=True, capture_output=True, text=True).stdout.strip()
        return super().launch(log)

    def command(self):
        program = require_tool("qemu-nbd", "qemu-utils")
        return [program, "-k", self.socket_path, "-f", "raw", "--cache=writeback", "-t", "-e", "8", self.loop]

    def after_start(self):
        # The kernel charges a page to the group of who touches it first: the cache begins empty.
        with open(os.path.join(self.group, "cgroup.procs"), "w", encoding="ascii") as file:
            file.write(str(self.pid))
        self.limit()

    def limit(self):
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
            file.write("1")
        with open(os.path.join(self.group, "memory.usage_in_bytes"), encoding="ascii") as file:
            idle = int(file.read())
        with open(os.path.join(self.group, "memory.limit_in_bytes"), "w", encoding="ascii") as file:
            file.write(str(idle + self.cache_bytes))

    def stop(self):
        super().stop()
        if self.loop:
            subprocess.run(["losetup", "--detach", self.loop], check=False, capture_output=True)
        if os.path.isdir(self.group):
            deadline = time.monotonic() + START_LIMIT_SECONDS
            while True:
                try:
                    os.rmdir(self.group)
                    return
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)


def fio(server, seconds, arguments):
    common = ["--name=load", *server.fio_arguments(), f"--size={server.size_bytes}", "--thread", "--norandommap"]
    return run_fio([*common, *arguments, "--time_based", f"--runtime={seconds}"], seconds + WARM_LIMIT_SECONDS)["read"]


def cached_section(options, disk_dir, run_dir):
    """All in cache, against a server that has nothing but memory."""
    size = 256 * MIB
    path = os.path.join(disk_dir, "fast")
    with open(path, "wb") as file:
        file.truncate(2 * size)
    ours = CachingSpaceport(path, size, disk_dir, run_dir, options, (size * 5 // 4, 16 << 10))
    theirs = NbdkitMemory(size, disk_dir, run_dir, options)
    servers = (ours, theirs)
    samples = {(job.name, server.name): [] for job in CACHED_JOBS for server in servers}
    try:
        for server in servers:
            server.start()
            prefill(server)
        # Every page once, by reads that are no sequential run and not large.
        common = ["--name=warm", *ours.fio_arguments(), f"--size={size}", "--thread"]
        run_fio([*common, "--rw=randread", "--bs=16k", "--iodepth=32"], WARM_LIMIT_SECONDS)
        for round_number in range(options.rounds):
            for job in CACHED_JOBS:
                for server in servers if round_number % 2 else servers[::-1]:
                    samples[job.name, server.name].append(measure(server, job, round_number, options.seconds))
            say(f"all in cache: round {round_number + 1} of {options.rounds}")
    finally:
        for server in servers:
            server.stop()
        os.remove(path)
    yield "## All in cache"
    yield ""
    yield "16 KiB pages in memory, against nbdkit's memory plugin in the same run: median over the rounds (least–greatest)."
    yield ""
    rows = []
    for job in CACHED_JOBS:
        pairs = list(zip(samples[job.name, ours.name], samples[job.name, theirs.name]))
        rows.append(
            [
                job.title,
                number(sorted(mine.iops for mine, _ in pairs)[len(pairs) // 2]),
                spread([mine.iops / other.iops for mine, other in pairs]),
                spread([mine.cpu_microseconds / other.cpu_microseconds for mine, other in pairs]),
            ]
        )
        if job is CACHED_JOBS[0]:
            cost = statistics.median(mine.cpu_microseconds / other.cpu_microseconds for mine, other in pairs)
            options.bars.append((f"{job.title}: server CPU per read, nbdkit memory = 1: at most {MOST_CPU}", cost <= MOST_CPU))
    yield from table(["", "IOPS", "IOPS, nbdkit memory = 1", "server CPU per read, nbdkit memory = 1"], rows)


def zipf_section(options, disk_dir, run_dir):
    """A working set of ten times the cache, on a disk whose reads take 5 ms."""
    cache = options.cache
    size = 10 * cache
    contestants = [
        ("spaceport without a cache", lambda disk: CachingSpaceport(disk, size, disk_dir, run_dir, options)),
        ("spaceport, pages of 4 KiB", lambda disk: CachingSpaceport(disk, size, disk_dir, run_dir, options, (cache, 4 << 10))),
        ("spaceport, pages of 16 KiB", lambda disk: CachingSpaceport(disk, size, disk_dir, run_dir, options, (cache, 16 << 10))),
        ("nbdkit's cache filter, blocks of 4 KiB", lambda disk: NbdkitCache(cache, disk, size, disk_dir, run_dir, options)),
    ]
    left_out = []
    if os.path.isdir(MEMORY_CONTROL_GROUPS) and os.access(MEMORY_CONTROL_GROUPS, os.W_OK) and shutil.which("losetup"):
        contestants.append(("qemu-nbd and the page cache", lambda disk: QemuPageCache(cache, disk, size, disk_dir, run_dir, options)))
    else:
        left_out.append("Left out: qemu-nbd by the page cache. It needs root, loop devices and the kernel's memory control groups (v1).")
    rates = {}
    for title, make in contestants:
        # Each on a disk of its own: what another left in it would be found.
        disk = SlowDisk(disk_dir, size * 3 // 2 // MIB * MIB + 256 * MIB)
        try:
            server = make(disk.path)
            try:
                server.start()
                prefill(server)
                fio(server, options.warm_seconds, ZIPF)
                rates[title] = fio(server, options.seconds * 2, ZIPF)["iops"]
                say(f"zipf: {title}: {rates[title]:.0f} IOPS")
            finally:
                server.stop()
        finally:
            disk.stop()
    plain = rates["spaceport without a cache"]
    yield ""
    yield "## Zipf 0.99 over ten times the cache, reads of the disk take 5 ms"
    yield ""
    yield f"{cache // MIB} MiB of cache, 4 KiB random reads, depth 32, after {options.warm_seconds} s to get warm."
    yield ""
    yield from table(["", "IOPS", "without a cache = 1"], [[title, number(rate), number(rate / plain)] for title, rate in rates.items()])
    yield from left_out


def fairness_section(options, disk_dir, run_dir):
    """Virtual disks on one disk that is too slow for all of them."""
    size = 256 * MIB
    disk = SlowDisk(disk_dir, 2 << 30)
    server = CachingSpaceport(disk.path, size, disk_dir, run_dir, options)
    results = {}

    def load(name, depth, key):
        arguments = ["--ioengine=nbd", f"--uri=nbd+unix:///bench/{name}?socket={server.socket_path}"]
        common = [f"--name={name}", *arguments, f"--size={size}", "--thread", "--norandommap", "--rw=randread", "--bs=4k"]
        seconds = options.seconds * 3
        results[key] = run_fio([*common, f"--iodepth={depth}", "--time_based", f"--runtime={seconds}"], seconds + 60)["read"]

    def together(*loads):
        threads = [threading.Thread(target=load, args=each) for each in loads]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    try:
        server.start()
        server.create("large", "--share", "300")
        for name in ("disk", "large"):
            server.export_name = lambda name=name: f"bench/{name}"
            prefill(server)
        load("disk", 256, "alone")
        load("disk", 1, "one alone")
        together(("disk", 256, "share 100"), ("large", 256, "share 300"))
        together(("disk", 1, "one beside"), ("large", 256, "heavy"))
    finally:
        server.stop()
        disk.stop()

    def percentile(key, which):
        return results[key]["clat_ns"]["percentile"][which] / 1e6

    both = results["share 100"]["iops"] + results["share 300"]["iops"]
    yield ""
    yield "## Shares and depth on a busy disk"
    yield ""
    yield f"A disk that works on {SLOW_DISK_THREADS} reads at a time, 5 ms each; 4 KiB random reads, no cache."
    yield ""
    yield from table(
        ["", ""],
        [
            ["IOPS of the one with --share 300, of that with 100 = 1, depth 256 each", number(results["share 300"]["iops"] / results["share 100"]["iops"])],
            ["IOPS of both together, one alone = 1", number(both / results["alone"]["iops"])],
            ["latency of one read at a time, alone, p99", f"{percentile('one alone', '99.000000'):.1f} ms"],
            ["the same beside a neighbour at depth 256, p99", f"{percentile('one beside', '99.000000'):.1f} ms"],
            ["the neighbour's latency, median", f"{percentile('heavy', '50.000000'):.1f} ms"],
        ],
    )


SECTIONS = {"cached": cached_section, "zipf": zipf_section, "fairness": fairness_section}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spaceport", required=True, metavar="PATH")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--warm-seconds", type=int, default=30, help="how long each cache gets warm (default: 30)")
    parser.add_argument("--cache", type=int, default=64 * MIB, help="bytes of cache on the slow disk (default: 64 MiB)")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--check-bars", action="store_true", help="exit with status 1 unless every bar was measured and held")
    parser.add_argument("--dir", default="/var/tmp", help="where the backing files go (default: /var/tmp)")
    return parser.parse_args()


def main():
    options = parse_arguments()
    options.disks = 1
    options.bars = []
    options.dir = os.path.abspath(options.dir)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    try:
        check_fio()
        for section in options.sections:
            with (
                tempfile.TemporaryDirectory(prefix="spaceport-bench-", dir=options.dir) as disk_dir,
                tempfile.TemporaryDirectory(prefix="spbench-") as run_dir,
            ):
                print("\n".join(SECTIONS[section](options, disk_dir, run_dir)), flush=True)
    except (BenchError, OSError, subprocess.CalledProcessError) as problem:
        say(f"bench: {problem}")
        return 2
    except KeyboardInterrupt:
        say("bench: interrupted; servers ended, files removed")
        return 130
    for bar, is_held in options.bars:
        print(f"- {'held' if is_held else 'MISSED'}: {bar}")
    return 1 if options.check_bars and not (options.bars and all(is_held for _, is_held in options.bars)) else 0


if __name__ == "__main__":
    sys.exit(main())
