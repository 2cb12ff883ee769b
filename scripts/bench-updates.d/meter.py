"""Runs a command on one core and says what it cost.

The memory of a child is at least that of this process when it forked, so this process stays small: files are read in
slices, and `floor` says how much it is.
"""
import os
import resource
import subprocess

CPU_SECS_MAX = 20 * 60


class Cut(Exception):
    """A run was stopped because it took too long."""


class Failed(Exception):
    """A tool failed, or made something else than the new tree."""


class Meter:
    """What a series of commands cost together: CPU seconds, and the most memory that one of them had."""

    def __init__(self):
        self.cpu, self.bytes = 0.0, 0

    def run(self, command, **kwargs):
        left = max(1, int(CPU_SECS_MAX - self.cpu))

        def limits():
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
            resource.setrlimit(resource.RLIMIT_CPU, (left, left + 5))

        command = [str(part) for part in command]
        with open(os.devnull, "rb") as nothing:
            child = subprocess.Popen(command, stdin=nothing, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                     preexec_fn=limits, **kwargs)
            said = child.stderr.read()
            _, status, used = os.wait4(child.pid, 0)
        child.stderr.close()
        child.returncode = os.waitstatus_to_exitcode(status)
        self.cpu += used.ru_utime + used.ru_stime
        self.bytes = max(self.bytes, used.ru_maxrss * 1024)
        if self.cpu >= CPU_SECS_MAX:
            raise Cut(f"cut off after {CPU_SECS_MAX // 60} min")
        if child.returncode != 0:
            raise Failed(f"{command[0]}: exit {child.returncode}: {said.decode(errors='replace').strip()[-300:]}")

    def cost(self):
        return {"cpu": round(self.cpu, 3), "bytes": self.bytes}


def floor():
    """The memory that a program which does nothing seems to have."""
    meter = Meter()
    meter.run(["true"])
    return meter.bytes
