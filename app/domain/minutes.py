"""What all workers add up in Redis by the minute and by the hour: the names of the figures, and their meaning.

A bucket is a hash of whole numbers. Figures of workers are added up; gauges (``PEAK``) keep the highest value of their
time. The names are part of the layout that ``app.state.keys`` versions. Source: DESIGN.md section 9.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from app.domain.histograms import BUCKETS

REQUESTS: Final = "requests"
#: Requests that failed on our side or Anthropic's: 5xx, and streams that broke off.
ERRORS: Final = "errors"
#: Of those, the streams that broke off.
BROKEN: Final = "broken"
#: Requests answered with 4xx, those refused by a limit (429) among them.
CLIENT_ERRORS: Final = "client_errors"
REFUSED: Final = "refused"
#: Streams that brought a first token.
STREAMS: Final = "streams"
#: Nano-dollars that calls of Claude have cost, and that answers from the cache would have cost.
NANO: Final = "nano"
SAVED_NANO: Final = "saved_nano"

#: Beginnings of names; what follows is a class of tokens, an outcome of the cache, a model, a tenant, a gauge.
TOKENS: Final = "tokens:"
CACHE: Final = "cache:"
OF_MODEL: Final = "model:"
NANO_OF_MODEL: Final = "nano:model:"
NANO_OF_TENANT: Final = "nano:tenant:"
PEAK: Final = "peak:"

#: Classes of tokens and outcomes of the response cache, and their names.
OF_TOKENS: Final = {name: TOKENS + name for name in ("input", "output", "cache_read", "cache_write")}
OF_CACHE: Final = {outcome: CACHE + outcome for outcome in ("hit", "joined", "miss", "bypass")}

#: In place of the tenants beyond those that are told apart.
OTHER: Final = "(others)"


class Times(Struct, frozen=True):
    """The names of a histogram: one for each bucket of ``app.domain.histograms``, and one for the sum.

    Args:
        fields: by bucket.
        total: the sum, in microseconds.
    """

    fields: tuple[str, ...]
    total: str


def _times(name: str) -> Times:
    return Times(fields=tuple(f"{name}:{bucket}" for bucket in range(BUCKETS)), total=f"{name}_us")


#: Of model requests that were answered: plain ones until they were complete, streams until their first token.
RESPONSE: Final = _times("response")
FIRST_TOKEN: Final = _times("first_token")

#: Gauges, in thousandths where they are shares; memory is that of the fullest replica.
SESSIONS_LIVE: Final = PEAK + "sessions"
SESSIONS_SHARE: Final = PEAK + "sessions_share"
MEMORY_SHARE: Final = PEAK + "memory_share"
STORE_MEMORY_SHARE: Final = PEAK + "store_memory_share"
REPLICAS: Final = PEAK + "replicas"

#: What may be counted later than it was used, as after an outage of Redis: tokens and money, but nothing that says how
#: a minute was.
_EVER_DUE: Final = (TOKENS, NANO, SAVED_NANO)


def without_the_moment(figures: Mapping[str, int]) -> dict[str, int]:
    """Of figures that come too late for their minute, those that count all the same."""
    return {name: count for name, count in figures.items() if name.startswith(_EVER_DUE)}
