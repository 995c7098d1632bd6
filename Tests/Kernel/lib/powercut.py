#!/usr/bin/env python3
"""Power cuts, from the logs that the guest's part powercut left: makes the disks as each cut may leave them, lets the server open them, and
compares what clients then read with what they had written and flushed.

usage: powercut.py WORK OUT SPACEPORT

WORK has leg-N.base (the disks before all) and log-N.img; OUT has powercut.txt (what the guest did) and powercut-count.txt (how many cuts).
At each cut the pool is opened from both disks, and from one alone: whatever was flushed must be on each of them. What the disks had in their
cache is kept, lost, or partly kept and torn. The disks of the first opening that is wrong are left in OUT/powercut-failed.
"""
import concurrent.futures
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

from powercut_log import SECTOR, DiskReplay, LogError, WriteLog
from powercut_model import DISKS, Model, wrong_sectors

MARK_SECTORS = 2048
COMMAND_LIMIT_SECONDS = 60
# What of the caches is kept: on the first disk, on the second.
CACHE_FATES = [("none", "none"), ("some", "some"), ("all", "none"), ("some", "some"), ("none", "all"), ("all", "all")]
# The file system is checked, and the mirrors are scrubbed, at every so many cuts.
THOROUGH_EACH = 3
# Flushes that the test itself loses, to see that it would notice.
LOST_FLUSH_TRIES = 6
IMAGE_ROOM_BYTES = 1 << 30


class Wrong(Exception):
    pass


def run(*command, may_fail=False, **options):
    result = subprocess.run(command, capture_output=True, timeout=COMMAND_LIMIT_SECONDS, **options)
    if result.returncode != 0 and not may_fail:
        raise Wrong(f"{' '.join(command)}: status {result.returncode}: {(result.stderr + result.stdout).decode(errors='replace')[-800:]}")
    return result


class Server:
    """A server of its own on the images, with no memory of earlier ones; killed at the end."""

    def __init__(self, program, folder):
        self.program, self.folder = program, folder
        self.log_path = f"{folder}/server.log"

    def __enter__(self):
        os.mkdir(f"{self.folder}/state", 0o700)
        command = [self.program, "serve", "--state-dir", f"{self.folder}/state", "--control", f"{self.folder}/control.sock",
                   "--listen", f"unix:{self.folder}/nbd.sock"]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + COMMAND_LIMIT_SECONDS
        while not os.path.exists(f"{self.folder}/control.sock") or self.control("pool", "list", may_fail=True).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise Wrong("the server does not start: " + open(self.log_path, errors="replace").read()[-800:])
            time.sleep(0.02)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def control(self, *words, **options):
        return run(self.program, *words, "--control", f"{self.folder}/control.sock", **options)

    def read(self, disk):
        return run("nbdcopy", f"nbd+unix:///cut/{disk}?socket={self.folder}/nbd.sock", "-").stdout


class Opening:
    """The pool of one cut, opened once. `legs` are the numbers of the disks that are there; their images are files in `folder`."""

    def __init__(self, cut, legs, how, model, folder, is_thorough):
        self.cut, self.legs, self.how, self.folder, self.is_thorough = cut, legs, how, folder, is_thorough
        self.expected, self.files = model.snapshot(), dict(model.files)

    def __str__(self):
        return f"cut {self.cut} opened from disk {' and '.join(map(str, self.legs))}, kept of what was not flushed: {self.how}"

    def check(self, program):
        """Throws Wrong when clients find anything but what they may."""
        with Server(program, self.folder) as server:
            lost = [str(leg) for leg in (1, 2) if leg not in self.legs]
            server.control("pool", "open", *(f"{self.folder}/leg-{leg}" for leg in self.legs), *(["--accept-loss", *lost] if lost else []))
            for number, disk in enumerate(DISKS):
                if lost and disk == "simple":
                    continue
                data = server.read(disk)
                wrong = wrong_sectors(self.expected[number], data)
                if wrong:
                    raise Wrong(f"{len(wrong)} sectors of {disk} are wrong; sector, first bytes, allowed: {wrong[:5]}")
                if disk == "mirror" and server.read(disk) != data:
                    raise Wrong("the mirror reads otherwise the second time")
            if self.is_thorough:
                self._check_files(server)
                if not lost:
                    self._scrub(server)

    def _scrub(self, server):
        server.control("pool", "scrub", "cut")
        deadline = time.monotonic() + COMMAND_LIMIT_SECONDS
        while True:
            scrub = [job for job in json.loads(server.control("job", "list", "cut", "--json").stdout) if job["kind"] == "scrub"][-1]
            if scrub["state"] == "completed" and scrub["message"] == "No damage found.":
                return
            if scrub["state"] not in ("waiting", "running") or time.monotonic() > deadline:
                raise Wrong(f"scrub: {scrub}")
            time.sleep(0.05)

    def _check_files(self, server):
        """Replays the file system's journal, checks it, and compares the files that had been synced."""
        image = f"{self.folder}/files.img"
        with open(image, "wb") as file:
            file.write(server.read("files"))
        # preen: 1 says that what a power cut leaves (the journal, deleted files still open) was tidied up; anything worse is 4 and more
        result = run("e2fsck", "-f", "-p", image, may_fail=True)
        if result.returncode > 1:
            raise Wrong(f"e2fsck: status {result.returncode}: {result.stdout.decode(errors='replace')[-800:]}")
        commands = "".join(f"dump /{name} {self.folder}/{name}\n" for name in self.files)
        run("debugfs", "-f", "-", image, input=commands.encode())
        for name, checksum in self.files.items():
            path = f"{self.folder}/{name}"
            found = hashlib.sha256(open(path, "rb").read()).hexdigest() if os.path.exists(path) else "nothing"
            if found != checksum:
                raise Wrong(f"{name} was synced and has SHA-256 {found} instead of {checksum}")


class Test:
    def __init__(self, work, out, program):
        self.out, self.program = out, program
        self.work, self.notes = work, [line.split() for line in open(f"{out}/powercut.txt")]
        self.cut_count = int(open(f"{out}/powercut-count.txt").read())
        self.random = random.Random(self.cut_count)
        self.model = Model(self.notes)
        sectors = os.path.getsize(f"{work}/leg-1.base") // SECTOR - MARK_SECTORS
        self.disks = {leg: DiskReplay(WriteLog(f"{work}/log-{leg}.img", sectors), f"{work}/leg-{leg}.base") for leg in (1, 2)}
        self.flush_count = sum(note[0] == "flushed" for note in self.notes)
        self.cached_cuts = 0
        # memory is quicker, and what is tested here needs no disk
        shm = "/dev/shm"
        has_room = os.path.isdir(shm) and shutil.disk_usage(shm).free > IMAGE_ROOM_BYTES
        self.folder = tempfile.mkdtemp(prefix="spaceport-powercut.", dir=shm if has_room else work)
        self.opening_count = 0

    def prepare(self, cut, legs, fates, is_thorough=False, images=None, model=None):
        self.opening_count += 1
        folder = f"{self.folder}/{self.opening_count}"
        os.mkdir(folder)
        for leg in legs:
            image = images[leg] if images else self.disks[leg].image_with_cache(cut, fates[leg - 1], self.random)
            with open(f"{folder}/leg-{leg}", "wb") as file:
                file.write(image)
        how = ", ".join(fates[leg - 1] for leg in legs)
        return Opening(cut, legs, how, model or self.model, folder, is_thorough)

    def check(self, opening):
        """None, or what was wrong."""
        try:
            opening.check(self.program)
        except (Wrong, subprocess.TimeoutExpired) as problem:
            self._keep(opening)
            return f"{opening}: {problem}"
        finally:
            shutil.rmtree(opening.folder, ignore_errors=True)
        return None

    def _keep(self, opening):
        kept = f"{self.out}/powercut-failed"
        if not os.path.exists(kept):
            os.mkdir(kept)
            for name in ("leg-1", "leg-2", "server.log"):
                if os.path.exists(f"{opening.folder}/{name}"):
                    shutil.copy(f"{opening.folder}/{name}", kept)

    def openings(self):
        for cut in range(self.cut_count):
            self.model.go_to(cut)
            for disk in self.disks.values():
                disk.go_to(cut, self.random)
            self.cached_cuts += any(disk.log.in_cache(cut) for disk in self.disks.values())
            is_thorough = cut % THOROUGH_EACH == 0 or cut == self.cut_count - 1
            yield self.prepare(cut, (1, 2), CACHE_FATES[cut % len(CACHE_FATES)], is_thorough)
            yield self.prepare(cut, (1 + cut % 2,), self.random.choice((("none", "none"), ("some", "some"))), is_thorough)

    def run(self):
        workers = os.cpu_count() or 1
        problems = []
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            waiting = []
            for opening in self.openings():
                waiting.append(pool.submit(self.check, opening))
                # each has two images in memory
                if len(waiting) > workers:
                    problems.append(waiting.pop(0).result())
            problems += [future.result() for future in waiting]
        return [problem for problem in problems if problem]

    def lost_flushes_seen(self):
        """Whether this test would notice a disk that was not flushed: (how often it did, tries). The first disk loses what a FLUSH of a
        client had made durable since the cut before, and the mirror is read from that disk alone."""
        replay, model = DiskReplay(self.disks[1].log, f"{self.work}/leg-1.base"), Model(self.notes)
        seen = tries = 0
        for cut in range(1, self.cut_count):
            replay.go_to(cut - 1, self.random)
            if not model.go_to(cut, flushed="mirror") or tries == LOST_FLUSH_TRIES:
                continue
            tries += 1
            opening = self.prepare(cut, (1,), ("none", "none"), model=model, images={1: replay.image_without_flushes(cut, self.random)})
            try:
                opening.check(self.program)
            except Wrong as problem:
                seen += "sectors of mirror are wrong" in str(problem)
            shutil.rmtree(opening.folder)
        return seen, tries

    def remove_images(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def main():
    work, out, program = sys.argv[1:4]
    shutil.rmtree(f"{out}/powercut-failed", ignore_errors=True)
    try:
        test = Test(work, out, program)
    except (LogError, OSError, ValueError) as problem:
        sys.exit(f"powercut: {problem}")
    try:
        problems = test.run()
        opening_count = test.opening_count
        seen, tries = test.lost_flushes_seen()
    except (LogError, ValueError) as problem:
        sys.exit(f"powercut: {problem}")
    finally:
        test.remove_images()
    print("\n".join(problems))
    print(f"cuts: {test.cut_count}, {test.cached_cuts} of them with unflushed writes on the disks; "
          f"{opening_count} openings, {len(problems)} wrong; {test.flush_count} flushes; "
          f"a flush that was lost on purpose showed in {seen} of {tries} openings")
    if test.cached_cuts < test.cut_count // 4 or test.flush_count < test.cut_count // 4:
        sys.exit("powercut: too few cuts met unflushed writes, or too few flushes were answered, for this to prove anything")
    if seen == 0:
        sys.exit("powercut: a flush that was lost on purpose was not noticed, so that this proves nothing")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
