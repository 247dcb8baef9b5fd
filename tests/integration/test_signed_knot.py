"""Signed zones of Knot."""

from __future__ import annotations

import pytest

from tests.integration.signed import *  # noqa: F403 - the tests and their fixtures
from tests.support.signers import KnotSigning


@pytest.fixture(scope="module")
def kind() -> type[KnotSigning]:
    return KnotSigning
