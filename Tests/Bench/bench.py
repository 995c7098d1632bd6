#!/usr/bin/env python3
"""Compares spaceport with other NBD servers by fio. See README.md beside this file."""

import argparse
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time

from measure import JOBS, check_fio, measure, prefill
from procstat import read_text, resident_bytes
from report import Results, machine_facts, render
from servers import GIB, MIB, SERVER_CLASSES, BenchError

UNITS = {"": 1, "K": 1 << 10, "M": MIB, "G": GIB, "T": 1 << 40}
MINIMUM_SIZE_BYTES = 64 * MIB
# What a run takes beyond its seconds: starting fio, writing back. Measured on a small machine; for the forecast only.
RUN_OVERHEAD_SECONDS = 0.4
DEFAULT_BINARY = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../.build/release/spaceport"))


def parse_size(text):
    match = re.fullmatch(r"(\d+)([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write for example 512M or 2G (powers of 1024)")
    size = int(match[1]) * UNITS[match[2].upper()]
    if size < MINIMUM_SIZE_BYTES or size % MIB:
        raise argparse.ArgumentTypeError(f"{text!r}: the size must be whole MiB, {MINIMUM_SIZE_BYTES // MIB} at least")
    return size


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be 1 or more")
    return value


def names_from(known):
    def parse(text):
        chosen = list(dict.fromkeys(name for name in text.split(",") if name))
        unknown = [name for name in chosen if name not in known]
        if unknown or not chosen:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown) or '(empty)'}; there are: {', '.join(known)}")
        return chosen

    return parse


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spaceport", default=DEFAULT_BINARY, metavar="PATH", help="the binary (default: .build/release/spaceport)")
    parser.add_argument("--rounds", type=positive, default=5, help="how often each job runs on each server (default: 5)")
    parser.add_argument("--seconds", type=positive, default=3, help="length of one run (default: 3)")
    parser.add_argument("--size", type=parse_size, default=2 * GIB, help="size of each server's disk (default: 2G)")
    parser.add_argument("--disks", type=positive, default=1, help="file disks in spaceport's pool (default: 1, as the others have)")
    parser.add_argument("--jobs", type=names_from(JOBS), default=list(JOBS), help=f"of: {','.join(JOBS)}")
    parser.add_argument("--servers", type=names_from(SERVER_CLASSES), default=list(SERVER_CLASSES), help=f"of: {','.join(SERVER_CLASSES)}")
    parser.add_argument("--json", metavar="FILE", help="write every sample there")
    parser.add_argument("--dir", default="/var/tmp", help="where the backing files go (default: /var/tmp)")
    parser.add_argument("--check-bars", action="store_true", help="exit with status 1 unless every bar was measured and held")
    return parser.parse_args()


def check_room(options):
    """Refuses before the first byte is written when the disk or the memory would not do."""
    on_disk = sum(SERVER_CLASSES[name].uses_disk for name in options.servers)
    needed = on_disk * options.size + GIB
    free = shutil.disk_usage(options.dir).free
    if free < needed:
        raise BenchError(
            f"{options.dir} has {free / GIB:.1f} GiB free and {needed / GIB:.1f} are needed; choose another --dir or a smaller --size"
        )
    available = int(re.search(r"MemAvailable:\s+(\d+)", read_text("/proc/meminfo"))[1]) * 1024
    if "nbdkit-memory" in options.servers and available < options.size + GIB:
        raise BenchError(
            f"nbdkit-memory needs {(options.size + GIB) / GIB:.1f} GiB of memory and {available / GIB:.1f} are available; "
            "choose a smaller --size or leave it out with --servers"
        )


def say(text):
    print(text, file=sys.stderr, flush=True)


def start_all(servers):
    """Starts and fills every server; returns the idle resident bytes of each, read before its first client."""
    idle_bytes = {}
    for server in servers:
        server.start()
        if server.process:
            idle_bytes[server.name] = resident_bytes(server.pid)
    for server in servers:
        say(f"filling {server.name}")
        prefill(server)
    return idle_bytes


def run_rounds(servers, options):
    samples = []
    began = time.monotonic()
    for round_number in range(options.rounds):
        # Each round begins with another server, so that none is always the first after a change of job.
        shift = round_number % len(servers)
        order = servers[shift:] + servers[:shift]
        for job_name in options.jobs:
            for server in order:
                samples.append(measure(server, JOBS[job_name], round_number, options.seconds))
        say(f"round {round_number + 1} of {options.rounds} done after {time.monotonic() - began:.0f} s")
    position = {server.name: index for index, server in enumerate(servers)}
    return sorted(samples, key=lambda each: (options.jobs.index(each.job), position[each.server], each.round))


def settings_text(options, servers):
    head = (
        f"{options.rounds} rounds of {options.seconds} s per job and server in alternation, disks of {options.size / GIB:g} GiB, "
        "one fio job, one connection over a Unix socket."
    )
    notes = [f"- {server.name}: {server.note} ({server.version()})" for server in servers]
    if options.disks > 1:
        notes.append(f"- spaceport's pool has {options.disks} file disks, the others one file each: not an equal comparison")
    return "\n".join([head, "", *notes])


def benchmark(options, disk_dir, run_dir):
    facts = machine_facts(disk_dir)
    servers = []
    try:
        for name in options.servers:
            servers.append(SERVER_CLASSES[name](options.size, disk_dir, run_dir, options))
        idle_bytes = start_all(servers)
        settings = settings_text(options, servers)
        samples = run_rounds(servers, options)
    finally:
        handle_signals(signal.SIG_IGN)  # a second Ctrl-C must not leave servers behind
        for server in servers:
            server.stop()
    facts["load average when it ended"] = ", ".join(f"{each:.2f}" for each in os.getloadavg())
    return Results(samples, idle_bytes), facts, settings


def write_json(path, results, facts, options):
    document = {
        "machine": facts,
        "settings": {"rounds": options.rounds, "seconds": options.seconds, "size_bytes": options.size, "disks": options.disks},
        "idle_resident_bytes": results.idle_bytes,
        "samples": [each.as_dict() for each in results.samples],
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.write("\n")


def interrupt(*_):
    handle_signals(signal.SIG_IGN)
    raise KeyboardInterrupt


def handle_signals(handler):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)


def main():
    options = parse_arguments()
    options.dir = os.path.abspath(options.dir)  # nbd-server changes to the root directory
    handle_signals(interrupt)
    try:
        check_fio()
        check_room(options)
        planned = options.rounds * len(options.jobs) * len(options.servers) * (options.seconds + RUN_OVERHEAD_SECONDS)
        say(f"about {planned / 60:.0f} minutes, and the time to fill {len(options.servers)} disks")
        with (
            tempfile.TemporaryDirectory(prefix="spaceport-bench-", dir=options.dir) as disk_dir,
            tempfile.TemporaryDirectory(prefix="spbench-") as run_dir,
        ):
            results, facts, settings = benchmark(options, disk_dir, run_dir)
    except (BenchError, OSError) as problem:
        say(f"bench: {problem}")
        return 2
    except KeyboardInterrupt:
        say("bench: interrupted; servers ended, files removed")
        return 130
    report, all_held = render(results, facts, settings)
    print(report)
    if options.json:
        write_json(options.json, results, facts, options)
    return 1 if options.check_bars and not all_held else 0


if __name__ == "__main__":
    sys.exit(main())
