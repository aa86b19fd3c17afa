"""What this worker has open in the store: leases to renew while requests run, settlements to make when they end.

A settlement never delays its client: it leaves with the next flush of the connection, and what cannot be delivered (the
store is away, the answer never came) is kept and repeated. Both run beside the requests, so a request that was
cancelled still settles. Kept settlements are bounded: those of requests that the store never heard of are added up by
account and model. Contract: DESIGN.md sections 3 and 4.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from app.domain.limits import Hold, Use
from app.domain.local_limits import Held, LocalBook
from app.errors import StateError, StateUnavailable
from app.observability.trace_context import TraceContext
from app.state import limits
from app.state.connection import Reply, StateConnection
from app.state.error_replies import ran_nothing
from app.state.limits import Account

log = logging.getLogger(__name__)

#: Leases are looked through, and kept settlements tried again, this often.
TURN_S: Final = 0.5
#: Settlements that are kept; beyond it the oldest is lost, which the log tells.
MOST_KEPT: Final = 100_000
#: Kept settlements that are sent at once.
_BATCH: Final = 500
#: A settlement that the store refuses, instead of not answering, is tried so often.
_MOST_REFUSALS: Final = 3
#: At the end of the worker, settlements have this many turns to be made.
_LAST_TURNS: Final = 2
#: Lost settlements are told at most this often.
_TOLD_EVERY_S: Final = 60.0

NOTHING_USED: Final = Use(requests=0)


class Permit:
    """A request that may go on, until it is settled.

    Args:
        id: of its lease; never the client's own id, which may come twice.
        account: whose limits and spend it is.
        tenant: name of the tenant.
        model: that is called.
        max_tokens: the bound of its output that was granted.
        hold: what it has reserved.
        admitted: the store has said so; ``False`` while the store is away.
        asked: the store may have its lease although it did not say so: no answer came, or a renewal has put it there.
        held: what it holds of this worker's own limits, while the store is away.
        headers: how its rates stand, as ``x-ratelimit-*``.
        replies: of the store to what was asked together with the admission; none when it was decided without it.

    Attributes:
        progress: tells what the request has used so far.
        renewals: what is renewed together with its lease: a held session, a flight. They raise only ``StateError``.
    """

    __slots__ = (
        "account",
        "admitted",
        "asked",
        "headers",
        "held",
        "hold",
        "id",
        "max_tokens",
        "model",
        "progress",
        "renewals",
        "renewed_at",
        "replies",
        "tenant",
    )

    def __init__(
        self,
        *,
        id: str,  # noqa: A002 - what it is
        account: Account,
        tenant: str,
        model: str,
        max_tokens: int,
        hold: Hold,
        admitted: bool,
        asked: bool = True,
        held: Held | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        replies: Sequence[Reply | StateError] = (),
    ) -> None:
        self.id = id
        self.account = account
        self.tenant = tenant
        self.model = model
        self.max_tokens = max_tokens
        self.hold = hold
        self.admitted = admitted
        self.asked = asked
        self.held = held
        self.headers = headers
        self.replies = replies
        self.renewals: list[Callable[[], Awaitable[object]]] = []
        self.renewed_at = 0.0
        self.progress: Callable[[], Use] = _nothing_yet

    @property
    def degraded(self) -> bool:
        """Whether it goes by this worker's own count, because the store was away."""
        return not self.admitted


def _nothing_yet() -> Use:
    return NOTHING_USED


class _Settlement(Struct):
    """A settlement on its way.

    Args:
        id: of its lease.
        account: whose it is.
        model: that was called.
        use: what was used.
        admitted: the store has said that it admitted the request.
        again: it was sent before, and nobody knows whether it was made.
        late: it was kept, or is a sum over requests.
        refusals: how often the store has refused it.
        trace: is told when it leaves and when it is made; ``None``: nobody asks.
    """

    id: str
    account: Account
    model: str
    use: Use
    admitted: bool
    again: bool = False
    late: bool = False
    refusals: int = 0
    trace: TraceContext | None = None


class Ledger:
    """The open leases and the unmade settlements of one worker.

    Args:
        state: the store.
        local: this worker's own limits.
        new_id: makes ids that no other worker makes.
        monotonic: seconds.

    Attributes:
        lost: settlements that were given up, since the start.
    """

    def __init__(
        self,
        state: StateConnection,
        local: LocalBook,
        *,
        new_id: Callable[[], str],
        monotonic: Callable[[], float],
    ) -> None:
        self._state = state
        self._local = local
        self._monotonic = monotonic
        self._open: dict[str, Permit] = {}
        self._kept: deque[_Settlement] = deque()
        self._sums: dict[tuple[Account, str], Use] = {}
        self._on_the_way: set[asyncio.Future[object]] = set()
        self._late_on_the_way = 0
        self._failures = 0
        self._told_at = float("-inf")
        self.new_id = new_id
        self.lost = 0

    @property
    def open_permits(self) -> int:
        """Requests that hold a lease."""
        return len(self._open)

    @property
    def unsettled(self) -> int:
        """Settlements that are not made yet."""
        return len(self._kept) + len(self._sums) + len(self._on_the_way)

    @property
    def behind(self) -> bool:
        """Whether the store still has to be told of requests that went by without it."""
        return bool(self._kept or self._sums or self._late_on_the_way)

    def opened(self, permit: Permit) -> None:
        """A request was admitted: its lease is renewed until it is settled."""
        permit.renewed_at = self._monotonic()
        self._open[permit.id] = permit

    def settle(self, permit: Permit, use: Use, *, trace: TraceContext | None = None) -> None:
        """A request is over. May be called more than once; the first counts.

        Args:
            permit: of the request.
            use: what it has used.
            trace: of the request; is told when the settlement leaves and when it is made.
        """
        if self._open.pop(permit.id, None) is None:
            return
        if permit.held is not None and not use.requests:
            self._local.release(permit.held)
        elif permit.held is not None:
            self._local.settle(
                permit.held,
                actual_input=use.input_tokens + use.cache_write_tokens,
                actual_output=use.output_tokens,
                cost_nano=use.nano,
            )
        settlement = _Settlement(permit.id, permit.account, permit.model, use, permit.admitted, trace=trace)
        if permit.admitted or permit.asked:
            self._send(settlement)
        elif use.requests or use.cache_hits:
            self._add_up(settlement)

    def give_back(self, permit_id: str, account: Account, model: str) -> None:
        """Nobody waits any more for the admission of a request, which the store may have made."""
        self._send(_Settlement(permit_id, account, model, NOTHING_USED, admitted=False))

    async def keep_leases(self) -> None:
        """Renews leases, as long as the worker lives."""
        while True:
            await asyncio.sleep(TURN_S)
            if self._state.available:
                await self._renew()

    async def repeat_settlements(self) -> None:
        """Makes the settlements that were kept, as long as the worker lives."""
        while True:
            await asyncio.sleep(TURN_S)
            if self._state.available:
                await self._repeat()

    async def close(self) -> None:
        """Waits for the settlements that are on their way, and tries once more those that were kept."""
        for _ in range(_LAST_TURNS):
            if self._on_the_way:
                await asyncio.wait(self._on_the_way)
            await self._repeat()
        if self.unsettled:
            log.error("%d settlements could not be made before the end of this worker.", self.unsettled)

    # Leases

    async def _renew(self) -> None:
        due_before = self._monotonic() - limits.RENEW_EVERY_S + TURN_S / 2
        due = [permit for permit in self._open.values() if permit.renewed_at <= due_before]
        if due:
            await asyncio.gather(*map(self._renew_one, due))

    async def _renew_one(self, permit: Permit) -> None:
        permit.renewed_at = self._monotonic()
        permit.asked = True
        renewing = limits.renew(
            self._state,
            permit.id,
            permit.account,
            permit.model,
            hold=permit.hold,
            use=permit.progress(),
            max_tokens=permit.max_tokens,
        )
        try:
            await asyncio.gather(renewing, *(renewal() for renewal in permit.renewals))
        except StateError:
            permit.renewed_at = 0.0  # at the next turn

    # Settlements

    def _send(self, settlement: _Settlement) -> None:
        one = settlement
        if one.trace is not None:
            one.trace.settling(self._monotonic())
        try:
            making = limits.settle(
                self._state, one.id, one.account, one.model, one.use, admitted=one.admitted, again=one.again
            )
        except StateUnavailable:
            self._keep(settlement)
            return
        future = asyncio.ensure_future(making)
        self._on_the_way.add(future)
        self._late_on_the_way += settlement.late
        future.add_done_callback(partial(self._sent, settlement))

    def _sent(self, settlement: _Settlement, future: asyncio.Future[object]) -> None:
        self._on_the_way.discard(future)
        self._late_on_the_way -= settlement.late
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if settlement.trace is not None:
            settlement.trace.settled(self._monotonic(), made=error is None)
        if error is None:
            return
        if not (isinstance(error, StateError) and ran_nothing(error)):
            settlement.again = True
        if not isinstance(error, StateUnavailable | asyncio.CancelledError):
            settlement.refusals += 1
            if settlement.refusals >= _MOST_REFUSALS:
                self._give_up(settlement, error)
                return
        self._keep(settlement)

    def _keep(self, settlement: _Settlement) -> None:
        self._failures += 1
        settlement.late = True
        self._kept.append(settlement)
        if len(self._kept) > MOST_KEPT:
            self._give_up(self._kept.popleft(), None)

    def _add_up(self, settlement: _Settlement) -> None:
        name = (settlement.account, settlement.model)
        before = self._sums.get(name)
        use = replace(settlement.use, complete=False)  # a sum says nothing about the length of an answer
        self._sums[name] = use if before is None else before + use
        if len(self._sums) > MOST_KEPT:
            del self._sums[next(iter(self._sums))]
            self._give_up(settlement, None)

    async def _repeat(self) -> None:
        """Makes what was kept, and then the sums, which grow no larger by waiting; a failure ends the turn."""
        while self._state.available:
            if not self._kept:
                self._keep_sums()
            failures = self._failures
            for _ in range(min(_BATCH, len(self._kept))):
                self._send(self._kept.popleft())
            if not self._late_on_the_way:
                return
            await asyncio.wait(self._on_the_way)
            if self._failures != failures:
                return

    def _keep_sums(self) -> None:
        sums, self._sums = self._sums, {}
        for (account, model), use in sums.items():
            self._kept.append(_Settlement(self.new_id(), account, model, use, admitted=False, late=True))

    def _give_up(self, settlement: _Settlement, error: BaseException | None) -> None:
        self.lost += 1
        now = self._monotonic()
        if now - self._told_at < _TOLD_EVERY_S:
            return
        self._told_at = now
        why = f"the store refuses it: {error.message}" if isinstance(error, StateError) else "too many are kept"
        log.error("A settlement is lost (%s).", why, extra={"lease": settlement.id, "lost": self.lost})
