"""SIGHUP while the program starts: held, and delivered once it can be answered by a reload.

This module is imported before all others and must import nothing that takes time.
"""

from __future__ import annotations

import signal


def hold() -> None:
    """Keep SIGHUP from ending the program; many of them count as one."""
    if hasattr(signal, "pthread_sigmask"):  # Windows has neither
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def release() -> None:
    """Deliver the SIGHUP that came meanwhile, and each that comes from now on; for the thread that called `hold`."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
