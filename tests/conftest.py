"""What holds for every suite."""

from __future__ import annotations


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name messages by their length: their IDs are random, and each process of a run must find the same names."""
    return f"{argname}-{len(val)}" if isinstance(val, bytes) else None
