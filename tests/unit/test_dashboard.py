"""The dashboard as a thing to look at: every panel in its place, with a source, a unit and a word of explanation."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from .expressions import dashboard, panels

COLUMNS = 24


def place(panel: dict[str, Any]) -> tuple[int, int, int, int]:
    grid = panel["gridPos"]
    return grid["x"], grid["y"], grid["x"] + grid["w"], grid["y"] + grid["h"]


def test_it_can_be_imported_anywhere() -> None:
    board = dashboard()
    assert "id" not in board
    assert board["uid"]
    source = board["templating"]["list"][0]
    assert (source["type"], source["query"]) == ("datasource", "prometheus")


def test_every_query_goes_to_the_chosen_source() -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels():
        assert [target["datasource"] for target in panel["targets"]] == [chosen] * len(panel["targets"]), panel["title"]
        assert panel["datasource"] == chosen, panel["title"]
    for variable in dashboard()["templating"]["list"][1:]:
        assert variable["datasource"] == chosen


def test_ids_and_titles_are_unique() -> None:
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(ids) == len(set(ids))
    titles = [panel["title"] for panel in dashboard()["panels"]]
    assert len(titles) == len(set(titles))


def test_panels_do_not_overlap_and_leave_no_gap() -> None:
    everything = dashboard()["panels"]
    for one, other in combinations(everything, 2):
        left, top, right, bottom = place(one)
        other_left, other_top, other_right, other_bottom = place(other)
        apart = right <= other_left or other_right <= left or bottom <= other_top or other_bottom <= top
        assert apart, (one["title"], other["title"])
    covered = sum(panel["gridPos"]["w"] * panel["gridPos"]["h"] for panel in everything)
    assert covered == COLUMNS * max(place(panel)[3] for panel in everything)


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_explains_itself(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    if panel["type"] in ("timeseries", "stat"):
        assert panel["fieldConfig"]["defaults"]["unit"]
    if panel["type"] == "timeseries":
        assert panel["fieldConfig"]["defaults"]["min"] == 0
        assert all(target["legendFormat"] for target in panel["targets"])


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_heeds_the_variables(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        assert target["expr"].count('job=~"$job", instance=~"$instance"') == target["expr"].count("{")
        assert "[5m]" not in target["expr"]
