"""The answer table: for each flagged question an answer, rendered once and handed out until its TTL has moved on.

This is what the two halves share. Looking up and replying happen for every flagged query: no parsing, no resolving.
Names with equal rules share one answer.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field

from flatproxy.config.settings import Rules
from flatproxy.table.ladder import Resolution, Rung, Step, step
from flatproxy.wire import edns, records, reply
from flatproxy.wire.peek import CLASS_IN, HEADER, TYPE_A, TYPE_AAAA, TYPE_ANY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from flatproxy.config.settings import Rule

RDTYPES = {"A": TYPE_A, "AAAA": TYPE_AAAA}
_IN_TABLE = (*RDTYPES.values(), TYPE_ANY)
WAITERS = 1_000
"""Queries that may wait for one cold target; the others go down the ladder at once."""
MADE_FORMS = 16
"""Forms of a query (EDNS or none, flags, letter case) whose replies are kept ready."""
MADE_TURNS = 8
MADE_OCTETS = 160
"""Longer queries, and answers of more addresses, are replied to afresh each time."""

_STALE = edns.error_option(edns.EDE_STALE)


class Zones(Protocol):
    """What is known of the flagged names' zones."""

    def soa(self, name: bytes) -> bytes | None:
        """Return the SOA record for denials below a flagged name's zone, None where it is not known."""


@define(eq=False)
class Target:
    """What one name resolves to for one type, whoever asks for it. Times are monotonic seconds.

    A target is cold until its first resolution ended or took too long (`cold_until`): only then queries wait.
    """

    name: bytes
    rdtype: int
    cold_until: float
    resolution: Resolution | None = None
    failures: int = 0
    changed_at: float | None = None
    outcomes: dict[str, int] = field(factory=dict)
    answers: list[Answer] = field(factory=list)
    waiters: list[Callable[[], None]] = field(factory=list)

    def is_cold(self, now: float) -> bool:
        """Tell whether its first resolution is still worth waiting for."""
        return self.resolution is None and not self.failures and now < self.cold_until

    @property
    def type_text(self) -> str:
        """The type as it is written."""
        return "A" if self.rdtype == TYPE_A else "AAAA"

    def release(self) -> None:
        """Call back whoever waits."""
        waiters, self.waiters = self.waiters, []
        for ready in waiters:
            ready()


@define(eq=False)
class Answer:
    """The answer that one rule gives for one type. `names` counts the flagged names that share it."""

    target: Target
    rule: Rule
    zones: Zones
    first_name: bytes
    names: int = 0
    rung: Rung | None = None
    """The rung at the last look for changes, see the refresher."""
    _turn: int = field(factory=lambda: random.randrange(1 << 16))
    _until: float = float("-inf")
    _source: Resolution | None = None
    _step: Step | None = None
    _records: records.AddressRecords | None = None
    _made: dict[bytes, list[bytes]] = field(factory=dict)
    """Replies but for their ID, one for each rotation, by the query but for its ID; until the TTL moves on."""

    def step(self, now: float) -> Step:
        """Return rung, addresses and TTL at `now`."""
        return step(self.target.resolution, self.rule, self.target.rdtype, now)

    def _render(self, now: float) -> None:
        self._made = {}
        self._source = self.target.resolution
        self._step = current = self.step(now)
        self._until = current.until
        self._records = (
            records.address_records(self.target.rdtype, current.ttl_s, current.rdatas) if current.rdatas else None
        )

    def _says_nothing(self, now: float) -> bool:
        """Tell whether there is no answer to give, having rendered the one there is."""
        if now >= self._until or self._source is not self.target.resolution:
            self._render(now)
        current = self._step
        return (
            current is None
            or current.rung is Rung.UPSTREAM
            or (current.rung is Rung.FALLBACK and self.target.is_cold(now))
        )

    def reply(self, query: bytes, end: int, now: float, *, udp: bool) -> bytes | None:
        """Return the reply to a well-formed query, None where the nameserver is to answer (or the target is cold).

        May cost one look-up and one concatenation, or, once for each form and rotation of a query until the TTL moves
        on, the making of the reply.
        """
        made = None
        if udp and now < self._until and self._source is self.target.resolution:
            made = self._made.get(query[2:])
            if made is not None:
                self._turn += 1
                tail = made[self._turn % len(made)]
                if tail:
                    return query[:2] + tail
        if self._says_nothing(now) or self._step is None:
            return None
        limit = edns.udp_limit(query, end) if udp else edns.MAX_TCP_SIZE
        options = _STALE if self._step.rung is Rung.STALE else b""
        if self._records is None:
            soa = self.soa(query[HEADER : end - 4].lower())
            counts = b"\0\0\0\0" if soa is None else b"\0\0\0\1"
            return reply.answer(query, end, counts, soa or b"", limit=limit, options=options)
        if made is None:
            self._turn += 1
        turn = self._turn % len(self._step.rdatas)
        whole = reply.answer(
            query, end, self._records.counts, self._records.rotated(turn), limit=limit, options=options
        )
        if udp and self._step.rung is not Rung.FALLBACK and len(query) <= MADE_OCTETS:
            if made is None and len(self._made) < MADE_FORMS and len(self._step.rdatas) <= MADE_TURNS:
                made = self._made[query[2:]] = [b""] * len(self._step.rdatas)
            if made is not None:
                made[turn] = whole[2:]
        return whole

    def rrset(self, now: float) -> tuple[int, Sequence[bytes]] | None:
        """Return TTL and rdatas, None where the nameserver is to answer (or the target is cold)."""
        if self._says_nothing(now) or self._step is None:
            return None
        self._turn += 1
        rdatas = self._step.rdatas
        first = self._turn % len(rdatas) if rdatas else 0
        return self._step.ttl_s, rdatas[first:] + rdatas[:first]

    def soa(self, name: bytes) -> bytes | None:
        """Return the SOA record of the zone of this flagged name, None where it is not known."""
        return self.zones.soa(name)

    def wait(self, now: float, ready: Callable[[], None]) -> bool:
        """Have `ready` called when the cold target is resolved, has failed or took too long."""
        if not self.target.is_cold(now) or len(self.target.waiters) >= WAITERS:
            return False
        self.target.waiters.append(ready)
        return True


@define(eq=False)
class AnyAnswer:
    """The answer to ANY at a flagged name: HINFO (RFC 8482 section 4.2)."""

    ttl_s: int

    def reply(self, query: bytes, end: int, now: float, *, udp: bool) -> bytes | None:  # noqa: ARG002 - as Answer's
        """Return the reply to a well-formed query."""
        limit = edns.udp_limit(query, end) if udp else edns.MAX_TCP_SIZE
        return reply.answer(query, end, b"\0\1\0\0", records.hinfo(self.ttl_s), limit=limit)

    def rrset(self, now: float) -> tuple[int, Sequence[bytes]] | None:  # noqa: ARG002 - as Answer's
        """Nothing: it stands for no addresses."""
        return None

    def soa(self, name: bytes) -> bytes | None:  # noqa: ARG002 - as Answer's
        """Nothing: it never denies."""
        return None

    def wait(self, now: float, ready: Callable[[], None]) -> bool:  # noqa: ARG002 - as Answer's
        """Nothing to wait for."""
        return False


Table = Mapping[bytes, Answer | AnyAnswer]
"""The answer of each flagged question, see `question`."""


def question(name: bytes, rdtype: int) -> bytes:
    """Return a table key: the question in wire form, lower case."""
    return name + rdtype.to_bytes(2, "big") + CLASS_IN


class RuleTable(Table):
    """The table of a configuration: it keeps nothing for each name but looks at the rules, which must not change.

    `by_rule` has, for type and class of a question, the answer of each rule by the rule's `id`; most names share few.
    """

    def __init__(self, rules: Mapping[bytes, Rule], by_rule: Mapping[bytes, Mapping[int, Answer | AnyAnswer]]) -> None:
        self._rules = rules
        self._by_rule = by_rule

    def get(self, key: bytes, default: Any = None) -> Any:  # noqa: ANN401 - as Mapping has it
        """Return the answer to a question, `default` where there is none. Called for packets: three look-ups."""
        rule = self._rules.get(key[:-4])
        if rule is None:
            return default
        by_rule = self._by_rule.get(key[-4:])
        return default if by_rule is None else by_rule.get(id(rule), default)

    def __getitem__(self, key: bytes) -> Answer | AnyAnswer:
        answer: Answer | AnyAnswer | None = self.get(key)
        if answer is None:
            raise KeyError(key)
        return answer

    def __contains__(self, key: object) -> bool:
        return isinstance(key, bytes) and self.get(key) is not None

    def __iter__(self) -> Iterator[bytes]:
        for name, rule in self._rules.items():
            for type_and_class, by_rule in self._by_rule.items():
                if id(rule) in by_rule:
                    yield name + type_and_class

    def __len__(self) -> int:
        return sum(1 for _key in self)

    def carry(self, before: Table) -> None:
        """Take the rungs from the table before, so that a reload is no change of rung."""
        for answer in self.answers:
            known = before.get(question(answer.first_name, answer.target.rdtype))
            if isinstance(known, Answer):
                answer.rung = known.rung

    @property
    def answers(self) -> Iterator[Answer]:
        """Every answer with addresses, once."""
        for by_rule in self._by_rule.values():
            shared = set(by_rule.values())
            yield from (answer for answer in shared if isinstance(answer, Answer))


def build(rules: Mapping[bytes, Rule], target_for: Callable[[bytes, int], Target], zones: Zones) -> RuleTable:
    """Return the table for these rules; `target_for` returns the target of a name and type, one for all.

    Its cost is that of the distinct rules where `rules` are those of settings, which have them by groups.
    """
    groups = (rules if isinstance(rules, Rules) else Rules(rules)).groups
    by_rule: dict[bytes, dict[int, Answer | AnyAnswer]] = {question(b"", number): {} for number in _IN_TABLE}
    shared: dict[tuple[Rule, int], Answer] = {}
    hinfos: dict[int, AnyAnswer] = {}
    for rule, name, count in groups:
        for rdtype in sorted(RDTYPES[text] for text in rule.types):
            answer = shared.get((rule, rdtype))
            if answer is None:
                target = target_for(rule.target, rdtype)
                answer = shared[rule, rdtype] = Answer(target, rule, zones, name)
                target.answers.append(answer)
            answer.names += count
            by_rule[question(b"", rdtype)][id(rule)] = answer
        if rule.any == "hinfo":
            ttl_s = rule.max_ttl_s
            by_rule[question(b"", TYPE_ANY)][id(rule)] = hinfos.setdefault(ttl_s, AnyAnswer(ttl_s))
    return RuleTable(rules, by_rule)
