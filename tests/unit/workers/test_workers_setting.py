from __future__ import annotations

import pytest

from flatproxy.config.load import to_settings
from tests.unit.config.configs import flattened, problems


@pytest.mark.parametrize("count", [1, 2, 64])
def test_as_many_as_are_written(count: int) -> None:
    assert to_settings(flattened(listen={"dns": ["127.0.0.1:0"], "workers": count})).listen.workers == count


def test_one_where_nothing_is_written() -> None:
    assert to_settings(flattened()).listen.workers == 1


@pytest.mark.parametrize("count", [0, -1, 65, 2.0, "2", True])
def test_any_other_is_refused_with_its_key(count: object) -> None:
    (problem,) = problems(flattened(listen={"dns": ["127.0.0.1:0"], "workers": count}))
    assert problem.key == "listen.workers"
    assert problem.write
