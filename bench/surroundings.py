"""What the machine was and did while it was measured: its make, its load, the versions of everything."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.support.child import program


def machine() -> dict[str, Any]:
    """Return what stays the same through a run."""
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": int(memory[1]) // 1024 if memory else None,
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
    }


def moment() -> dict[str, Any]:
    """Return the time and the load average (1, 5, 15 minutes), to be taken before and after."""
    return {"at": datetime.now(UTC).isoformat(timespec="seconds"), "load_average": list(os.getloadavg())}


def versions() -> dict[str, str]:
    """Return the version of every program and library that takes part."""
    found = {name: version(name) for name in ("flatproxy", "twisted", "dnspython")}
    found["python"] = platform.python_version()
    found["commit"] = commit(Path(__file__).parent)
    for name, option in (("nsd", "-v"), ("unbound", "-V"), ("dnsdist", "--version"), ("pdns_server", "--version")):
        number = re.search(r"\d+\.\d+(\.\d+)*", re.sub(r"^\w{3} \d+ [\d:]+", "", _said(name, option)))
        found[name] = number[0] if number else "unknown"
    number = re.search(r"Version (\S+)", _said("dnsperf", "-h"))
    found["dnsperf"] = number[1] if number else "unknown"
    return found


def commit(checkout: Path) -> str:
    """Return the commit of a checkout, or what git said of a folder that is none."""
    return _said("git", "-C", str(checkout), "rev-parse", "--short", "HEAD").strip()


def _said(*command: str) -> str:
    done = subprocess.run(
        [program(command[0]), *command[1:]],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20, check=False,
        cwd=Path(__file__).parent,
    )  # fmt: skip
    return done.stdout
