"""The exception tree. It imports nothing of ours, so that every module may raise from it.

A class's docstring is its message where the raiser has nothing to add.
"""

from __future__ import annotations

from attrs import frozen


class FlatproxyError(Exception):
    """An error of flatproxy."""

    def __str__(self) -> str:
        return super().__str__() or (self.__doc__ or "").rstrip(".")


@frozen(kw_only=True)
class Problem:
    """One thing wrong in a configuration file, as text that is ready to be shown.

    `key` is the path of the key (`flatten."example.com".fallback[1]`), empty for the file as a whole; `value` is what
    stands there in TOML, empty where nothing does; `write` says what to write instead.
    """

    key: str = ""
    value: str = ""
    reason: str
    write: str

    def __str__(self) -> str:
        place = f"{self.key} = {self.value}" if self.value else self.key
        first = f"{place}: {self.reason}" if place else self.reason
        return first + "\n    write: " + self.write.replace("\n", "\n           ")


class ConfigError(FlatproxyError):
    """A configuration that cannot be used."""

    def __init__(self, *args: object, problems: tuple[Problem, ...] = (), file: str = "") -> None:
        super().__init__(*args)
        self.problems = problems
        self.file = file

    def __str__(self) -> str:
        if not self.problems:
            return super().__str__()
        return "\n".join(f"{self.file}: {problem}" if self.file else str(problem) for problem in self.problems)


class WireError(FlatproxyError):
    """Octets that are not the DNS message they should be."""


class UpstreamTimeout(FlatproxyError):
    """No answer from the server in time."""


class ChainError(FlatproxyError):
    """A chain that does not end at an address."""


class ChainLoop(ChainError):
    """A chain that comes back to a name it has passed."""


class ChainTooLong(ChainError):
    """A chain of more than 16 hops."""


class ChainBroken(ChainError):
    """A chain with a hop that nobody would answer for."""


class ProbeFailed(FlatproxyError):
    """An address that does not answer as it should."""


class ProbeTimeout(ProbeFailed):
    """An address that does not answer in time."""


class NoWay(FlatproxyError):
    """No way to an address from this machine, which says nothing of the address."""
