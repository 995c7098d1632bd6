"""What the kernel knows about a server's processes: CPU time, context switches, resident memory."""

import os
import threading
import time

CLOCK_TICK_NANOSECONDS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
# How often context switches are read: the switches of a thread that ends are lost from the last reading on.
SAMPLE_PERIOD_SECONDS = 0.2


def read_text(path):
    """The file's text, or None when the process or thread it speaks of is gone."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None


def thread_ids(pid):
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except (FileNotFoundError, ProcessLookupError):
        return []


def children(pid):
    text = (read_text(f"/proc/{pid}/task/{tid}/children") for tid in thread_ids(pid))
    return [int(child) for line in text if line for child in line.split()]


def process_tree(pid):
    """The process and its living descendants: nbd-server forks one process per connection."""
    found = [pid]
    for parent in found:
        found.extend(children(parent))
    return found


def process_clock_nanoseconds(pid):
    """CPU time of a whole process, in nanoseconds, threads that have ended included.

    The sum of /proc/PID/task/*/schedstat has the same resolution but forgets ended threads, and nbdkit and qemu-nbd end theirs with the
    connection. The clock's number is what clock_getcpuclockid(3) returns: the inverted process id and CPUCLOCK_SCHED (2).
    """
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError:
        return 0


def reaped_children_nanoseconds(pid):
    """CPU time of children that ended and were waited for, in nanoseconds but counted by the kernel in clock ticks (10 ms)."""
    text = read_text(f"/proc/{pid}/stat")
    if text is None:
        return 0
    # The command name, second field, may hold blanks and parentheses: count from its end. cutime and cstime are fields 16 and 17.
    fields = text.rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) * CLOCK_TICK_NANOSECONDS


def cpu_nanoseconds(pid):
    return sum(process_clock_nanoseconds(each) + reaped_children_nanoseconds(each) for each in process_tree(pid))


def status_number(pid_path, keys):
    """The sum of the named numeric lines of a /proc status file; 0 when it is gone."""
    text = read_text(f"/proc/{pid_path}/status") or ""
    lines = (line.partition(":") for line in text.splitlines())
    return sum(int(value.split()[0]) for key, _, value in lines if key in keys)


def resident_bytes(pid):
    return sum(status_number(each, ("VmRSS",)) for each in process_tree(pid)) * 1024


def context_switches_by_thread(pid):
    keys = ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")
    return {
        (process, tid): status_number(f"{process}/task/{tid}", keys)
        for process in process_tree(pid)
        for tid in thread_ids(process)
    }


def machine_busy_nanoseconds():
    """CPU time used by everything on the machine since boot, interrupts and time stolen by a hypervisor included."""
    fields = [int(value) for value in read_text("/proc/stat").splitlines()[0].split()[1:9]]
    idle, io_wait = fields[3], fields[4]
    return (sum(fields) - idle - io_wait) * CLOCK_TICK_NANOSECONDS


def open_mode(pid, paths):
    """How the process holds the files: "O_DIRECT", "page cache", "mixed", or "unknown" when it holds no descriptor of them."""
    wanted = {os.path.realpath(path) for path in paths}
    modes = set()
    for process in process_tree(pid):
        try:
            for name in os.listdir(f"/proc/{process}/fd"):
                if os.readlink(f"/proc/{process}/fd/{name}") in wanted:
                    flags = read_text(f"/proc/{process}/fdinfo/{name}").split("flags:")[1].split()[0]
                    modes.add("O_DIRECT" if int(flags, 8) & os.O_DIRECT else "page cache")
        except (FileNotFoundError, ProcessLookupError, AttributeError):
            continue  # the process or descriptor ended between two reads
    if not modes:
        return "unknown"
    return modes.pop() if len(modes) == 1 else "mixed"


class ServerMeter:
    """Counts what a server spends between entering and leaving: `with ServerMeter(pid) as meter`."""

    def __init__(self, pid, backing_files=()):
        self.pid = pid
        self.backing_files = list(backing_files)
        self.cpu_nanoseconds = 0
        self.context_switches = 0
        self.peak_resident_bytes = 0
        self.file_mode = "unknown"
        self._stop = threading.Event()
        self._latest = {}

    def __enter__(self):
        self._tree_before = set(process_tree(self.pid))
        self._switches_before = context_switches_by_thread(self.pid)
        self._latest = dict(self._switches_before)
        self._thread = threading.Thread(target=self._sample_until_stopped, daemon=True)
        self._cpu_before = cpu_nanoseconds(self.pid)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._wait_for_reaping()
        self.cpu_nanoseconds = cpu_nanoseconds(self.pid) - self._cpu_before
        self._sample()
        self.context_switches = sum(self._latest.values()) - sum(self._switches_before.values())

    def _sample_until_stopped(self):
        while not self._stop.wait(SAMPLE_PERIOD_SECONDS):
            self._sample()

    def _sample(self):
        # A thread that has just ended reads as 0; its last known count stays.
        for thread, count in context_switches_by_thread(self.pid).items():
            self._latest[thread] = max(count, self._latest.get(thread, 0))
        self.peak_resident_bytes = max(self.peak_resident_bytes, resident_bytes(self.pid))
        if self.backing_files and self.file_mode == "unknown":
            self.file_mode = open_mode(self.pid, self.backing_files)

    def _wait_for_reaping(self, limit_seconds=2.0):
        """A child that served the connection counts in cutime only once its parent has waited for it."""
        deadline = time.monotonic() + limit_seconds
        while set(process_tree(self.pid)) - self._tree_before and time.monotonic() < deadline:
            time.sleep(0.01)
