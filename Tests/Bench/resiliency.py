#!/usr/bin/env python3
"""What mirrors cost, how fast copies are made anew, and how jobs and clients share the disks. Ratios of one run; see README.md beside this."""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

from measure import JOBS, check_fio, measure, prefill, run_fio
from report import number, spread, table
from servers import GIB, MIB, BenchError, Spaceport

WRITE_JOBS = ("randwrite4k", "seqwrite1m", "fsync4k")
COPIES = (1, 2, 3)
JOB_LIMIT_SECONDS = 1800
POLL_SECONDS = 0.2


def say(text):
    print(text, file=sys.stderr, flush=True)


class MirrorServer(Spaceport):
    """A pool on several disks; virtual disks of one column, so that what differs is the copies alone."""

    note = "one pool on several file disks, fixed provisioning, one column"

    def __init__(self, name, disk_count, size_bytes, disk_dir, run_dir, options, serve_options=()):
        self.name = name
        self.disk_count = disk_count
        self.export = "bench/disk"
        self.serve_options = list(serve_options)
        super().__init__(size_bytes, disk_dir, run_dir, options)

    def backing_files(self):
        return [os.path.join(self.disk_dir, f"{self.name}{number}.raw") for number in range(self.disk_count)]

    def settle(self):
        for path in filter(os.path.exists, self.backing_files()):
            with open(path, "rb") as file:
                os.fsync(file.fileno())

    def backing_file_bytes(self):
        return self.size_bytes * 2 // MIB * MIB + GIB

    def command(self):
        return super().command() + self.serve_options

    def export_name(self):
        return self.export

    def after_start(self):
        self.control_or_fail("pool", "create", "bench", "--slab-size", "1MiB", *self.backing_files())

    def restart(self):
        """Again on the same files."""
        with open(os.path.join(self.run_dir, "log"), "ab") as log:
            self.process = self.launch(log)
        self.wait_until("it accepts connections", self.is_ready)

    def has_pool(self, state):
        done = self.control("pool", "show", "bench", "--json")
        return done.returncode == 0 and json.loads(done.stdout)["state"] == state

    def create(self, name, copies):
        layout = ["--resiliency", "mirror", "--copies", str(copies)] if copies > 1 else ["--resiliency", "simple"]
        size = ["--size", str(self.size_bytes), "--provisioning", "fixed", "--columns", "1"]
        self.control_or_fail("vdisk", "create", f"bench/{name}", *size, *layout)

    def job(self, kind):
        done = self.control("job", "list", "bench", "--json")
        jobs = json.loads(done.stdout) if done.returncode == 0 and done.stdout else []
        return next((job for job in reversed(jobs) if job["kind"] == kind), None)

    def wait_for_job(self, kind, condition):
        """The job, and the time at which it was seen so."""
        deadline = time.monotonic() + JOB_LIMIT_SECONDS
        while time.monotonic() < deadline:
            job = self.job(kind)
            if job and condition(job):
                return job, time.monotonic()
            time.sleep(POLL_SECONDS)
        raise BenchError(f"{kind} did not get there within {JOB_LIMIT_SECONDS} s: {self.job(kind)}")

    def rate_of(self, kind):
        """Bytes a second of a job that has the pool to itself, from where it is now."""
        first, began = self.wait_for_job(kind, lambda job: job["doneBytes"] > 0 or job["state"] == "completed")
        last, ended = self.wait_for_job(kind, lambda job: job["state"] == "completed")
        if ended - began < 1:
            raise BenchError(f"{kind} took less than a second: choose a larger --size")
        return (last["doneBytes"] - first["doneBytes"]) / (ended - began)


def write_costs(options, disk_dir, run_dir):
    """Samples of simple, 2-way and 3-way on the same three disks, in turn."""
    server = MirrorServer("copies", 3, options.size, disk_dir, run_dir, options)
    samples = {(job, copies): [] for job in WRITE_JOBS for copies in COPIES}
    try:
        server.start()
        for copies in COPIES:
            server.create(f"copies{copies}", copies)
            server.export = f"bench/copies{copies}"
            say(f"filling {server.export}")
            prefill(server)
        for round_number in range(options.rounds):
            for job in WRITE_JOBS:
                for copies in COPIES[round_number % 3 :] + COPIES[: round_number % 3]:
                    server.export = f"bench/copies{copies}"
                    samples[job, copies].append(measure(server, JOBS[job], round_number, options.seconds))
            say(f"write costs: round {round_number + 1} of {options.rounds}")
    finally:
        server.stop()
        remove(server)
    return samples


def plain_copy_rate(disk_dir, size_bytes):
    """Bytes a second of dd from file to file in pieces of 1 MiB, past the page cache, flushed at the end: the disks' own rate for a copy."""
    source, target = os.path.join(disk_dir, "copy-source"), os.path.join(disk_dir, "copy-target")
    count = str(size_bytes // MIB)
    direct = ["bs=1M", f"count={count}", "oflag=direct", "conv=fsync,notrunc"]
    subprocess.run(["dd", "if=/dev/zero", f"of={source}", *direct], check=True, capture_output=True)
    subprocess.run(["fallocate", "-l", str(size_bytes), target], check=True)
    began = time.monotonic()
    subprocess.run(["dd", f"if={source}", f"of={target}", "iflag=direct", *direct], check=True, capture_output=True)
    rate = size_bytes / (time.monotonic() - began)
    os.remove(source)
    os.remove(target)
    return rate


def fio_write(server, seconds):
    """IOPS of a client at full load."""
    arguments = ["--name=load", *server.fio_arguments(), f"--size={server.size_bytes}", "--thread", "--norandommap"]
    result = run_fio([*arguments, *JOBS["randwrite4k"].fio, "--time_based", f"--runtime={seconds}"], seconds + 120)
    return result["write"]["iops"]


def job_rates(options, disk_dir, run_dir):
    """Resync, repair and retire of one mirror, one after the other, and a client beside the last."""
    server = MirrorServer("jobs", 4, options.size, disk_dir, run_dir, options, ["--disk-wait", "2", "--repair-delay", "100000"])
    rates = {}
    try:
        server.start()
        server.create("disk", 2)
        prefill(server)
        rates["copy"] = plain_copy_rate(disk_dir, options.size)
        # Away, and all is written meanwhile; then it is back.
        path = server.backing_files()[0]
        server.stop()
        os.rename(path, path + "-away")
        server.restart()
        server.wait_until("the disk is missed", lambda: server.has_pool("degraded"))
        prefill(server)
        os.rename(path + "-away", path)
        rates["resync"] = server.rate_of("resync")
        # Beside a client: retiring is what a repair is, too, and begins when it is told.
        alone = fio_write(server, options.seconds * 2)
        server.control_or_fail("disk", "retire", "--pool", "bench", "2")
        before, began = server.wait_for_job("retire", lambda job: job["doneBytes"] > 0)
        beside = fio_write(server, options.seconds * 2)
        after, ended = server.job("retire"), time.monotonic()
        rates["client beside"] = beside / alone
        rates["retire beside"] = (after["doneBytes"] - before["doneBytes"]) / (ended - began)
        rates["retire"] = server.rate_of("retire")
        os.remove(server.backing_files()[2])
        server.wait_until("the disk is missed", lambda: server.has_pool("degraded"))
        waiter = threading.Thread(target=server.control, args=("pool", "remove", "bench", "3"))
        waiter.start()
        server.wait_for_job("retire", lambda job: job["state"] != "completed")
        rates["repair"] = server.rate_of("retire")
        waiter.join()
    finally:
        server.stop()
        remove(server)
    return rates


def remove(server):
    for path in server.backing_files():
        for each in (path, path + "-away"):
            if os.path.exists(each):
                os.remove(each)


def write_section(samples):
    yield "## Writing to one, two and three copies"
    yield ""
    yield "Ratios to the simple virtual disk on the same disks in the same run: median over the rounds (least–greatest)."
    yield ""
    rows = []
    for job in WRITE_JOBS:
        for copies in COPIES[1:]:
            pairs = list(zip(samples[job, copies], samples[job, 1]))
            rows.append(
                [
                    f"{JOBS[job].title}, {copies} copies",
                    spread([mine.iops / simple.iops for mine, simple in pairs]),
                    spread([mine.cpu_microseconds / simple.cpu_microseconds for mine, simple in pairs]),
                ]
            )
    yield from table(["", "IOPS, simple = 1", "server CPU per request, simple = 1"], rows)


def job_section(rates):
    yield "## Jobs"
    yield ""
    yield "Against dd from file to file on the same file system (1 MiB at a time, O_DIRECT): the disks' own rate for a copy."
    yield ""
    rows = [[name, number(rates[name] / rates["copy"])] for name in ("resync", "repair", "retire")]
    yield from table(["pool otherwise idle", "rate, dd = 1"], rows)
    rows = [
        ["the client's IOPS, without the job = 1", number(rates["client beside"])],
        ["the job's rate, idle pool = 1", number(rates["retire beside"] / rates["retire"])],
    ]
    yield from table(["a client at full load (4 KiB random writes, depth 32) beside a job that moves copies", ""], rows)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spaceport", required=True, metavar="PATH")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--size", type=int, default=1 * GIB, help="bytes of each virtual disk (default: 1 GiB)")
    parser.add_argument("--dir", default="/var/tmp", help="where the backing files go (default: /var/tmp)")
    return parser.parse_args()


def main():
    options = parse_arguments()
    options.disks = 3
    options.dir = os.path.abspath(options.dir)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    try:
        check_fio()
        with (
            tempfile.TemporaryDirectory(prefix="spaceport-bench-", dir=options.dir) as disk_dir,
            tempfile.TemporaryDirectory(prefix="spbench-") as run_dir,
        ):
            print("\n".join(write_section(write_costs(options, disk_dir, run_dir))), flush=True)
            print("\n".join(job_section(job_rates(options, disk_dir, run_dir))))
    except (BenchError, OSError, subprocess.CalledProcessError) as problem:
        say(f"bench: {problem}")
        return 2
    except KeyboardInterrupt:
        say("bench: interrupted; servers ended, files removed")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
