"""Signed zones of NSD with ldns-signzone."""

from __future__ import annotations

import pytest

from tests.integration.signed import *  # noqa: F403 - the tests and their fixtures
from tests.support.signers import NsdSigning


@pytest.fixture(scope="module")
def kind() -> type[NsdSigning]:
    return NsdSigning
