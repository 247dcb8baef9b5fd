"""Redis and its Sentinels as child processes, and a client of them for what tests do behind flatproxy's back."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import redis
from attrs import define, field

from .child import Child, program
from .lifetime import Startable
from .ports import Address, free_port
from .waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_ATTEMPTS = 5


@define(eq=False)
class Redis(Startable):
    """One server without a file of its own; `options` are lines of its configuration."""

    folder: Path
    options: Sequence[str] = ()
    password: str | None = None
    """Of the default user, for `client`."""
    host: str = "127.0.0.1"
    port: int = 0
    child: Child | None = field(default=None, init=False)
    mode: str = ""
    """An argument, such as `--sentinel`."""
    prefix: Sequence[str] = ()
    """A command that runs it."""

    @property
    def address(self) -> Address:
        return self.host, self.port

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"

    def start(self) -> None:
        """Start it, on the port that it had before where there is one."""
        port = self.port
        for _ in range(_ATTEMPTS):
            self.port = port or free_port(self.host)
            self.launch()
            if until(lambda: self.answers() or not self.alive, "an answer of Redis") and self.alive:
                return
        assert self.child is not None
        raise AssertionError(self.child.tail())

    def launch(self) -> None:
        path = self.folder / "redis.conf"
        if not (self.mode and path.exists()):  # a Sentinel writes what it learns into its own
            path.write_text(
                f"bind {self.host}\nport {self.port}\ndir {self.folder}\n"
                + ('save ""\nappendonly no\n' if not self.mode else "")
                + "\n".join(self.options)
                + "\n"
            )
        command = [*self.prefix, "redis-server", str(path), *([self.mode] if self.mode else [])]
        self.child = Child.start(command, self.folder / "redis.log")

    @property
    def alive(self) -> bool:
        return self.child is not None and self.child.alive

    def client(self) -> redis.Redis:
        return redis.Redis(host=self.host, port=self.port, password=self.password, socket_timeout=5)

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False

    def do(self, *words: Any) -> Any:
        with self.client() as client:
            return client.execute_command(*words)

    def entries(self, pattern: str = "*:entry:*") -> dict[bytes, bytes]:
        with self.client() as client:
            return {key: client.get(key) for key in client.scan_iter(pattern)}

    def kill(self) -> None:
        assert self.child is not None
        self.child.kill()

    def stop(self) -> None:
        if self.child is not None:
            self.child.kill()


def needs_redis() -> None:
    """Skip where there is no Redis to test with."""
    program("redis-server")


@contextmanager
def sentinels(folder: Path, master: Redis) -> Iterator[list[Redis]]:
    """Run three that watch over a master, and call it lost after a second."""
    program("redis-sentinel")
    lines = (
        f"sentinel monitor mymaster {master.host} {master.port} 2",
        "sentinel down-after-milliseconds mymaster 1000",
        "sentinel failover-timeout mymaster 5000",
    )
    with ExitStack() as stack:
        made = []
        for number in range(3):
            home = folder / f"sentinel{number}"
            home.mkdir()
            made.append(stack.enter_context(Redis(home, options=lines, mode="--sentinel")))
        yield made


def place_of(watching: Sequence[Redis]) -> str:
    """Return where a fleet finds the master that these name."""
    return f"redis+sentinel://{','.join(f'{each.host}:{each.port}' for each in watching)}/mymaster/0"
