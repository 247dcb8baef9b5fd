"""What processes and the machine have used, read from /proc. It starts and stops nothing."""

from __future__ import annotations

import os
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_KIB = 1024
_PROC = Path("/proc")


def members(group: int) -> list[int]:
    """Return the ids of the processes of a process group, which is how the bench starts every server."""
    found = []
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields and int(fields[2]) == group:
                found.append(int(entry.name))
    return found


def cpu_s(group: int) -> tuple[float, float]:
    """Return the CPU seconds that a group's processes with all their threads have used: in user mode, in the kernel.

    The sum is to the nanosecond, less what ended threads used; how it is divided is known in hundredths of a second.
    """
    user = system = exact = 0
    for pid in members(group):
        fields = _stat(pid)
        if fields:
            user += int(fields[11])
            system += int(fields[12])
            exact += sum(map(_ran_ns, (_PROC / str(pid) / "task").glob("*/schedstat")))
    share = user / (user + system) if user + system else 1.0
    return exact * share / 1e9, exact * (1 - share) / 1e9


def _ran_ns(schedstat: Path) -> int:
    try:
        return int(schedstat.read_text().split()[0])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def rss_bytes(group: int) -> int:
    """Return the resident memory of a group's processes; what they share counts once for each."""
    total = 0
    for pid in members(group):
        for line in (_PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1]) * _KIB
    return total


def machine_busy_s() -> tuple[float, float]:
    """Return the CPU seconds that all cores have been busy since the machine started, and those stolen from it."""
    first = (_PROC / "stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(value) * _TICK_S for value in first[:8])
    return user + nice + system + irq + softirq, steal


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on (proc(5)); none where the process has gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()
