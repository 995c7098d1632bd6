"""The jobs, and one measured run of fio against one server."""

import json
import os
import signal
import subprocess
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field

from procstat import ServerMeter, machine_busy_nanoseconds, resident_bytes
from servers import BenchError, require_tool

PERCENTILES = (50.0, 99.0, 99.9)
PREFILL_LIMIT_SECONDS = 900
# What fio may take beyond the time it was given: connecting, laying out its table of offsets, the last requests.
FIO_GRACE_SECONDS = 60


@dataclass(frozen=True)
class Job:
    name: str
    title: str
    fio: tuple
    # What fio reports latencies for, in its own words.
    directions: tuple


JOBS = {
    job.name: job
    for job in (
        Job("randread4k", "Random read, 4 KiB, depth 32", ("--rw=randread", "--bs=4k", "--iodepth=32"), ("read",)),
        Job("randwrite4k", "Random write to allocated space, 4 KiB, depth 32", ("--rw=randwrite", "--bs=4k", "--iodepth=32"), ("write",)),
        Job("randread4k-qd1", "Random read, 4 KiB, depth 1", ("--rw=randread", "--bs=4k", "--iodepth=1"), ("read",)),
        Job("seqread1m", "Sequential read, 1 MiB, depth 4", ("--rw=read", "--bs=1m", "--iodepth=4"), ("read",)),
        Job("seqwrite1m", "Sequential write, 1 MiB, depth 4", ("--rw=write", "--bs=1m", "--iodepth=4"), ("write",)),
        Job(
            "mixed4k",
            "Random 70 % read, 30 % write, 4 KiB, depth 32",
            ("--rw=randrw", "--rwmixread=70", "--bs=4k", "--iodepth=32"),
            ("read", "write"),
        ),
        Job(
            "fsync4k",
            "Random write, 4 KiB, depth 1, a flush after every write",
            ("--rw=randwrite", "--bs=4k", "--iodepth=1", "--fsync=1"),
            ("write", "sync"),
        ),
    )
}


@dataclass
class Sample:
    """One run. Latencies in microseconds by direction: [p50, p99, p99.9]."""

    server: str
    job: str
    round: int
    iops: float
    mib_per_second: float
    requests: int
    latency: dict = field(default_factory=dict)
    # Per request, flushes counted as requests; None when there is no server process.
    cpu_microseconds: float = None
    context_switches: float = None
    resident_bytes_after: int = None
    file_mode: str = "unknown"
    # Cores kept busy by everything but the server and fio while this ran: kernel workers, interrupts, other people's programs.
    other_cores: float = 0.0

    def as_dict(self):
        return asdict(self)


def run_fio(arguments, limit_seconds):
    """Runs fio in a session of its own, and ends it by its group when it is late or the benchmark is interrupted."""
    command = [require_tool("fio", "fio"), "--output-format=json", *arguments]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        output, errors = process.communicate(timeout=limit_seconds)
    except subprocess.TimeoutExpired as late:
        raise BenchError(f"fio did not end within {limit_seconds} s: {' '.join(command)}") from late
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    # fio prints warnings on stdout before the JSON.
    start = output.find("{")
    report = json.loads(output[start:]) if start >= 0 and process.returncode == 0 else None
    if report is None or report["jobs"][0]["error"] != 0:
        raise BenchError(f"fio failed with status {process.returncode}: {' '.join(command)}\n{errors or output}")
    return report["jobs"][0]


def common_arguments(server, name):
    return [f"--name={name}", *server.fio_arguments(), f"--size={server.size_bytes}", "--numjobs=1", "--thread", "--norandommap"]


def prefill(server):
    """Writes the whole area once, so that every later write goes to allocated space and every read finds data."""
    arguments = [*common_arguments(server, "prefill"), "--rw=write", "--bs=1m", "--iodepth=4", "--end_fsync=1"]
    run_fio(arguments, PREFILL_LIMIT_SECONDS)
    server.check_alive()
    server.settle()


def check_fio():
    done = subprocess.run([require_tool("fio", "fio"), "--enghelp"], capture_output=True, text=True, check=False)
    if "nbd" not in done.stdout.split():
        raise BenchError("this fio was built without the nbd engine; install the Debian package fio")


def measure(server, job, round_number, seconds):
    arguments = [
        *common_arguments(server, job.name),
        *job.fio,
        "--time_based",
        f"--runtime={seconds}",
        "--percentile_list=" + ":".join(str(each) for each in PERCENTILES),
    ]
    meter = ServerMeter(server.pid, server.backing_files()) if server.process else nullcontext()
    busy_before, started = machine_busy_nanoseconds(), time.monotonic_ns()
    with meter:
        result = run_fio(arguments, seconds + FIO_GRACE_SECONDS)
        busy, elapsed = machine_busy_nanoseconds() - busy_before, time.monotonic_ns() - started
    server.check_alive()
    sample = sample_from(result, server, job, round_number)
    server_nanoseconds = 0
    if server.process:
        server_nanoseconds = meter.cpu_nanoseconds
        sample.cpu_microseconds = server_nanoseconds / 1000 / sample.requests
        sample.context_switches = meter.context_switches / sample.requests
        sample.resident_bytes_after = resident_bytes(server.pid)
        sample.file_mode = meter.file_mode
    sample.file_mode = server.known_file_mode or sample.file_mode
    fio_nanoseconds = (result["usr_cpu"] + result["sys_cpu"]) / 100 * result["job_runtime"] * 1_000_000
    sample.other_cores = max(0.0, (busy - server_nanoseconds - fio_nanoseconds) / elapsed)
    server.settle()
    return sample


def sample_from(result, server, job, round_number):
    transfers = (result["read"], result["write"])
    requests = sum(each["total_ios"] for each in transfers) + result["sync"]["total_ios"]
    if requests == 0:
        raise BenchError(f"fio completed no request: {job.name} against {server.name}")
    return Sample(
        server=server.name,
        job=job.name,
        round=round_number,
        iops=sum(each["iops"] for each in transfers),
        mib_per_second=sum(each["bw_bytes"] for each in transfers) / (1 << 20),
        requests=requests,
        latency={direction: latency_microseconds(result[direction]) for direction in job.directions},
    )


def latency_microseconds(part):
    """fio reports completion latency for transfers and total latency for flushes."""
    percentiles = part.get("clat_ns", part.get("lat_ns", {})).get("percentile", {})
    return [percentiles[f"{each:f}"] / 1000 for each in PERCENTILES] if percentiles else None
