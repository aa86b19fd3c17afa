"""A connection that is made again whenever it is lost, with a deadline on every call.

Rules kept here (DESIGN.md sections 3 and 4):

- **Deadline.** Every call has the same one, so calls are judged oldest first by one lazy timer; ``asyncio.timeout``
  per call would cost 5 us. When the timer finds a call overdue it lets the loop read the socket once more before it
  judges: after a stall of the loop the reply may long have arrived. An overdue call fails; its reply, should it come,
  is dropped.
- **Waiting.** While there is no connection, calls wait within their deadline; while the breaker is open they fail at
  once.
- **Keeping.** A background task connects, pauses (jittered, bounded backoff) and, while the breaker is open, probes the
  store once a second, with traffic or without. A probe is a write, so that a read-only or full store is no recovery.
- **Silence.** A connection that owes a reply and says nothing for ``PATIENCE_S`` is dead (a cut cable sends no
  goodbye) and is made anew.
- **No repetition.** A command that may have run is never sent again. ``NOSCRIPT`` means it did not run: the
  script is sent whole (``EVAL``), once, within the deadline of its call.

MOVED and ASK (Redis Cluster) would be handled where ``NOSCRIPT`` is, in ``refused``.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import Any

from app.domain.histograms import Histogram
from app.errors import StateError, StateUnavailable
from app.state import keys
from app.state.breaker import Breaker
from app.state.dialing import dial, failure_reason, handshake
from app.state.error_replies import NotPrimary, StoreUnfit, UnknownScript, unavailable
from app.state.scripts import ScriptWords
from app.state.urls import Address
from app.state.wire import Batch, Pending, Wire, pack, pack_script_text

#: How long a connection may take to be made (TCP, TLS, log-in: some four round trips), and how long it may owe a reply
#: in silence before it counts as dead. At least this, and at least ``PATIENCE_DEADLINES`` deadlines, as the operator
#: sets those by the distance of the server.
PATIENCE_S = 1.0
PATIENCE_DEADLINES = 4
#: First pause between two attempts to connect; it doubles up to the second that the breaker sets.
BACKOFF_S = 0.05
BACKOFF_LIMIT_S = 1.0
#: A connection that lasted this long was a good one: the next attempt is made at once.
GOOD_CONNECTION_S = 1.0

#: Between finding a call overdue and judging it the loop has to poll its sockets once; timers apart do that.
_LOOK_AGAIN_S = 0.003
#: While replies keep coming in, look again at most this often (30 ms together) before judging.
_MAX_LOOKS = 10

_PROBE = pack(("SET", keys.PROBE, "1", "EX", keys.PROBE_TTL_S))


class Lane:
    """One connection of the pair that ``MultiplexedConnection`` holds.

    Args:
        address: the server.
        breaker: shared by the lanes of one store.
        timeout_s: deadline of a call.
        queue_limit: commands waiting or in flight before new ones fail at once.
        client_name: shown by ``CLIENT LIST`` on the server.
        keeps: reconnects and probes by itself; otherwise it connects when a call needs it.
        times: gets the time of every call that is answered.
    """

    def __init__(
        self,
        address: Address,
        breaker: Breaker,
        *,
        timeout_s: float,
        queue_limit: int,
        client_name: str,
        keeps: bool,
        times: Histogram,
    ) -> None:
        self._address = address
        self._breaker = breaker
        self._timeout_s = timeout_s
        self._queue_limit = queue_limit
        self._client_name = client_name
        self._keeps = keeps
        self._times = times
        self._patience_s = max(PATIENCE_S, PATIENCE_DEADLINES * timeout_s)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wire: Wire | None = None
        self._wire_since = 0.0
        self._waiting: deque[tuple[bytes, tuple[Pending, ...]]] = deque()
        self._keeper: asyncio.Task[None] | None = None
        self._attempts = 0
        self._tried_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._looks = 0
        self._judged_until = 0.0
        self._heard_at_look = 0.0
        self._closed = False
        #: Calls that failed at once.
        self.turned_away = 0

    @property
    def connected(self) -> bool:
        """Whether a connection is established."""
        return self._wire is not None

    @property
    def in_flight(self) -> int:
        """Commands sent and not yet answered."""
        return len(self._wire.pending) if self._wire is not None else 0

    # Calls

    def send(self, packed: bytes, script: ScriptWords | None = None) -> asyncio.Future[Any]:
        """Sends one command.

        Args:
            packed: the command.
            script: the script it calls, if it does.

        Raises:
            StateUnavailable: at once, when the store is known to be away or the queue is full.
        """
        if self._breaker.is_open or self._closed:
            raise self._turn_away(self._reason_away())
        return self._submit_one(packed, script)

    def send_all(self, packed: Sequence[bytes], scripts: Sequence[ScriptWords | None]) -> asyncio.Future[list[Any]]:
        """Sends several commands in one write; the future gets their replies in order, errors as values."""
        if self._breaker.is_open or self._closed:
            raise self._turn_away(self._reason_away())
        loop = self._loop or self._bind()
        future: asyncio.Future[list[Any]] = loop.create_future()
        if not packed:
            future.set_result([])
            return future
        deadline = monotonic() + self._timeout_s
        batch = Batch(future, len(packed))
        calls = tuple((future, deadline, script, batch, index, False) for index, script in enumerate(scripts))
        self._submit(b"".join(packed), calls, deadline)
        return future

    def _submit_one(self, packed: bytes, script: ScriptWords | None) -> asyncio.Future[Any]:
        loop = self._loop or self._bind()
        future: asyncio.Future[Any] = loop.create_future()
        deadline = monotonic() + self._timeout_s
        wire = self._wire
        if wire is not None and len(wire.pending) < self._queue_limit and not wire.congested:
            wire.pending.append((future, deadline, script, None, 0, False))
            wire.write(packed)
            if self._timer is None:
                self._arm(self._timeout_s)
        else:
            self._submit(packed, ((future, deadline, script, None, 0, False),), deadline)
        return future

    def _submit(self, packed: bytes, calls: tuple[Pending, ...], deadline: float) -> None:
        wire = self._wire
        queued = len(wire.pending) if wire is not None else len(self._waiting)
        if queued + len(calls) > self._queue_limit or (wire is not None and wire.congested):
            raise self._turn_away("too many calls are waiting for it")
        if wire is not None:
            wire.pending.extend(calls)
            wire.write(packed)
        else:
            self._waiting.append((packed, calls))
            self.keep()
        if self._timer is None:
            self._arm(self._timeout_s)

    def _turn_away(self, reason: str) -> StateUnavailable:
        self.turned_away += 1
        return unavailable(reason)

    def _reason_away(self) -> str:
        if self._closed:
            return "the connection is closed"
        return self._breaker.last_failure or "it does not answer"

    def fail_waiting(self) -> None:
        """Calls that wait for a connection fail now: the breaker has opened."""
        waiting, self._waiting = self._waiting, deque()
        for _, calls in waiting:
            _fail(calls[0], unavailable(self._reason_away()))

    # What the wire tells

    def answered(self, wire: Wire) -> None:
        """At least one reply came in time; those of a handshake prove nothing before its last one."""
        if self._breaker.failures_in_a_row and wire is self._wire:
            self._breaker.success()

    def refused(self, wire: Wire, call: Pending, error: StateError) -> None:
        """Completes a call that got an error reply, or repeats it when only its script was missing."""
        future, _, script, batch, index, whole = call
        if isinstance(error, UnknownScript) and script is not None and not whole:
            self._send_whole(wire, call, script)
            return
        if batch is not None:
            batch.fill(index, error)
        else:
            future.set_exception(error)
        if wire is not self._wire:  # still at its handshake, which judges by itself
            return
        if isinstance(error, StoreUnfit):
            self._breaker.failure(failure_reason(error))
            if isinstance(error, NotPrimary):
                wire.close("it is a read-only replica")
        else:
            self.answered(wire)

    def _send_whole(self, wire: Wire, call: Pending, script: ScriptWords) -> None:
        future, deadline, _, batch, index, _ = call
        again: Pending = (future, deadline, script, batch, index, True)
        wire.pending.append(again)
        wire.write(pack_script_text(script))
        # It stands behind younger calls now, where the timer for the oldest one would find it late.
        if self._loop is not None:
            left_s = max(0.0, deadline - monotonic()) + _LOOK_AGAIN_S
            self._loop.call_later(left_s, self._expire, again)

    def wire_lost(self, wire: Wire, reason: str) -> None:
        """The connection is gone; a new one is sought at once if it had been a good one."""
        if wire is not self._wire:
            return
        self._wire = None
        if self._closed:
            return
        self._attempts = 0 if monotonic() - self._wire_since >= GOOD_CONNECTION_S else self._attempts + 1
        self._breaker.failure(reason)
        self.keep()

    # Deadlines

    def _arm(self, delay_s: float) -> None:
        """Looks again after ``delay_s``, and in any case before a call made from now on is due."""
        assert self._loop is not None  # noqa: S101 - a call has bound it
        self._timer = self._loop.call_later(max(0.001, min(delay_s, self._timeout_s)), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = monotonic()
        due_at = self._next_due_at()
        if due_at is not None and due_at <= now:
            heard_at = self._wire.heard_at if self._wire is not None else 0.0
            if self._looks == 0:
                self._judged_until = now
            if self._looks == 0 or (self._looks < _MAX_LOOKS and heard_at != self._heard_at_look):
                self._looks += 1
                self._heard_at_look = heard_at
                self._arm(_LOOK_AGAIN_S)
                return
            self._judge(self._judged_until)
            due_at = self._next_due_at()
        self._looks = 0
        if due_at is not None and self._timer is None:
            self._arm(due_at - now)

    def _next_due_at(self) -> float | None:
        """When the next judgement is due; ``None`` while nothing is owed."""
        if self._waiting:
            return self._waiting[0][1][0][1]
        if self._wire is None or not self._wire.pending:
            return None
        silent_at = self._silent_at(self._wire)
        for future, deadline, *_ in self._wire.pending:
            if not future.done():
                return min(deadline, silent_at)
        return silent_at

    def _silent_at(self, wire: Wire) -> float:
        """When a connection that owes a reply counts as dead if it stays silent."""
        sent_at = wire.pending[0][1] - self._timeout_s
        return max(sent_at, wire.heard_at) + self._patience_s

    def _judge(self, until: float) -> None:
        """Fails every call whose deadline is at or before ``until``, and leaves a dead connection."""
        while self._waiting and self._waiting[0][1][0][1] <= until:
            _, calls = self._waiting.popleft()
            self._expire(calls[0])
        wire = self._wire
        if wire is None or not wire.pending:
            return
        for call in wire.pending:
            if call[1] > until:
                break
            self._expire(call)
        if self._silent_at(wire) <= until:
            wire.close("the connection went silent")

    def _expire(self, call: Pending) -> None:
        if _fail(call, unavailable(f"no answer within {self._timeout_s * 1000:.0f} ms")):
            self._breaker.failure(f"no answer within {self._timeout_s * 1000:.0f} ms")

    # Connecting and probing

    def keep(self) -> None:
        """Starts the task that connects and probes, unless it runs or nobody needs it."""
        needed = self._waiting or (self._keeps and (self._wire is None or self._breaker.is_open))
        if needed and not self._closed and (self._keeper is None or self._keeper.done()):
            loop = self._loop or self._bind()
            self._keeper = loop.create_task(self._keep(), name="state-connection")

    async def _keep(self) -> None:
        while self._wire is None or (self._keeps and self._breaker.is_open):
            if not self._keeps and not self._waiting:
                return
            await asyncio.sleep(self._pause_s())
            if self._breaker.is_open:
                self._breaker.probe_started()
            if self._wire is None:
                await self._connect()
            else:
                await self._probe()

    def _pause_s(self) -> float:
        jitter = random.uniform(0.5, 1.0)  # noqa: S311 - spreads replicas in time, guards nothing
        if self._breaker.is_open:
            # A little less than the full second, by chance, so that replicas do not probe in step.
            return self._breaker.seconds_to_probe() * (0.8 + 0.2 * jitter)
        if self._attempts == 0:
            return 0.0
        backoff_s = jitter * min(BACKOFF_LIMIT_S, BACKOFF_S * 2.0 ** min(self._attempts - 1, 10))
        return max(0.0, self._tried_at + backoff_s - monotonic())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        wire = Wire(self, loop, timeout_s=self._timeout_s, times=self._times)
        self._tried_at = monotonic()
        try:
            async with asyncio.timeout(self._patience_s):
                await dial(self._address, wire, loop)
                await handshake(self._address, wire, self._client_name, _PROBE)
            if wire.closed:  # it was lost after its last reply, before we were woken
                raise ConnectionResetError
        except (OSError, StateError, ValueError) as exc:
            wire.close("the attempt to connect failed")
            self._attempts += 1
            self._breaker.failure(failure_reason(exc))
        except BaseException:
            wire.close("the attempt to connect was given up")
            raise
        else:
            self._adopt(wire)

    def _adopt(self, wire: Wire) -> None:
        """The wire is good: calls that waited go out together."""
        self._wire, self._wire_since = wire, monotonic()
        self._breaker.success()
        waiting, self._waiting = self._waiting, deque()
        for packed, calls in waiting:
            future = calls[0][0]
            if not future.done():
                wire.pending.extend(calls)
                wire.write(packed)

    async def _probe(self) -> None:
        """One write over the connection we have; whoever gets the reply tells the breaker."""
        try:
            await self._submit_one(_PROBE, None)
        except StateError:
            return

    def _bind(self) -> asyncio.AbstractEventLoop:
        self._loop = asyncio.get_running_loop()
        return self._loop

    async def close(self) -> None:
        """Calls in flight finish within their deadline, then the connection ends."""
        self._closed = True
        in_flight = self._wire.pending if self._wire is not None else ()
        waiting = {call[0] for call in in_flight if not call[0].done()}
        if waiting:
            await asyncio.wait(waiting, timeout=self._timeout_s + 0.1)
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        if self._timer is not None:
            self._timer.cancel()
        self.fail_waiting()
        if self._wire is not None:
            self._wire.close("the connection is closed")


def _fail(call: Pending, error: StateError) -> bool:
    """Fails a call that is still waited for; tells whether it was."""
    future = call[0]
    if future.done():
        return False
    future.set_exception(error)
    return True
