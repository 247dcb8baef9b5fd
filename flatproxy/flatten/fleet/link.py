"""The way to a store: operations in, results out, over redis-py; one client at a time, thrown away after any error.

This is the one module that imports `redis`; it is imported only where `[fleet]` is configured. It never retries:
whoever drives it makes a new one.
"""

from __future__ import annotations

import asyncio
import hashlib
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import redis.asyncio
from attrs import define, field
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    InvalidResponse,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeout,
)

from flatproxy.counts import BucketTable
from flatproxy.flatten.fleet.operations import Claim, Clock, Gone, Here, Hold, Inquire, Publish, Release
from flatproxy.flatten.fleet.reasons import StoreLost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from flatproxy.config.settings import StoreAddress
    from flatproxy.flatten.fleet.operations import Operation, StoreKeys

SCRIPTED: Final = (Claim, Publish, Release, Hold, Here, Gone, Inquire, Clock)
OPEN_TIMES: Final = 8
"""To open it may take so many times as long as a command: names, TLS, Sentinels."""
_WORDS: Final = {
    "OOM": "full",
    "READONLY": "readonly",
    "MISCONF": "readonly",
    "NOREPLICAS": "readonly",
    "NOAUTH": "auth",
    "NOPERM": "auth",
    "WRONGPASS": "auth",
    "LOADING": "unavailable",
    "CLUSTERDOWN": "unavailable",
    "MASTERDOWN": "unavailable",
    "TRYAGAIN": "unavailable",
}
_IN_SCRIPT: Final = "The user executing the script can't"
"""So begins an error without a word of its own: a script ran what the user may not."""
_CLASSES: Final = (
    (OutOfMemoryError, "full"),
    (ReadOnlyError, "readonly"),
    (NoPermissionError, "auth"),
    (AuthenticationError, "auth"),
    (BusyLoadingError, "unavailable"),
    (TimeoutError, "timeout"),
    (RedisTimeout, "timeout"),
    (InvalidResponse, "garbage"),
    (RedisConnectionError, "connection"),
    (OSError, "connection"),
)
"""In this order: some are kinds of others."""


def lost(error: BaseException) -> StoreLost:
    """Return an error of redis-py, or of what lies below it, as one of ours."""
    text = str(error).removeprefix("ERR ")
    reason = next((reason for kind, reason in _CLASSES if isinstance(error, kind)), "")
    if not reason:
        word = text.partition(" ")[0] if not text.startswith(_IN_SCRIPT) else "NOPERM"
        reason = _WORDS.get(word, "other" if isinstance(error, RedisError) else "garbage")
    return StoreLost(reason, text or type(error).__name__)


@define(eq=False)
class StoreLink:
    """One client of the store at `address`. `timeout_s` is for each command."""

    address: StoreAddress
    password: str | None = field(repr=False)
    ca_file: str | None
    timeout_s: float
    keys: StoreKeys
    latency: BucketTable = field(factory=BucketTable)
    _to_sentinels: bool = False
    """Whether Sentinels are given the password, too."""
    _client: Any = None
    _listener: Any = None

    def _options(self, timeout_s: float | None) -> dict[str, Any]:
        options: dict[str, Any] = {
            "username": self.address.user or None,
            "password": self.password,
            "socket_timeout": timeout_s,
            "socket_connect_timeout": self.timeout_s,
            "protocol": 2,
        }
        return options | self._tls

    @property
    def _tls(self) -> dict[str, Any]:
        return {"ssl": True, "ssl_ca_certs": self.ca_file} if self.address.tls else {}

    def _make(self, timeout_s: float | None) -> Any:  # noqa: ANN401 - of two classes without a common one
        address, options = self.address, self._options(timeout_s)
        if address.kind == "cluster":
            nodes = [ClusterNode(host, port) for host, port in address.servers]
            options["socket_timeout"] = self.timeout_s
            return RedisCluster(startup_nodes=nodes, **options)
        options |= {"db": address.database, "retry": Retry(NoBackoff(), 0)}
        if address.kind == "sentinel":
            own = {"socket_timeout": self.timeout_s, "socket_connect_timeout": self.timeout_s, **self._tls}
            own["password"] = self.password if self._to_sentinels else None
            sentinel: Any = Sentinel(list(address.servers), sentinel_kwargs=own)  # type: ignore[no-untyped-call]
            return sentinel.master_for(address.service, **options)
        if address.path:
            options.pop("socket_connect_timeout")
            return redis.asyncio.Redis(unix_socket_path=address.path, **options)
        host, port = address.servers[0]
        return redis.asyncio.Redis(host=host, port=port, **options)

    async def open(self) -> None:
        """Connect; `StoreLost` where that fails. Sentinels get the password where they are asked in vain without it."""
        try:
            async with asyncio.timeout(self.timeout_s * OPEN_TIMES):
                self._client = self._make(self.timeout_s)
                try:
                    await self._client.ping()
                except MasterNotFoundError:
                    if self.password is None:
                        raise
                    self._to_sentinels = True
                    self._client = self._make(self.timeout_s)
                    await self._client.ping()
        except Exception as error:
            raise lost(error) from error

    async def run(self, operations: Sequence[Operation]) -> list[Any]:
        """Carry out operations in one pipeline; the results in their order, or `StoreLost`."""
        began = monotonic()
        try:
            async with asyncio.timeout(self.timeout_s):
                results = await self._run(operations, whole=False)
                again = [number for number, result in enumerate(results) if _is_unknown(result)]
                if again:
                    redone = await self._run([operations[number] for number in again], whole=True)
                    for number, result in zip(again, redone, strict=True):
                        results[number] = result
        except Exception as error:
            raise lost(error) from error
        finally:
            self.latency.add(monotonic() - began)
        for result in results:
            if isinstance(result, Exception):
                raise lost(result) from result
        return results

    async def _run(self, operations: Sequence[Operation], *, whole: bool) -> list[Any]:
        """Send all; scripts by their digests, or `whole` where the store does not know them (any more)."""
        pipeline = self._client.pipeline(transaction=False)
        for operation in operations:
            if isinstance(operation, SCRIPTED):
                script, keys, arguments = operation.script(self.keys)
                named = ("EVAL", script) if whole else ("EVALSHA", _digest(script))
                pipeline.execute_command(*named, len(keys), *keys, *arguments)
            else:
                pipeline.execute_command(*operation.command(self.keys))
        results: list[Any] = await pipeline.execute(raise_on_error=False)
        return results

    async def hints(self) -> AsyncIterator[bytes]:
        """Yield what others tell; `StoreLost` when the connection ends."""
        try:
            self._listener = self._to_one() if self.address.kind == "cluster" else self._make(None)
            async with self._listener.pubsub() as subscription:
                await subscription.subscribe(self.keys.channel)
                while True:
                    message = await subscription.get_message(ignore_subscribe_messages=True, timeout=60.0)
                    if message is not None and isinstance(message.get("data"), bytes):
                        yield message["data"]
        except (RedisError, OSError, ValueError, TypeError) as error:
            raise lost(error) from error

    def _to_one(self) -> Any:  # noqa: ANN401 - as above
        """Return a client of one server of the cluster: all of them pass messages on."""
        node = self._client.get_default_node()
        options = self._options(None) | {"retry": Retry(NoBackoff(), 0)}
        return redis.asyncio.Redis(host=node.host, port=node.port, **options)

    async def scan(self, pattern: str) -> list[bytes]:
        """Return all keys of a pattern. It walks over everything that the store holds."""
        try:
            return [key async for key in self._client.scan_iter(match=pattern, count=1_000)]
        except Exception as error:
            raise lost(error) from error

    async def close(self) -> None:
        """Let go of it, whatever state it is in."""
        for client in (self._listener, self._client):
            if client is not None:
                try:
                    async with asyncio.timeout(self.timeout_s):
                        await client.aclose()
                except Exception:  # noqa: BLE001, S110 - it is thrown away
                    pass


_digests: dict[str, str] = {}


def _digest(script: str) -> str:
    if script not in _digests:
        _digests[script] = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
    return _digests[script]


def _is_unknown(result: object) -> bool:
    return isinstance(result, NoScriptError)
