"""What holds for every suite."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("flatproxy", deadline=None)  # a busy machine is no reason to fail
settings.load_profile("flatproxy")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name messages by their argument: their IDs are random, and each process of a run must find the same names."""
    return argname if isinstance(val, bytes) else None
