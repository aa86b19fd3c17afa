"""How the gateway's own Anthropic credentials are doing, as one worker has seen it and as several have together.

A credential is known by a label, the beginning of its digest; its text is never here. Who sees replies is
``app.upstream.credentials``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from msgspec import Struct

from app.domain.bounded import Count, Measure

#: Limits that Anthropic tells with its replies, by the middle of ``anthropic-ratelimit-<name>-{limit,remaining}``.
RATE_NAMES: Final = ("requests", "tokens", "input-tokens", "output-tokens")

#: What was left of a limit this long ago says nothing any more: Anthropic fills its limits up within a minute.
RATES_GOOD_FOR_S: Final = 60.0


class RateLeft(Struct, frozen=True, kw_only=True):
    """One of Anthropic's rate limits.

    Args:
        name: one of ``RATE_NAMES``.
        limit: of a minute, in requests or tokens.
        remaining: of it.
    """

    name: str
    limit: Count
    remaining: Count

    @property
    def share(self) -> float:
        """What is left, from 0 to 1."""
        return min(1.0, self.remaining / self.limit) if self.limit > 0 else 0.0


class CredentialFigures(Struct, frozen=True, kw_only=True):
    """One of the gateway's own credentials. Counts are since the start of whoever counted.

    Args:
        label: the first eight hexadecimal digits of its SHA-256; says which one it is, and nothing about it.
        status: ``failing``: Anthropic refused it (401, 403); ``limited``: it was told to slow down (429, 529); what
            the latest reply said. ``ok`` also before the first reply.
        since_at: since when it is so, Unix seconds; 0 before the first reply.
        seen_at: when a reply last said something about it, Unix seconds; 0 before the first reply.
        calls: replies that said something about it.
        refused: of these, 401 and 403.
        limited: of these, 429 and 529.
        rates: what is left of its limits, at ``rates_at`` (Unix seconds).
    """

    label: str
    status: Literal["ok", "failing", "limited"] = "ok"
    since_at: Measure = 0.0
    seen_at: Measure = 0.0
    calls: Count = 0
    refused: Count = 0
    limited: Count = 0
    rates: tuple[RateLeft, ...] = ()
    rates_at: Measure = 0.0


def together(seen: Iterable[CredentialFigures]) -> tuple[CredentialFigures, ...]:
    """What several workers have seen, one entry a credential, by label: counts add up, of all else the latest counts.

    Workers of several machines are compared by their clocks, which differ a little.
    """
    merged: dict[str, CredentialFigures] = {}
    for one in seen:
        other = merged.get(one.label)
        merged[one.label] = one if other is None else _both(one, other)
    return tuple(merged[label] for label in sorted(merged))


def _both(one: CredentialFigures, other: CredentialFigures) -> CredentialFigures:
    latest = max(one, other, key=lambda figures: figures.seen_at)
    fullest = max(one, other, key=lambda figures: figures.rates_at)
    return CredentialFigures(
        label=one.label,
        status=latest.status,
        since_at=latest.since_at,
        seen_at=latest.seen_at,
        calls=one.calls + other.calls,
        refused=one.refused + other.refused,
        limited=one.limited + other.limited,
        rates=fullest.rates,
        rates_at=fullest.rates_at,
    )
