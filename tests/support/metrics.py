"""One scrape of /metrics, parsed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Iterator


@frozen
class Metrics:
    text: str

    def samples(self, name: str, /, **labels: str) -> Iterator[tuple[dict[str, str], float]]:
        """Give labels and value of each sample of `flatproxy_NAME` whose labels contain these."""
        for family in text_string_to_metric_families(self.text):
            for sample in family.samples:
                if sample.name == f"flatproxy_{name}" and labels.items() <= sample.labels.items():
                    yield sample.labels, sample.value

    def value(self, name: str, /, **labels: str) -> float:
        """Return the sum of what fits; it is an error if nothing does."""
        found = [value for _, value in self.samples(name, **labels)]
        assert found, f"no flatproxy_{name}{labels}"
        return sum(found)

    def rung(self, name: str, rdtype: str = "A") -> str:
        rungs = {-1.0: "pinned", 0.0: "fresh", 0.5: "held", 1.0: "stale", 2.0: "fallback", 3.0: "upstream"}
        return rungs[self.value("rung", name=name, type=rdtype)]
