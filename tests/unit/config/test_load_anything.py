from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flatproxy.config.load import load
from flatproxy.config.tables import RULE, TABLE_KEYS
from flatproxy.errors import ConfigError

from .configs import minimal, problems

KEYS = st.sampled_from(
    [*TABLE_KEYS, *(key for table in TABLE_KEYS.values() for key in table), "target", "fallback", "example.com"]
)
TEXTS = st.sampled_from(
    [
        "1s",
        "0.5ms",
        "400d",
        "A",
        "AAAA",
        "hinfo",
        ".",
        "@",
        "*.a",
        "example.com",
        "127.0.0.1:53",
        "::1",
        "[::]:0",
        "system",
    ]
) | st.text(max_size=8)
SCALARS = TEXTS | st.booleans() | st.integers() | st.floats() | st.dates() | st.times() | st.datetimes()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
TABLES = st.fixed_dictionaries(
    {},
    optional={
        table: VALUES | st.dictionaries(st.sampled_from([*known, "example.com"]), VALUES, max_size=5)
        for table, known in TABLE_KEYS.items()
    },
)
FLATTEN = st.dictionaries(
    TEXTS, VALUES | st.dictionaries(st.sampled_from(list(RULE.keys)), VALUES | st.lists(TEXTS), max_size=5), max_size=4
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(KEYS, VALUES, max_size=5) | TABLES, FLATTEN, st.booleans())
def test_nothing_but_a_config_error_comes_of_any_table(
    tables: dict[str, Any], flatten: dict[str, Any], complete: bool
) -> None:
    raw = {**(minimal() if complete else {}), **tables, "flatten": flatten}
    found = problems(raw)
    assert all(problem.key and problem.reason and problem.write for problem in found)
    assert all(str(problem).replace("\n", "").isprintable() for problem in found)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_nothing_but_a_config_error_comes_of_any_octets(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "flatproxy.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.problems
