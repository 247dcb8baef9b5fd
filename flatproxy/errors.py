"""The exception tree. It imports nothing of ours, so that every module may raise from it.

A class's docstring is its message where the raiser has nothing to add.
"""


class FlatproxyError(Exception):
    """An error of flatproxy."""

    def __str__(self) -> str:
        return super().__str__() or (self.__doc__ or "").rstrip(".")


class ConfigError(FlatproxyError):
    """A configuration that cannot be used."""


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
