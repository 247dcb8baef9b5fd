"""Operations that wait to be carried to the store, in batches. It knows no store and keeps no time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from attrs import define, field

from flatproxy.flatten.fleet.operations import Read, bucket_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence

    from flatproxy.flatten.fleet.operations import Operation

Then = Callable[[Any], None]
CANCELLED_S: Final = 0.2
"""What was cancelled and goes on is cancelled again after so long."""


def nothing_depends(_result: object) -> None:
    """Take a result on which nothing depends."""


async def end(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks until they have ended: a client of a store may swallow what cancels it while it connects."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=CANCELLED_S)
    await asyncio.gather(*tasks, return_exceptions=True)


class Way(Protocol):
    """A way to the store."""

    async def open(self) -> None:
        """Connect."""

    async def run(self, operations: Sequence[Operation]) -> list[Any]:
        """Carry out operations."""

    def hints(self) -> AsyncIterator[bytes]:
        """Yield what others tell."""

    async def close(self) -> None:
        """Let go of it."""


OPERATIONS_AT_ONCE: Final = 64
"""Operations sent at once: what comes back is a few milliseconds of work."""


@define(eq=False)
class OperationQueue:
    """The operations, each with who gets its result."""

    _waiting: deque[tuple[Operation, Then]] = field(factory=deque)
    _filled: asyncio.Event = field(factory=asyncio.Event)

    def put(self, operation: Operation, then: Then) -> None:
        """Have an operation carried out."""
        self._waiting.append((operation, then))
        self._filled.set()

    def clear(self) -> None:
        """Drop all that waits."""
        self._waiting.clear()

    async def carry(self, run: Callable[[Sequence[Operation]], Awaitable[list[Any]]], rest: Callable[[], None]) -> None:
        """Have what comes carried out by `run`, for ever; `rest` is called between two results."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), OPERATIONS_AT_ONCE))]
                operations, thens = _merge(batch)
                results = await run(operations)
                for operation, result, each in zip(operations, results, thens, strict=True):
                    for then, part in zip(each, result if isinstance(operation, Read) else [result], strict=True):
                        then(part)
                        rest()


def _merge(batch: Sequence[tuple[Operation, Then]]) -> tuple[list[Operation], list[list[Then]]]:
    """Return the operations with those that read from one bucket as one, and who gets which results."""
    operations: list[Operation] = []
    thens: list[list[Then]] = []
    reads: dict[int, tuple[list[str], list[Then]]] = {}
    for operation, then in batch:
        if isinstance(operation, Read):
            places, waiting = reads.setdefault(bucket_of(operation.places[0]), ([], []))
            places.extend(operation.places)
            waiting.append(then)
        else:
            operations.append(operation)
            thens.append([then])
    for places, waiting in reads.values():
        operations.append(Read(tuple(places)))
        thens.append(waiting)
    return operations, thens
