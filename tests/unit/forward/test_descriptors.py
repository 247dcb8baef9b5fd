from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flatproxy.forward.descriptors import share_descriptors


@given(st.integers(1, 20), st.integers(48, 20_000))
def test_no_more_descriptors_are_shared_out_than_there_are(servers: int, limit: int) -> None:
    """Each client connection may take one to the nameserver; 32 are left for all else, 160 where there are enough."""
    shares = share_descriptors(servers, limit)
    used = servers * (shares.sockets + shares.one_shots) + 2 * shares.connections
    if limit >= 32 + 4 * servers:
        assert used <= limit - 32
    if limit >= 1024:
        assert used <= limit - 160
