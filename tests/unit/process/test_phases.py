from __future__ import annotations

import pytest
from attrs import define

from flatproxy.config.settings import Access, Listen, Settings, Upstream
from flatproxy.errors import FlatproxyError
from flatproxy.process.phases import change

SETTINGS = Settings(listen=Listen(dns=()), upstream=Upstream(servers=()), access=Access(zones=()))


class TheParts(list["Noting"]):
    """Three parts that note what they are told in one list."""

    def __init__(self, failing: str = "") -> None:
        self.noted: list[str] = []
        super().__init__(Noting(name, self.noted, fails=name == failing) for name in ("one", "two", "three"))


@define
class Noting:
    name: str
    noted: list[str]
    fails: bool = False

    def prepare(self, settings: Settings) -> None:
        assert settings is SETTINGS
        self.noted.append(f"prepare {self.name}")
        if self.fails:
            raise FlatproxyError(self.name)

    def commit(self) -> None:
        self.noted.append(f"commit {self.name}")

    def abort(self) -> None:
        self.noted.append(f"abort {self.name}")


PREPARED = ["prepare one", "prepare two", "prepare three"]
COMMITTED = ["commit one", "commit two", "commit three"]
ABORTED = ["abort three", "abort two", "abort one"]


def test_all_are_prepared_before_one_changes() -> None:
    parts = TheParts()
    change(parts, SETTINGS, lambda: parts.noted.append("between"))
    assert parts.noted == [*PREPARED, "between", *COMMITTED]


@pytest.mark.parametrize(("failing", "prepared"), [("one", 1), ("two", 2), ("three", 3)])
def test_where_one_fails_none_changes(failing: str, prepared: int) -> None:
    parts = TheParts(failing)
    with pytest.raises(FlatproxyError, match=failing):
        change(parts, SETTINGS)
    assert parts.noted == [*PREPARED[:prepared], *ABORTED]


def test_what_fails_in_between_changes_none() -> None:
    """Who cannot give up root does not serve as root."""

    def fail() -> None:
        raise KeyboardInterrupt

    parts = TheParts()
    with pytest.raises(KeyboardInterrupt):
        change(parts, SETTINGS, fail)
    assert parts.noted == [*PREPARED, *ABORTED]
