"""What every suite needs of pytest: names of tests that are the same in every process of a run."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name messages by their argument: their IDs are random, and pytest-xdist wants the same tests everywhere."""
    return argname if isinstance(val, bytes) else None
