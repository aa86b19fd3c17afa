"""The request log: one line for each request that is over, and the latest of them for ``GET /logs``.

Failed and slow requests always get a line, refusals and other mistakes of clients as well; successes by a sample. What
comes from outside (ids, paths, names of models) is cut, kept on its line and looked at for secrets; a prompt is in none
of it. Lines leave through ``LineWriter``, together: another line of the log may overtake them by a moment.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Literal

import msgspec
from msgspec import UNSET, Struct

from app.config import Config, SettingError
from app.errors import StateUnavailable
from app.observability.body_excerpts import BodyExcerpts
from app.observability.catalog import SLOW
from app.observability.line_writer import LineWriter
from app.observability.metrics import WorkerMetrics
from app.observability.record import RequestRecord
from app.observability.request_line import Kind, add_steps, as_text, kind_of, line_of
from app.observability.steps import overhead_s, slow_steps

logger = logging.getLogger(__name__)

#: While the state store is away, requests that are refused for it would fill the log: one in so many seconds is told.
REFUSALS_TOLD_EVERY_S: Final = 10.0

#: Requests that are kept for ``GET /logs`` between two hand-overs, and of this worker alone.
MOST_KEPT: Final = 200

#: Longest text from outside.
LONGEST_TEXT: Final = 512

#: Texts that were found harmless and are not looked at again: models, routes.
_MOST_KNOWN: Final = 1024

#: Refusals that come in floods, from clients that try again: the sample decides on them, too.
_FLOODS: Final = frozenset({401, 429})

#: Ids that the gateway makes (``app.api.request_ids``); others are the clients' own.
_OWN_ID: Final = re.compile(r"cw-[0-9a-f]{12}-[0-9a-f]{1,8}-[0-9a-f]{1,16}")

#: The ends of timestamps.
_MILLISECONDS: Final = tuple(f".{number:03d}Z" for number in range(1000))

_encode = msgspec.json.Encoder().encode


class RequestLogSettings(Struct, frozen=True, kw_only=True):
    """What is logged, and how.

    Args:
        format: ``json`` for one object per line, ``text`` for people.
        sample: share of the successes that get a line.
        slow_s: a step of the gateway's own that takes longer is slow.
        tells_all: every request gets a line, whatever the sample.
        tells_steps: lines tell how long each step has taken; those of slow requests always do.
        bodies: how bodies begin is logged, too, at debug level.
        is_coloured: text is for a terminal.
    """

    format: Literal["text", "json"] = "text"
    sample: float = 1.0
    slow_s: float = 1.0
    tells_all: bool = False
    tells_steps: bool = False
    bodies: bool = False
    is_coloured: bool = False

    @classmethod
    def of(cls, config: Config, *, is_coloured: bool = False) -> RequestLogSettings:
        """What the settings say.

        Raises:
            SettingError: bodies may be logged only where everything is debugged.
        """
        if config.log_bodies and not config.debug:
            raise SettingError(
                "CLAUDE_WRAPPER_LOG_BODIES writes prompts into the log, so it works only with --debug "
                "(CLAUDE_WRAPPER_DEBUG=true): add that, or leave it out."
            )
        return cls(
            format="json" if config.log_format == "json" else "text",
            sample=config.log_sample,
            slow_s=config.slow_s,
            tells_all=config.verbose or config.debug,
            tells_steps=config.debug,
            bodies=config.log_bodies,
            is_coloured=is_coloured,
        )


class RequestLog:
    """The request log of one worker; belongs to its event loop.

    Args:
        settings: what is logged.
        lines: the way out.
        metrics: slow steps are counted there.
        redact: masks secrets.
        now: wall clock, in Unix seconds.
        dice: numbers from 0 up to 1.
        host: host name of the machine or pod.
    """

    def __init__(
        self,
        settings: RequestLogSettings,
        *,
        lines: LineWriter,
        metrics: WorkerMetrics,
        redact: Callable[[str], str],
        now: Callable[[], float],
        dice: Callable[[], float],
        host: str,
    ) -> None:
        self._settings = settings
        self._leaves_out = settings.sample < 1.0
        self._tells_steps = settings.tells_steps
        self._sample = settings.sample
        self._slow_s = settings.slow_s
        self._is_json = settings.format == "json"
        self._lines = lines
        self._metrics = metrics
        self._redact = redact
        self._now = now
        self._dice = dice
        self._place = _encode({"host": host, "pid": os.getpid()})[:-1] + b","
        self._known: dict[str, str] = {}
        self._number = 0
        self._bad: deque[tuple[int, bytes]] = deque(maxlen=MOST_KEPT)
        self._good: deque[tuple[int, bytes]] = deque(maxlen=MOST_KEPT)
        self._latest: deque[bytes] = deque(maxlen=MOST_KEPT)
        self._second = 0
        self._second_text = ""
        self._slow_told: dict[str, float] = {}
        self._refusal_told_at = float("-inf")

    def start(self) -> None:
        """The worker begins to serve: from now on the event loop waits for no line of the log."""
        self._lines.start()
        if self._settings.bodies:
            logger.warning("Prompts are written into this log: CLAUDE_WRAPPER_LOG_BODIES is on.")

    def close(self) -> None:
        """The worker has ended: what waits is written."""
        self._lines.close()

    # What happens for every request

    def note(self, record: RequestRecord, *, response_s: float, duration_s: float) -> None:
        """A request is over.

        Args:
            record: its notes.
            response_s: until its reply began.
            duration_s: until its reply was complete.
        """
        kind = kind_of(record.path)
        is_bad = record.is_error
        added_s = overhead_s(record, duration_s=duration_s)
        slow: list[tuple[str, float]] = []
        if (duration_s if added_s is None else added_s) > self._slow_s:
            slow = slow_steps(record, response_s=response_s, slow_s=self._slow_s)
        if slow:
            self._tell_slow(record, slow)
        elif (is_bad or self._leaves_out or kind == "operations") and self._is_left_out(record, kind, is_bad=is_bad):
            return
        line = line_of(
            record,
            timestamp=self._timestamp(),
            level="WARNING" if is_bad else "INFO",
            kind=kind,
            response_s=response_s,
            duration_s=duration_s,
            overhead_s=added_s,
            clean=self._clean,
        )
        if slow or self._tells_steps:
            add_steps(line, record, response_s=response_s)
            line.slow = tuple(name for name, _ in slow) or UNSET
        text = _encode(line)
        if is_bad or kind != "operations":  # who looks at the log does not look for that
            self._keep(text, is_bad=is_bad or bool(slow))
        if self._is_json:
            self._lines.put(text + b"\n")
        else:
            self._lines.put(f"{as_text(line, is_coloured=self._settings.is_coloured)}\n".encode())

    def _is_left_out(self, record: RequestRecord, kind: Kind, *, is_bad: bool) -> bool:
        if self._settings.tells_all:
            return False
        if is_bad:
            return self._is_told(record)
        if kind == "operations" and record.status < 400:  # probes, scrapes, a dashboard that is open
            return True
        if record.status >= 400 and record.status not in _FLOODS:
            return False
        return self._dice() >= self._sample

    def _is_told(self, record: RequestRecord) -> bool:
        """Whether the log need not tell again of a request that was refused for want of the state store."""
        if record.error_code != StateUnavailable.default_code:
            return False
        now = self._now()
        if 0 <= now - self._refusal_told_at < REFUSALS_TOLD_EVERY_S:
            return True
        self._refusal_told_at = now
        return False

    def _keep(self, text: bytes, *, is_bad: bool) -> None:
        self._number += 1
        (self._bad if is_bad else self._good).append((self._number, text))
        self._latest.append(text)

    def _timestamp(self) -> str:
        now = self._now()
        second = int(now)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return self._second_text + _MILLISECONDS[int(1000 * (now - second))]

    def _clean(self, text: str) -> str:
        """A text from outside, fit for the log: on one line, not long, without secrets."""
        known = self._known.get(text)
        if known is not None:
            return known
        if _OWN_ID.fullmatch(text):  # each is met once
            return text
        kept = text[: 2 * LONGEST_TEXT]  # so that a secret is masked that goes on behind what is shown
        cleaned = self._redact(kept if kept.isprintable() else ascii(kept)[1:-1])[:LONGEST_TEXT]
        if len(text) <= LONGEST_TEXT:  # longer ones are no names, and would fill the memory
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[text] = cleaned
        return cleaned

    def _tell_slow(self, record: RequestRecord, slow: list[tuple[str, float]]) -> None:
        now = self._now()
        for step, seconds in slow:
            self._metrics.count(SLOW, step)
            if 0 <= now - self._slow_told.get(step, float("-inf")) < 1.0:
                continue
            self._slow_told[step] = now
            logger.warning(
                "A request was slow to %s.",
                step,
                extra={"step": step, "step_ms": round(1000 * seconds, 1), "request_id": self._clean(record.request_id)},
            )

    # Bodies, for debugging only

    @property
    def wants_bodies(self) -> bool:
        """Whether the beginnings of bodies are to be collected."""
        return self._settings.bodies

    def note_bodies(self, record: RequestRecord, bodies: BodyExcerpts) -> None:
        """Tells how the bodies of a request begin."""
        logger.debug(
            "bodies",
            extra={
                "request_id": self._clean(record.request_id),
                "request_body": bodies.request_text(self._redact),
                "reply_body": bodies.reply_text(self._redact),
            },
        )

    # For GET /logs

    def take_recent(self) -> list[bytes]:
        """The requests since the last time, each a JSON object, oldest first; at most ``MOST_KEPT``.

        Where there were more, failed and slow ones go before others, later ones before earlier ones.
        """
        room = MOST_KEPT - len(self._bad)
        good = list(self._good)
        taken = sorted([*self._bad, *good[max(0, len(good) - room) :]])
        self._bad.clear()
        self._good.clear()
        return [self._placed(text) for _, text in taken]

    def latest(self) -> list[bytes]:
        """The latest requests of this worker, each a JSON object, oldest first."""
        return [self._placed(text) for text in self._latest]

    def _placed(self, text: bytes) -> bytes:
        """A record with its replica: in the log of a process every line has the same, so there it is left out."""
        return self._place + text[1:]
