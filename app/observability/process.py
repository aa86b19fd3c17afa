"""Figures of this process: requests, errors, times, memory, CPU, and whether the event loop keeps up.

Counting is plain integer arithmetic on the request path; what costs more (memory, CPU) is read when somebody asks or by
a timer twice a second. ``app.state.figures`` shares a snapshot with the other workers.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

import psutil
from msgspec import Struct

#: Length of the sliding window of rate and mean times, in whole seconds.
WINDOW_S = 60

#: The probe's timer; also the resolution of CPU figures.
PROBE_INTERVAL_S = 0.5

#: CPU is averaged, and the worst lag of the loop remembered, over this many ticks of the probe: ten seconds.
PROBE_TICKS = 20


class ProcessSnapshot(Struct, frozen=True, kw_only=True):
    """The figures at one moment.

    Args:
        pid: process id.
        started_at: Unix seconds.
        uptime_s: since ``started_at``.
        requests: requests answered since the start; health checks are not counted.
        errors: of these, the ones that failed on our side or Anthropic's (5xx, or broken off).
        client_errors: of these, the ones answered with 4xx.
        in_flight: requests being answered now.
        streams: of these, the open streams.
        window_s: length of the window of the following figures, shorter in a young process.
        window_requests: requests answered in the window.
        window_errors: failed ones in the window.
        window_response_ms: sum over the window of the times until the reply began.
        window_duration_ms: sum over the window of the times until the reply was complete.
        rss_bytes: resident memory.
        cpu_percent: user and system time of the last ten seconds, 100 for one whole core.
        loop_lag_ms: the worst delay of the event loop in the last ten seconds.
        draining: the process finishes what it has and takes no more soon.
    """

    pid: int
    started_at: float
    uptime_s: float
    requests: int
    errors: int
    client_errors: int
    in_flight: int
    streams: int
    window_s: float
    window_requests: int
    window_errors: int
    window_response_ms: float
    window_duration_ms: float
    rss_bytes: int
    cpu_percent: float
    loop_lag_ms: float
    draining: bool

    @property
    def mean_response_ms(self) -> float:
        """Mean time until a reply began, over the window; 0 without requests."""
        return self.window_response_ms / self.window_requests if self.window_requests else 0.0

    @property
    def requests_per_s(self) -> float:
        """Rate over the window."""
        return self.window_requests / self.window_s if self.window_s else 0.0


class _Second:
    """What was answered within one second of the monotonic clock."""

    __slots__ = ("duration_s", "errors", "requests", "response_s", "second")

    def __init__(self) -> None:
        self.restart(-1)

    def restart(self, second: int) -> None:
        self.second = second
        self.requests = 0
        self.errors = 0
        self.response_s = 0.0
        self.duration_s = 0.0


class ProcessFigures:
    """Counters of one process; belongs to its event loop, so no locks.

    Args:
        monotonic: clock of durations, in seconds.
        now: wall clock, in Unix seconds.
        cpu_time: user and system time of this process, in seconds.

    Attributes:
        in_flight: requests being answered now.
        streams: of these, the open streams.
        started: the process is wired and serving.
        draining: it will stop; set by ``GatewayApp.begin_drain``.
    """

    def __init__(
        self,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        cpu_time: Callable[[], float] = time.process_time,
    ) -> None:
        self._monotonic = monotonic
        self._now = now
        self._cpu_time = cpu_time
        self._born = monotonic()
        self._ring = [_Second() for _ in range(WINDOW_S)]
        self._probe: asyncio.TimerHandle | None = None
        self._lags_s = [0.0] * PROBE_TICKS
        self._cpu_samples: list[tuple[float, float]] = [(self._born, cpu_time())]
        self._ticks = 0
        self.started_at = now()
        self.requests = 0
        self.errors = 0
        self.client_errors = 0
        self.in_flight = 0
        self.streams = 0
        self.started = False
        self.draining = False

    def begin(self) -> None:
        """A request has come in."""
        self.in_flight += 1

    def end(self, status: int, *, failed: bool, response_s: float, duration_s: float) -> None:
        """A request is over.

        Args:
            status: status of the reply.
            failed: it failed on our side or Anthropic's.
            response_s: time until the reply began.
            duration_s: time until the reply was complete.
        """
        self.in_flight -= 1
        self.requests += 1
        second = int(self._monotonic())
        slot = self._ring[second % WINDOW_S]
        if slot.second != second:
            slot.restart(second)
        slot.requests += 1
        slot.response_s += response_s
        slot.duration_s += duration_s
        if failed:
            self.errors += 1
            slot.errors += 1
        elif status >= 400:
            self.client_errors += 1

    def start(self) -> None:
        """Marks the process as serving and starts the probe of its event loop; call it on the running loop."""
        self.started = True
        if self._probe is None:
            self._schedule(asyncio.get_running_loop())

    def stop(self) -> None:
        """Stops the probe."""
        self.started = False
        if self._probe is not None:
            self._probe.cancel()
            self._probe = None

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + PROBE_INTERVAL_S
        self._probe = loop.call_at(due, self._tick, loop, due)

    def _tick(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self.note_lag(loop.time() - due)
        self._schedule(loop)

    def note_lag(self, lag_s: float) -> None:
        """One tick of the probe: the timer came this much late."""
        self._lags_s[self._ticks % PROBE_TICKS] = lag_s
        self._ticks += 1
        self._cpu_samples.append((self._monotonic(), self._cpu_time()))
        del self._cpu_samples[: -PROBE_TICKS - 1]

    @property
    def loop_lag_s(self) -> float:
        """The worst delay of the event loop in the last ten seconds."""
        return max(self._lags_s)

    @property
    def cpu_percent(self) -> float:
        """User and system time of the last ten seconds, 100 for one whole core."""
        then, used_then = self._cpu_samples[0]
        elapsed_s = self._monotonic() - then
        return 100.0 * (self._cpu_time() - used_then) / elapsed_s if elapsed_s > 0 else 0.0

    def snapshot(self) -> ProcessSnapshot:
        """The figures now. Reads the memory of the process: some 30 us."""
        now_s = self._monotonic()
        uptime_s = now_s - self._born
        oldest = int(now_s) - WINDOW_S
        recent = [slot for slot in self._ring if slot.second > oldest]
        return ProcessSnapshot(
            pid=os.getpid(),
            started_at=self.started_at,
            uptime_s=uptime_s,
            requests=self.requests,
            errors=self.errors,
            client_errors=self.client_errors,
            in_flight=self.in_flight,
            streams=self.streams,
            window_s=min(uptime_s, float(WINDOW_S)),
            window_requests=sum(slot.requests for slot in recent),
            window_errors=sum(slot.errors for slot in recent),
            window_response_ms=1000 * sum(slot.response_s for slot in recent),
            window_duration_ms=1000 * sum(slot.duration_s for slot in recent),
            rss_bytes=psutil.Process().memory_info().rss,
            cpu_percent=self.cpu_percent,
            loop_lag_ms=1000 * self.loop_lag_s,
            draining=self.draining,
        )
