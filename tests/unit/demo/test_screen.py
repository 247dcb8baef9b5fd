from __future__ import annotations

import io

import pytest

from flatproxy.demo.screen import Screen, can_redraw


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class FixedScreen(Screen):
    columns_and_rows = (20, 6)

    @staticmethod
    def size() -> tuple[int, int]:
        return FixedScreen.columns_and_rows


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


def _drawn(terminal: Terminal, screen: Screen, lines: list[str]) -> str:
    start = terminal.tell()
    screen.draw(lines)
    return terminal.getvalue()[start:]


def test_the_first_picture_begins_where_the_cursor_is(terminal: Terminal) -> None:
    assert _drawn(terminal, FixedScreen(terminal), ["one", "two"]) == "\x1b[?25l\x1b[Jone\ntwo\n"


def test_the_next_is_drawn_over_the_last_whatever_their_lengths(terminal: Terminal) -> None:
    screen = FixedScreen(terminal)
    screen.draw(["one", "two", "three"])
    assert _drawn(terminal, screen, ["four"]) == "\x1b[?25l\x1b[3A\r\x1b[Jfour\n"
    assert _drawn(terminal, screen, []) == "\x1b[?25l\x1b[1A\r\x1b[J"
    assert _drawn(terminal, screen, ["five"]) == "\x1b[?25l\x1b[Jfive\n"


def test_a_line_that_wraps_counts_as_its_rows_and_colours_count_as_none(terminal: Terminal) -> None:
    screen = FixedScreen(terminal)
    screen.draw(["x" * 21, "\x1b[1m" + "y" * 20 + "\x1b[0m", ""])
    assert "\x1b[4A\r" in _drawn(terminal, screen, [])


def test_what_does_not_fit_is_left_out(terminal: Terminal) -> None:
    """A block that scrolled could not be drawn over."""
    screen = FixedScreen(terminal)
    drawn = _drawn(terminal, screen, [str(number) for number in range(9)])
    assert drawn.endswith("0\n1\n2\n3\n4\n")
    assert "\x1b[5A" in _drawn(terminal, screen, ["x" * 100, "left out"])


def test_close_shows_the_cursor(terminal: Terminal) -> None:
    screen = FixedScreen(terminal)
    screen.draw(["one"])
    screen.close()
    assert terminal.getvalue().endswith("one\n\x1b[?25h")


@pytest.mark.parametrize(("term", "well"), [("xterm-256color", True), ("screen", True), ("dumb", False), ("", False)])
def test_only_a_terminal_that_can_is_redrawn(
    monkeypatch: pytest.MonkeyPatch, terminal: Terminal, term: str, *, well: bool
) -> None:
    monkeypatch.setenv("TERM", term)
    assert can_redraw(terminal) == well
    assert not can_redraw(io.StringIO())


def test_the_size_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "66")
    monkeypatch.setenv("LINES", "11")
    assert Screen.size() == (66, 11)
