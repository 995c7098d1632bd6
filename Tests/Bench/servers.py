"""The servers under test: how each is started, found ready, addressed and ended. All speak NBD over a Unix socket."""

import os
import select
import shutil
import signal
import socket
import subprocess
import time

START_LIMIT_SECONDS = 60
STOP_LIMIT_SECONDS = 20
COMMAND_LIMIT_SECONDS = 120
POLL_SECONDS = 0.02
# sun_path of sockaddr_un holds 108 bytes with the closing zero.
SOCKET_PATH_LIMIT_BYTES = 107
MIB = 1 << 20
GIB = 1 << 30


class BenchError(Exception):
    """Something a person has to put right; the message says what."""


def require_tool(name, package):
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        raise BenchError(f"{name} is not installed; install the Debian package {package} or leave it out with --servers")
    return path


class Daemon:
    """A process that is not our child, held by a pidfd so that its id cannot come to mean another; offers what Popen does."""

    def __init__(self, pid):
        self.pid = pid
        self.returncode = None
        self._descriptor = os.pidfd_open(pid)

    def poll(self):
        return self._ended_within(0)

    def wait(self, timeout=None):
        if self._ended_within(timeout) is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            signal.pidfd_send_signal(self._descriptor, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def _ended_within(self, timeout_seconds):
        """The status, or None while it runs. Only a parent learns the true status: 0 stands for any."""
        if self.returncode is None and select.select([self._descriptor], [], [], timeout_seconds)[0]:
            self.returncode = 0
        return self.returncode


class Server:
    """One server process with one export. Subclasses say how it is called."""

    name = ""
    note = ""
    # False when the server keeps its data elsewhere than in a file of disk_dir.
    uses_disk = True
    # How it holds its data, where that is certain without looking at its descriptors.
    known_file_mode = None

    def __init__(self, size_bytes, disk_dir, run_dir, options):
        self.size_bytes = size_bytes
        self.run_dir = os.path.join(run_dir, self.name)
        os.mkdir(self.run_dir)
        self.disk_dir = disk_dir
        self.options = options
        self.socket_path = os.path.join(self.run_dir, "nbd")
        if len(os.fsencode(self.socket_path)) > SOCKET_PATH_LIMIT_BYTES:
            raise BenchError(f"socket path {self.socket_path} is longer than {SOCKET_PATH_LIMIT_BYTES} bytes; set TMPDIR to a shorter one")
        self.process = None

    @property
    def pid(self):
        return self.process.pid

    def backing_files(self):
        return [os.path.join(self.disk_dir, f"{self.name}.raw")] if self.uses_disk else []

    def backing_file_bytes(self):
        return self.size_bytes

    def fio_arguments(self):
        return ["--ioengine=nbd", f"--uri=nbd+unix:///{self.export_name()}?socket={self.socket_path}"]

    def export_name(self):
        return ""

    def version_command(self):
        return [self.command()[0], "--version"]

    def version(self):
        done = subprocess.run(self.version_command(), capture_output=True, text=True, timeout=COMMAND_LIMIT_SECONDS, check=False)
        lines = (done.stdout + done.stderr).strip().splitlines()
        return lines[0] if lines else "unknown"

    def start(self):
        for path in self.backing_files():
            with open(path, "wb") as file:
                file.truncate(self.backing_file_bytes())
        self.prepare()
        with open(os.path.join(self.run_dir, "log"), "wb") as log:
            self.process = self.launch(log)
        self.wait_until("it accepts connections", self.is_ready)
        self.after_start()

    def launch(self, log):
        return subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def prepare(self):
        """Before the process starts: configuration files."""

    def after_start(self):
        """Once the process answers: creation of what it is to export."""

    def is_ready(self):
        return os.path.exists(self.socket_path) and self.greets()

    def greets(self):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            try:
                client.connect(self.socket_path)
                return client.recv(8) == b"NBDMAGIC"
            except OSError:
                return False

    def wait_until(self, what, condition):
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while not condition():
            if self.process.poll() is not None:
                raise BenchError(f"{self.name} ended with status {self.process.returncode} before {what}: {self.log_tail()}")
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name}: waited {START_LIMIT_SECONDS} s until {what}, in vain: {self.log_tail()}")
            time.sleep(POLL_SECONDS)

    def log_tail(self):
        with open(os.path.join(self.run_dir, "log"), encoding="utf-8", errors="replace") as log:
            return log.read()[-2000:].strip() or "(it printed nothing)"

    def check_alive(self):
        if self.process.poll() is not None:
            raise BenchError(f"{self.name} ended with status {self.process.returncode} while it was measured: {self.log_tail()}")

    def settle(self):
        """Writes back what the page cache holds of this server's files, so that the next server's run does not pay for it."""
        for path in self.backing_files():
            with open(path, "rb") as file:
                os.fsync(file.fileno())

    def stop(self):
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_LIMIT_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        # The server leads a process group of its own; a connection's child may have outlived it.
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


class Spaceport(Server):
    name = "spaceport"
    note = "one pool, fixed provisioning"

    def __init__(self, size_bytes, disk_dir, run_dir, options):
        super().__init__(size_bytes, disk_dir, run_dir, options)
        self.binary = os.path.abspath(options.spaceport)
        self.control_path = os.path.join(self.run_dir, "control")
        if not os.access(self.binary, os.X_OK):
            raise BenchError(
                f"there is no spaceport binary at {self.binary}; build it with `make build`, name another with --spaceport PATH, "
                "or leave it out with --servers"
            )

    def backing_files(self):
        return [os.path.join(self.disk_dir, f"{self.name}{number}.raw") for number in range(self.options.disks)]

    def backing_file_bytes(self):
        # Sparse: a quarter and 1 GiB more than its share leaves room for the partition table, metadata and whole slabs.
        share = self.size_bytes // self.options.disks
        return (share + share // 4) // MIB * MIB + GIB

    def command(self):
        state_dir = os.path.join(self.run_dir, "state")
        return [self.binary, "serve", "--state-dir", state_dir, "--control", self.control_path, "--listen", f"unix:{self.socket_path}"]

    def prepare(self):
        os.mkdir(os.path.join(self.run_dir, "state"), 0o700)

    def export_name(self):
        return "bench/disk"

    def is_ready(self):
        return os.path.exists(self.control_path) and self.control("pool", "list").returncode == 0

    def after_start(self):
        self.control_or_fail("pool", "create", "bench", *self.backing_files())
        self.control_or_fail("vdisk", "create", "bench/disk", "--size", str(self.size_bytes), "--provisioning", "fixed")

    def control(self, *arguments):
        command = [self.binary, *arguments, "--control", self.control_path]
        return subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_LIMIT_SECONDS, check=False)

    def control_or_fail(self, *arguments):
        done = self.control(*arguments)
        if done.returncode != 0:
            output = (done.stderr or done.stdout).strip()
            raise BenchError(f"`spaceport {' '.join(arguments)}` ended with status {done.returncode}: {output}")


class QemuNbd(Server):
    name = "qemu-nbd"
    note = "--cache=none --aio=io_uring"

    def command(self):
        program = require_tool("qemu-nbd", "qemu-utils")
        return [program, "-k", self.socket_path, "-f", "raw", "--cache=none", "--aio=io_uring", "-t", "-e", "8", *self.backing_files()]


class NbdkitFile(Server):
    name = "nbdkit-file"
    note = "file plugin; it has no O_DIRECT"

    def command(self):
        return [require_tool("nbdkit", "nbdkit"), "-f", "-U", self.socket_path, "file", *self.backing_files()]


class NbdkitMemory(Server):
    name = "nbdkit-memory"
    note = "memory plugin; no disk at all"
    uses_disk = False
    known_file_mode = "memory"

    def command(self):
        return [require_tool("nbdkit", "nbdkit"), "-f", "-U", self.socket_path, "memory", str(self.size_bytes)]


class NbdServer(Server):
    name = "nbd-server"
    note = "flush on; a process per connection"

    def command(self):
        return [require_tool("nbd-server", "nbd-server"), "-C", self.config_path(), "-p", self.pid_path()]

    def version_command(self):
        return [self.command()[0], "-V"]

    def launch(self, log):
        """It has no foreground mode that outlives its first connection (-d ends with it), so it is started as the daemon it is."""
        done = subprocess.run(
            self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=COMMAND_LIMIT_SECONDS, check=False
        )
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while done.returncode == 0 and time.monotonic() < deadline:
            text = self.pid_text()
            if text.endswith("\n"):
                return Daemon(int(text))
            time.sleep(POLL_SECONDS)
        raise BenchError(f"nbd-server ended with status {done.returncode} and wrote no process id: {self.log_tail()}")

    def pid_text(self):
        try:
            with open(self.pid_path(), encoding="ascii") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def pid_path(self):
        return os.path.join(self.run_dir, "pid")

    def config_path(self):
        return os.path.join(self.run_dir, "config")

    def export_name(self):
        return "bench"

    def prepare(self):
        with open(self.config_path(), "w", encoding="utf-8") as config:
            config.write(f"[generic]\nunixsock = {self.socket_path}\n")
            config.write(f"[bench]\nexportname = {self.backing_files()[0]}\nflush = true\n")


class NoServer(Server):
    """fio on the file itself: what the storage gives to anyone, the ceiling for every server that does not cache."""

    name = "no-server"
    note = "fio itself by io_uring, O_DIRECT"
    known_file_mode = "O_DIRECT"

    def start(self):
        for path in self.backing_files():
            with open(path, "wb") as file:
                file.truncate(self.backing_file_bytes())

    def fio_arguments(self):
        return ["--ioengine=io_uring", "--direct=1", f"--filename={self.backing_files()[0]}"]

    def check_alive(self):
        """There is no process."""

    def version(self):
        return "no process"


SERVER_CLASSES = {each.name: each for each in (Spaceport, QemuNbd, NbdkitFile, NbdkitMemory, NbdServer, NoServer)}
