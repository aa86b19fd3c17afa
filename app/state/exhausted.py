"""Budgets that have refused requests lately, since what was left of them covered no more.

Money is reserved at its worst case, so what is spent of a hard budget stays below it even where nobody gets in any
more. That a budget has refused is therefore noted beside what is spent, until its period ends: a sorted set by that
time, cut to its newest entries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, cast

from msgspec import Struct

from app.domain.limits import BudgetPeriod
from app.errors import StateError
from app.state import keys
from app.state.connection import Command, StateConnection

#: Entries that are kept, and read.
MOST_EXHAUSTED: Final = 1000
#: A budget that never frees up counts as exhausted for this long after it refused: as long as its account is watched.
NEVER_FREES_S: Final = float(keys.WATCHED_TTL_S)

#: ``<tenant> <key id> <period> <budget>``, the budget in nano-dollars.
_MEMBER: Final = re.compile(r"(\S+) (\S+) (day|month|total) (\d{1,16})")


class ExhaustedBudget(Struct, frozen=True, kw_only=True):
    """A budget that has refused a request.

    Args:
        tenant: name of the tenant.
        key_id: of the key; ``TENANT`` of ``app.state.limits`` for the tenant itself.
        period: of a day, a calendar month (both UTC), or in all.
        budget_nano: how much it was, in nano-dollars; once it is another one, this says nothing of it.
    """

    tenant: str
    key_id: str
    period: BudgetPeriod
    budget_nano: int


def exhausted_commands(budgets: Mapping[ExhaustedBudget, float], now: float) -> list[Command]:
    """What notes budgets that have refused, as a part of a pipeline.

    Args:
        budgets: with the Unix seconds at which each starts anew.
        now: Unix seconds.
    """
    if not budgets:
        return []
    return [
        ("ZADD", keys.EXHAUSTED, *(word for one, until in budgets.items() for word in (int(until), _member(one)))),
        ("ZREMRANGEBYSCORE", keys.EXHAUSTED, "-inf", int(now)),
        ("ZREMRANGEBYRANK", keys.EXHAUSTED, 0, -MOST_EXHAUSTED - 1),
        ("EXPIRE", keys.EXHAUSTED, keys.EXHAUSTED_TTL_S),
    ]


async def exhausted(state: StateConnection) -> set[ExhaustedBudget]:
    """Budgets that have refused in a period that still runs by the server's clock.

    Raises:
        StateError: the store did not answer.
    """
    commands: list[Command] = [
        ("TIME",),
        ("ZREVRANGE", keys.EXHAUSTED, 0, MOST_EXHAUSTED - 1, "WITHSCORES"),
    ]
    time, entries = await state.pipeline(commands, large=True)
    if isinstance(time, StateError):
        raise time
    if isinstance(entries, StateError):
        raise entries
    members = zip(entries[::2], entries[1::2], strict=True)
    budgets = (_budget(member) for member, until in members if float(until) > int(time[0]))
    return {budget for budget in budgets if budget is not None}


def _member(budget: ExhaustedBudget) -> str:
    return f"{budget.tenant} {budget.key_id} {budget.period} {budget.budget_nano}"


def _budget(member: bytes) -> ExhaustedBudget | None:
    """``None`` for what cannot be read, such as an entry of another release."""
    found = _MEMBER.fullmatch(member.decode(errors="replace"))
    if found is None:
        return None
    tenant, key_id, period, budget = found.groups()
    return ExhaustedBudget(tenant=tenant, key_id=key_id, period=cast("BudgetPeriod", period), budget_nano=int(budget))
