"""How many live sessions the tenants have, counted in the indexes of those that used sessions lately.

Bounded work whatever the store holds: ``watched.seated`` names the tenants, and counting is a step of ``O(log n)`` on
each index. Contract of the index: DESIGN.md section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from app.errors import StateError
from app.state import keys
from app.state.connection import Reply, StateConnection
from app.state.error_replies import WrongType

#: Tenants that are counted in one round trip.
_AT_ONCE: Final = 500


async def count_live_sessions(state: StateConnection, tags: Sequence[str]) -> dict[str, int]:
    """Live sessions of each tenant; an index that is none counts as empty.

    Args:
        state: the store.
        tags: of the tenants.

    Raises:
        StateError: the store did not answer.
    """
    if not tags:
        return {}
    seconds, micros = await state.call("TIME")
    after_us = f"({int(seconds) * 1_000_000 + int(micros)}"
    counts: dict[str, int] = {}
    for first in range(0, len(tags), _AT_ONCE):
        some = tags[first : first + _AT_ONCE]
        replies = await state.pipeline([("ZCOUNT", keys.sessions(tag), after_us, "+inf") for tag in some])
        counts |= {tag: _count(reply) for tag, reply in zip(some, replies, strict=True)}
    return counts


def _count(reply: Reply | StateError) -> int:
    if isinstance(reply, StateError) and not isinstance(reply, WrongType):
        raise reply
    return 0 if isinstance(reply, WrongType) else int(reply)
