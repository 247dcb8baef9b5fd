from __future__ import annotations

import pytest

from bench.load import parse, quantile

PRINTED = """\
> NOERROR h1.example.com A 0.000200
> NOERROR h2.example.com A 0.000100
> T h3.example.com A
> SERVFAIL h4.example.com A 0.001300
Statistics:

  Queries sent:         4
  Queries completed:    3 (75.00%)
  Queries lost:         1 (25.00%)

  Response codes:       NOERROR 2 (66.67%), SERVFAIL 1 (33.33%)
  Queries per second:   1234.500000
"""


def test_reads_what_dnsperf_prints() -> None:
    load = parse(PRINTED, 0.25)
    assert (load.qps, load.completed, load.lost, load.own_cpu_s) == (1234.5, 3, 1, 0.25)
    assert load.rcodes == "NOERROR 2 (66.67%), SERVFAIL 1 (33.33%)"
    assert load.latencies_s == (0.0001, 0.0002, 0.0013)


def test_no_answer_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="no answers"):
        parse(PRINTED.replace("completed:    3", "completed:    0"))


@pytest.mark.parametrize(("share", "expected"), [(0.001, 1), (0.5, 50), (0.99, 99), (0.999, 100), (1, 100)])
def test_a_quantile_is_one_of_the_values(share: float, expected: int) -> None:
    assert quantile(range(1, 101), share) == expected
    assert quantile([7.0], share) == 7
