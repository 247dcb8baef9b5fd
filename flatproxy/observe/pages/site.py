"""Which page is at which path, and how it is made: in pieces, with a turn of the reactor between them.

`reports.py` says what is on it, `html.py` how it looks. A page that nobody waits for any more is given up.
"""

# mypy: allow-untyped-calls
# (twisted.web has hardly any annotations)
from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from flatproxy.config.names import flagged_name
from flatproxy.config.problems import Refusal
from flatproxy.observe.pages import reports
from flatproxy.observe.pages.html import Look
from flatproxy.observe.replies import HTML, TEXT, send, send_json
from flatproxy.table.listing import Page, matching, worst_first

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from twisted.internet.task import Cooperator
    from twisted.python.failure import Failure
    from twisted.web.server import Request

    from flatproxy.observe.pages.reports import Said
    from flatproxy.observe.running import Explanation
    from flatproxy.observe.watch import Watch

    Steps = Generator[Deferred[Any] | None, None, None]
    Made = Generator[Deferred[Any] | None, None, Said]

NAMES_A_PAGE: Final = 50
SLICE_OF_NAMES_S: Final = 0.002
"""For so long names are gone through without a rest."""
EXPLAIN_S: Final = 5.0
"""For how long a page waits for an explanation."""
EXPLAINING: Final = 4
"""Explanations under way at once: each asks the resolvers."""
_NAMES, _API_NAMES = b"/names/", b"/api/names/"
_MOST_DIGITS = 9

log = Logger()


class Unfit(Exception):
    """A request that cannot be answered, with an HTTP status code and a reason for people."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class StatusPages:
    """The pages about one service."""

    def __init__(self, watch: Watch, turns: Cooperator) -> None:
        self._watch = watch
        self._turns = turns
        self._look = Look()
        self._explaining = 0
        self._pages: dict[bytes, Callable[[Request], Steps]] = {
            b"/": self._overview,
            b"/api/status": self._api_status,
            b"/api/names": self._api_names,
        }

    def find(self, path: bytes) -> Callable[[Request], None] | None:
        """Return who sees to requests for a path, None where there is no such page."""
        if path in self._look.files:
            return self._file
        page = self._pages.get(path)
        if page is None and path.startswith(_API_NAMES):
            page = self._api_name
        elif page is None and path.startswith(_NAMES):
            page = self._name
        return None if page is None else lambda request: self._begin(request, page)

    def _file(self, request: Request) -> None:
        kind, octets = self._look.files[request.path]
        send(request, 200, kind, octets)

    def _begin(self, request: Request, page: Callable[[Request], Steps]) -> None:
        """Make a page from the next turn on."""
        self._turns.cooperate(self._steps(request, page))

    def _steps(self, request: Request, page: Callable[[Request], Steps]) -> Steps:
        """Make a page for as long as its client is there, or say why there is none."""
        gone: list[Failure] = []
        request.notifyFinish().addErrback(gone.append)
        code, reason = 500, "the page could not be made; the log says why"
        try:
            for step in page(request):
                if gone:
                    return
                yield step
        except Unfit as unfit:
            code, reason = unfit.code, str(unfit)
        except Exception:  # noqa: BLE001 - no page may stop the others
            log.failure("A page could not be made", event="page_failed")
        else:
            return
        if gone:
            return
        if request.path.startswith(b"/api/"):
            send_json(request, code, {"error": reason})
        else:
            send(request, code, TEXT, f"{reason}\n".encode())

    def _overview(self, request: Request) -> Steps:
        found = yield from self._listed(request)
        yield from self._show(request, "overview.html", {"status": self._status(), "listed": found})

    def _api_status(self, request: Request) -> Steps:
        send_json(request, 200, self._status())
        yield None

    def _api_names(self, request: Request) -> Steps:
        send_json(request, 200, (yield from self._listed(request)))

    def _name(self, request: Request) -> Steps:
        found, explanation = yield from self._named(request, _NAMES)
        lines = list(explanation.lines()) if explanation is not None else []
        yield from self._show(request, "name.html", {"status": self._status(), "name": found, "explanation": lines})

    def _api_name(self, request: Request) -> Steps:
        found, explanation = yield from self._named(request, _API_NAMES)
        send_json(request, 200, {**found, "explain": explanation.as_json() if explanation is not None else None})

    def _status(self) -> Said:
        watch = self._watch
        return reports.of_service(watch.running, watch.recent, watch.look(), watch.history)

    def _listed(self, request: Request) -> Made:
        """Go through the names until the page is full; to the end where it must be known how many match."""
        query, number = _argument(request, b"query").strip(), _page(_argument(request, b"page") or "1")
        page = Page((number - 1) * NAMES_A_PAGE, NAMES_A_PAGE)
        table = self._watch.running.table
        began = perf_counter()
        for piece in worst_first(table, matching(query)) if query else worst_first(table):
            if page.take(piece) and not query:
                break
            if perf_counter() - began > SLICE_OF_NAMES_S:
                yield None
                began = perf_counter()
        total = page.passed if query else len(table.rules)
        return reports.of_names(self._watch.running, query, number, page, total)

    def _named(
        self, request: Request, prefix: bytes
    ) -> Generator[Deferred[Any] | None, None, tuple[Said, Explanation | None]]:
        """Tell of the name in the path; with its explanation, unless that takes too long or too many are asked for."""
        written = unquote(request.path.removeprefix(prefix).decode("ascii", "replace"))
        running = self._watch.running
        try:
            name = flagged_name(written)
        except Refusal as refusal:
            raise Unfit(404, f"{written!r}: {refusal.reason}") from None
        explained: list[Explanation] = []
        if name in running.table.rules:
            yield self._explained(name, explained)
        found = reports.of_flagged(running, name)
        if found is None:
            raise Unfit(404, f"{written!r} is not flagged")
        found["changes"] = reports.of_changes(self._watch.history, running, name)
        return found, explained[0] if explained else None

    def _explained(self, name: bytes, explained: list[Explanation]) -> Deferred[Any] | None:
        """Have the explanation of a name put into the list in time."""
        if self._explaining >= EXPLAINING:
            return None

        async def ask() -> None:
            self._explaining += 1
            try:
                async with asyncio.timeout(EXPLAIN_S):
                    explained.append(await self._watch.running.explain(name))
            except TimeoutError:
                pass
            finally:
                self._explaining -= 1

        return Deferred.fromFuture(asyncio.ensure_future(ask()))

    def _show(self, request: Request, template: str, values: Said) -> Steps:
        parts = []
        for part in self._look.rendered(template, values):
            parts.append(part)
            yield None
        send(request, 200, HTML, "".join(parts).encode())


def _argument(request: Request, name: bytes) -> str:
    """Return the first value of an argument in the address, empty where there is none; what is no text is no value."""
    values = request.args.get(name) if request.args else None
    try:
        return values[0].decode() if values else ""
    except UnicodeDecodeError:
        raise Unfit(400, f"{name.decode()} is not UTF-8") from None


def _page(written: str) -> int:
    if not (written.isascii() and written.isdigit() and len(written) <= _MOST_DIGITS and int(written)):
        raise Unfit(400, "page is to be a number from 1 on")
    return int(written)
