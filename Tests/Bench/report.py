"""Medians, ratios, and the report in Markdown."""

import os
import statistics
from dataclasses import dataclass

from measure import JOBS
from procstat import read_text

MIB = 1 << 20
# A ratio of a figure that other programs' load has bent is not worth quoting; above this the report says so.
BUSY_MACHINE_CORES = 0.5


@dataclass(frozen=True)
class Bar:
    """A limit set for spaceport against qemu-nbd, from the issue that asked for this benchmark."""

    title: str
    job: str
    figure: str
    at_most: float = None
    at_least: float = None

    def holds(self, value):
        return value <= self.at_most if self.at_most is not None else value >= self.at_least

    def limit(self):
        return f"at most {self.at_most}" if self.at_most is not None else f"at least {self.at_least}"


BARS = (
    Bar("server CPU per 4 KiB random read, times qemu-nbd's", "randread4k", "cpu_microseconds", at_most=0.5),
    Bar("server CPU per 4 KiB random write to allocated space, times qemu-nbd's", "randwrite4k", "cpu_microseconds", at_most=0.6),
    Bar("IOPS of 4 KiB random reads, times qemu-nbd's", "randread4k", "iops", at_least=1.2),
    Bar("IOPS of 4 KiB random writes, times qemu-nbd's", "randwrite4k", "iops", at_least=1.2),
)
IDLE_LIMIT_BYTES = 64 * MIB


class Results:
    """All samples of one run, and the figures drawn from them."""

    def __init__(self, samples, idle_bytes):
        self.samples = samples
        # Resident bytes of each server before its first connection.
        self.idle_bytes = idle_bytes

    def of(self, job, server):
        return sorted((each for each in self.samples if each.job == job and each.server == server), key=lambda each: each.round)

    def servers(self):
        return list(dict.fromkeys(each.server for each in self.samples))

    def jobs(self):
        return list(dict.fromkeys(each.job for each in self.samples))

    def values(self, job, server, figure):
        found = (getattr(each, figure) for each in self.of(job, server))
        return [each for each in found if each is not None]

    def ratio(self, job, figure, subject, other):
        """Median over the rounds of subject / other, each round's two runs being neighbours in time; None when not measured."""
        others = {each.round: getattr(each, figure) for each in self.of(job, other)}
        pairs = ((getattr(each, figure), others.get(each.round)) for each in self.of(job, subject))
        ratios = [mine / theirs for mine, theirs in pairs if mine is not None and theirs]
        return statistics.median(ratios) if ratios else None

    def file_modes(self, server):
        return sorted({each.file_mode for each in self.samples if each.server == server})


def number(value):
    if value is None:
        return "–"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(values, scale=1.0):
    """median (least–greatest)"""
    if not values:
        return "–"
    scaled = [each / scale for each in values]
    return f"{number(statistics.median(scaled))} ({number(min(scaled))}–{number(max(scaled))})"


def table(header, rows):
    yield "| " + " | ".join(header) + " |"
    yield "|---|" + "---:|" * (len(header) - 1)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def median_latency(samples, direction):
    known = [each.latency[direction] for each in samples if each.latency.get(direction)]
    if not known:
        return "–"
    return " / ".join(number(statistics.median(column)) for column in zip(*known))


def job_section(results, job_name, subject):
    job = JOBS[job_name]
    header = ["server", "IOPS", "MiB/s"]
    header += [f"{direction} latency µs, p50 / p99 / p99.9" for direction in job.directions]
    header += ["server CPU µs/request", "switches/request", "resident MiB after", "other cores"]
    rows = []
    for server in results.servers():
        samples = results.of(job_name, server)
        rows.append(
            [server, spread([each.iops for each in samples]), number(statistics.median(each.mib_per_second for each in samples))]
            + [median_latency(samples, direction) for direction in job.directions]
            + [
                spread(results.values(job_name, server, "cpu_microseconds")),
                median_or_dash(results.values(job_name, server, "context_switches")),
                median_or_dash([each / MIB for each in results.values(job_name, server, "resident_bytes_after")]),
                number(statistics.median(each.other_cores for each in samples)),
            ]
        )
    yield f"### {job.title} (`{job_name}`)"
    yield ""
    yield from table(header, rows)
    yield from ratio_lines(results, job_name, subject)


def median_or_dash(values):
    return number(statistics.median(values)) if values else "–"


def ratio_lines(results, job_name, subject):
    others = [each for each in results.servers() if each != subject]
    if not others:
        return
    rows = [
        [other] + [ratio_text(results.ratio(job_name, figure, subject, other)) for figure in ("iops", "cpu_microseconds")]
        for other in others
    ]
    yield from table([f"{subject} divided by", "IOPS", "server CPU/request"], rows)


def ratio_text(value):
    return "–" if value is None else f"{value:.2f}"


def memory_section(results):
    yield "### Servers: memory, and how they hold their files"
    yield ""
    rows = []
    for server in results.servers():
        after = [each.resident_bytes_after for each in results.samples if each.server == server and each.resident_bytes_after is not None]
        idle = results.idle_bytes.get(server)
        rows.append(
            [
                server,
                number(idle / MIB) if idle is not None else "–",
                number(after[-1] / MIB) if after else "–",
                ", ".join(results.file_modes(server)),
            ]
        )
    yield from table(["server", "resident MiB idle, before any client", "resident MiB after the last run", "data held by"], rows)


def judge(bar, results):
    """(verdict, text): verdict is True, False, or None when it could not be measured."""
    value = results.ratio(bar.job, bar.figure, "spaceport", "qemu-nbd")
    if value is None:
        return None, f"not measured (it needs the job {bar.job} on spaceport and qemu-nbd)"
    for server in ("spaceport", "qemu-nbd"):
        modes = results.file_modes(server)
        if "page cache" in modes or "mixed" in modes:
            return None, f"{value:.2f}, not comparable: {server} did not open its files with O_DIRECT"
    held = bar.holds(value)
    return held, f"{value:.2f}: {'held' if held else 'missed'}"


def judge_idle(results):
    idle = results.idle_bytes.get("spaceport")
    if idle is None:
        return None, "not measured (it needs spaceport)"
    held = idle < IDLE_LIMIT_BYTES
    return held, f"{idle / MIB:.1f} MiB: {'held' if held else 'missed'}"


def bars_section(results):
    """Lines of the section, and whether every bar was measured and held."""
    judged = [(bar.title, bar.limit(), *judge(bar, results)) for bar in BARS]
    judged.append(("idle memory of the server with one pool", f"under {IDLE_LIMIT_BYTES // MIB} MiB resident", *judge_idle(results)))
    lines = ["## Bars", "", *table(["bar", "limit", "measured"], [[title, limit, text] for title, limit, _, text in judged])]
    ceiling = ceiling_note(results)
    if ceiling:
        lines += [ceiling, ""]
    return lines, all(verdict is True for _, _, verdict, _ in judged)


def ceiling_note(results):
    """Says when the storage, not the servers, set qemu-nbd's IOPS: no server can then be much faster."""
    shares = []
    for job in ("randread4k", "randwrite4k"):
        share = results.ratio(job, "iops", "no-server", "qemu-nbd")
        if share is not None:
            shares.append(f"{job} {share:.2f}")
    if not shares:
        return None
    return (
        f"Room above qemu-nbd: the same file without any server gives {', '.join(shares)} times its IOPS. "
        "Where that is below 1.2, the storage is the limit and no server that reads and writes it can hold the IOPS bar."
    )


def machine_lines(facts):
    yield "## Machine"
    yield ""
    for key, value in facts.items():
        yield f"- {key}: {value}"
    yield ""


def cpu_model():
    for line in (read_text("/proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return os.uname().machine


def file_system_of(path):
    """Device and type of the file system that holds path, by the longest mount point that contains it."""
    best = ("", "unknown", "unknown")
    for line in (read_text("/proc/self/mounts") or "").splitlines():
        device, mount_point, kind = line.split()[:3]
        if os.path.commonpath([mount_point, path]) == mount_point and len(mount_point) >= len(best[0]):
            best = (mount_point, device, kind)
    return f"{best[2]} on {best[1]}"


def machine_facts(disk_dir):
    return {
        "kernel": os.uname().release,
        "processors": f"{os.cpu_count()} × {cpu_model()}",
        "file system of the backing files": file_system_of(os.path.realpath(disk_dir)),
        "load average when it began": ", ".join(f"{each:.2f}" for each in os.getloadavg()),
    }


def render(results, facts, settings):
    """The whole report, and whether every bar was measured and held."""
    names = results.servers()
    subject = "spaceport" if "spaceport" in names else names[0]
    lines = ["# spaceport benchmark", "", settings, ""]
    lines += [
        "Quote ratios of one run only: absolute figures depend on the machine and on what else it did meanwhile, and figures of two runs "
        "are not comparable. Figures are medians over the rounds (least–greatest); a ratio is the median of the rounds' own ratios.",
        "",
    ]
    lines += machine_lines(facts)
    busy = max(each.other_cores for each in results.samples)
    if busy > BUSY_MACHINE_CORES:
        lines += [f"**Not a quiet machine:** in one run up to {busy:.1f} cores were busy with neither the server nor fio.", ""]
    lines += ["## Results", ""]
    for job_name in results.jobs():
        lines += job_section(results, job_name, subject)
    lines += memory_section(results)
    bars, all_held = bars_section(results)
    return "\n".join(lines + bars), all_held
