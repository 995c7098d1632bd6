"""Tests of the figures and verdicts, by made-up samples: `python3 -m unittest discover Tests/Bench`."""

import os
import unittest

from measure import JOBS, Sample, sample_from
from procstat import ServerMeter, process_clock_nanoseconds
from report import MIB, Results, bars_section, machine_facts, render


def sample(server, job, round_number, iops, cpu, mode="O_DIRECT"):
    latency = {direction: [1.0, 2.0, 3.0] for direction in JOBS[job].directions}
    return Sample(server, job, round_number, iops, 1.0, 100, latency, cpu, 0.5, 10 * MIB, mode)


def results(cpu=(0.4, 0.4), iops=(1.3, 1.3), idle_mib=20, mode="O_DIRECT"):
    """Three rounds of the two jobs with bars; cpu and iops: spaceport's figures for (read, write) as multiples of qemu-nbd's."""
    samples = []
    for index, job in enumerate(("randread4k", "randwrite4k")):
        for round_number in (1, 2, 3):
            samples.append(sample("spaceport", job, round_number, iops[index] * round_number, cpu[index] * round_number, mode))
            samples.append(sample("qemu-nbd", job, round_number, 1.0 * round_number, 1.0 * round_number))
    return Results(samples, {"spaceport": idle_mib * MIB, "qemu-nbd": MIB})


def verdicts(given):
    lines, all_held = bars_section(given)
    words = [line.rpartition(": ")[2].strip(" |") for line in lines if line.endswith("held |") or line.endswith("missed |")]
    return words, all_held


class BarTests(unittest.TestCase):
    def test_all_held(self):
        self.assertEqual(verdicts(results()), (["held"] * 5, True))

    def test_limits_belong_to_what_holds_except_for_memory(self):
        self.assertEqual(verdicts(results(cpu=(0.5, 0.6), iops=(1.2, 1.2)))[0], ["held"] * 5)
        self.assertEqual(verdicts(results(idle_mib=64))[0], ["held"] * 4 + ["missed"])

    def test_each_bar_is_judged_by_its_own_figure(self):
        self.assertEqual(verdicts(results(cpu=(0.51, 0.59)))[0], ["missed", "held", "held", "held", "held"])
        self.assertEqual(verdicts(results(cpu=(0.4, 0.61)))[0], ["held", "missed", "held", "held", "held"])
        self.assertEqual(verdicts(results(iops=(1.19, 1.2)))[0], ["held", "held", "missed", "held", "held"])
        self.assertEqual(verdicts(results(iops=(1.2, 1.19)))[0], ["held", "held", "held", "missed", "held"])

    def test_page_cache_is_not_comparable(self):
        words, all_held = verdicts(results(mode="page cache"))
        self.assertEqual((words, all_held), (["held"], False))

    def test_unmeasured_bars_are_not_held(self):
        only_qemu = Results([each for each in results().samples if each.server == "qemu-nbd"], {})
        self.assertEqual(verdicts(only_qemu), ([], False))


class FigureTests(unittest.TestCase):
    def test_ratio_pairs_the_rounds(self):
        # The machine slowed down tenfold between the rounds: ratios of medians would say 3, each round says 2.
        samples = [sample("a", "randread4k", 1, 20, 1), sample("b", "randread4k", 1, 10, 1)]
        samples += [sample("a", "randread4k", 2, 2, 1), sample("b", "randread4k", 2, 1, 1)]
        self.assertEqual(Results(samples, {}).ratio("randread4k", "iops", "a", "b"), 2)

    def test_flushes_count_as_requests_but_not_as_iops(self):
        latency = {"percentile": {"50.000000": 1e3, "99.000000": 2e3, "99.900000": 3e3}}
        part = {"total_ios": 10, "iops": 5.0, "bw_bytes": MIB, "clat_ns": latency}
        empty = {"total_ios": 0, "iops": 0.0, "bw_bytes": 0, "clat_ns": {}}
        flushes = {"total_ios": 9, "lat_ns": {"percentile": {"50.000000": 4e3, "99.000000": 5e3, "99.900000": 6e3}}}

        class Named:
            name = "a"

        made = sample_from({"read": empty, "write": part, "sync": flushes}, Named, JOBS["fsync4k"], 0)
        self.assertEqual((made.requests, made.iops, made.mib_per_second), (19, 5.0, 1.0))
        self.assertEqual(made.latency, {"write": [1.0, 2.0, 3.0], "sync": [4.0, 5.0, 6.0]})

    def test_every_job_is_rendered(self):
        samples = [sample(server, job, 0, 10, 1) for job in JOBS for server in ("spaceport", "qemu-nbd")]
        text, _ = render(Results(samples, {}), machine_facts("/"), "settings")
        for job in JOBS:
            self.assertIn(f"(`{job}`)", text)


class MeterTests(unittest.TestCase):
    def test_cpu_of_a_reaped_child_is_counted(self):
        with ServerMeter(os.getpid()) as meter:
            child = os.fork()
            if child == 0:
                while process_clock_nanoseconds(os.getpid()) < 100_000_000:
                    pass
                os._exit(0)
            os.waitpid(child, 0)
        self.assertGreater(meter.cpu_nanoseconds, 80_000_000)  # 100 ms, less two clock ticks of rounding


if __name__ == "__main__":
    unittest.main()
