"""How the gateway's own Anthropic credentials are doing: what replies to its calls say about them.

A client's own key is never looked at. What follows from a credential that fails or is at its limit (a rest, another
one instead) is not here. Costs 1 us a call: what is left of the rate limits is read once a second at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Final, Literal

from app.domain.credentials import RATE_NAMES, CredentialFigures, RateLeft
from app.domain.upstream import Upstream, UpstreamReply, UpstreamRequest

#: What is left of a credential's limits is read this often.
RATES_EVERY_S: Final = 1.0

_LABEL_DIGITS: Final = 8
_REFUSED: Final = frozenset({401, 403})
_LIMITED: Final = frozenset({429, 529})


class _Credential:
    """What is known of one."""

    __slots__ = ("calls", "label", "limited", "rates", "rates_at", "rates_due", "refused", "seen_at", "since", "status")

    def __init__(self, label: str) -> None:
        self.label = label
        self.status: Literal["ok", "failing", "limited"] = "ok"
        self.since = 0.0
        self.seen_at = 0.0
        self.calls = self.refused = self.limited = 0
        self.rates: tuple[RateLeft, ...] = ()
        self.rates_at = 0.0
        self.rates_due = 0.0


class CredentialBook:
    """What one worker has seen of the gateway's own credentials.

    Args:
        credentials: their texts, each once; kept here to know them again, never shown.
        now: the wall clock, in Unix seconds.
    """

    def __init__(self, credentials: Iterable[str], *, now: Callable[[], float]) -> None:
        self._known = {text: _Credential(label_of(text)) for text in credentials}
        self._now = now

    def heard(self, credential: str, status: int, headers: Mapping[str, str]) -> None:
        """A call with this credential was answered; one that is not the gateway's is passed over.

        Args:
            credential: that the call was made with.
            status: of the reply. A 5xx says nothing about the credential.
            headers: of the reply, names in lower case.
        """
        known = self._known.get(credential)
        if known is None or (status >= 500 and status not in _LIMITED):
            return
        known.seen_at = now = self._now()
        known.calls += 1
        verdict: Literal["ok", "failing", "limited"] = "ok"
        if status in _REFUSED:
            verdict = "failing"
            known.refused += 1
        elif status in _LIMITED:
            verdict = "limited"
            known.limited += 1
        if verdict != known.status or not known.since:
            known.status, known.since = verdict, now
        if not 0.0 <= known.rates_due - now <= RATES_EVERY_S:  # also after the clock was set
            known.rates_due = now + RATES_EVERY_S
            if rates := read_rates(headers):
                known.rates, known.rates_at = rates, now

    def states(self) -> tuple[CredentialFigures, ...]:
        """How each of them is doing, by label."""
        return tuple(
            CredentialFigures(
                label=known.label,
                status=known.status,
                since_at=known.since,
                seen_at=known.seen_at,
                calls=known.calls,
                refused=known.refused,
                limited=known.limited,
                rates=known.rates,
                rates_at=known.rates_at,
            )
            for known in sorted(self._known.values(), key=lambda known: known.label)
        )


class WatchedLane:
    """An ``Upstream`` whose replies are told to a ``CredentialBook``.

    Args:
        lane: sends the calls.
        book: is told.
        own: the credential of calls that bring none; empty where there is none.
    """

    def __init__(self, lane: Upstream, book: CredentialBook, own: str) -> None:
        self._lane = lane
        self._heard = book.heard
        self._own = own

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        """Sends a request; see ``app.domain.upstream.Upstream.send``."""
        reply = await self._lane.send(request)
        self._heard(request.credential or self._own, reply.status, reply.headers)
        return reply

    async def close(self) -> None:
        """Closes the lane."""
        await self._lane.close()


def label_of(credential: str) -> str:
    """What a credential is called wherever it may be shown."""
    return sha256(credential.encode()).hexdigest()[:_LABEL_DIGITS]


def read_rates(headers: Mapping[str, str]) -> tuple[RateLeft, ...]:
    """What is left of the rate limits; what is missing or unreadable is left out.

    Args:
        headers: of a reply, names in lower case: ``anthropic-ratelimit-*-{limit,remaining}``.
    """
    rates = []
    for name in RATE_NAMES:
        limit = headers.get(f"anthropic-ratelimit-{name}-limit", "")
        remaining = headers.get(f"anthropic-ratelimit-{name}-remaining", "")
        if _is_count(limit) and _is_count(remaining):
            rates.append(RateLeft(name=name, limit=int(limit), remaining=int(remaining)))
    return tuple(rates)


def _is_count(text: str) -> bool:
    """Whether it is a whole number that fits into 63 bits."""
    return text.isascii() and text.isdecimal() and len(text) <= 18
