"""Who was active lately, and is looked after: accounts with budgets, and tenants with sessions.

Two sorted sets by the time of use, each cut to its newest entries of two days, so that looking after them is bounded
however many there are: nobody has to scan the store. An entry of an account carries the budgets that counted when it
was last used, since those of a token, of the keys file and of the deployment's defaults are known only where requests
are let in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from app.domain.limits import Limits
from app.state import keys
from app.state.connection import Command, StateConnection

#: Entries of accounts that are kept, and read.
MOST_WATCHED: Final = 1000
#: The same of tenants with sessions.
MOST_SEATED: Final = 2000

#: ``<tenant> <key id> <budgets of day, month and in all, or ->``, budgets in nano-dollars.
_MEMBER: Final = re.compile(r"(\S+) (\S+) (-|\d{1,16}) (-|\d{1,16}) (-|\d{1,16})")


class WatchedAccount(Struct, frozen=True, kw_only=True):
    """An account with budgets that was used lately.

    Args:
        tenant: name of the tenant.
        key_id: of the key; ``TENANT`` of ``app.state.limits`` for the tenant itself.
        budgets: those that counted when it was used; nothing but budgets is set.
    """

    tenant: str
    key_id: str
    budgets: Limits


def watch_commands(accounts: Mapping[tuple[str, str], Limits], now: float) -> list[Command]:
    """What notes that accounts were used, as a part of a pipeline.

    Args:
        accounts: the limits that count, by the tenant's name and the key's id, or ``TENANT`` in place of it; without a
            budget they are left out.
        now: Unix seconds.
    """
    members = [_member(tenant, key_id, limits) for (tenant, key_id), limits in accounts.items() if limits.has_budget]
    return _note(keys.WATCHED, members, now, most=MOST_WATCHED, ttl_s=keys.WATCHED_TTL_S)


def seated_commands(tags: Iterable[str], now: float) -> list[Command]:
    """What notes that tenants have used sessions, as a part of a pipeline.

    Args:
        tags: of the tenants.
        now: Unix seconds.
    """
    return _note(keys.SEATED, list(tags), now, most=MOST_SEATED, ttl_s=keys.SEATED_TTL_S)


def _note(key: str, members: list[str], now: float, *, most: int, ttl_s: int) -> list[Command]:
    if not members:
        return []
    at = int(now)
    return [
        ("ZADD", key, *(word for member in members for word in (at, member))),
        ("ZREMRANGEBYSCORE", key, "-inf", at - ttl_s),
        ("ZREMRANGEBYRANK", key, 0, -most - 1),
        ("EXPIRE", key, ttl_s),
    ]


async def watched(state: StateConnection) -> list[WatchedAccount]:
    """Accounts with budgets, those that were used last first, each once.

    Raises:
        StateError: the store did not answer.
    """
    members = await state.call("ZREVRANGE", keys.WATCHED, 0, MOST_WATCHED - 1, large=True)
    accounts: dict[tuple[str, str], WatchedAccount] = {}
    for member in members:
        account = _account(member)
        if account is not None:  # the newest entry of an account tells the budgets that count
            accounts.setdefault((account.tenant, account.key_id), account)
    return list(accounts.values())


async def seated(state: StateConnection) -> list[str]:
    """Tags of the tenants that have sessions, those that used them last first; at most ``MOST_SEATED``.

    Raises:
        StateError: the store did not answer.
    """
    members = await state.call("ZREVRANGE", keys.SEATED, 0, MOST_SEATED - 1, large=True)
    return [member.decode(errors="replace") for member in members]


def _member(tenant: str, key_id: str, limits: Limits) -> str:
    budgets = (limits.budget_day_nano, limits.budget_month_nano, limits.budget_total_nano)
    return " ".join((tenant, key_id, *("-" if budget is None else str(budget) for budget in budgets)))


def _account(member: bytes) -> WatchedAccount | None:
    """``None`` for what cannot be read, such as an entry of another release."""
    found = _MEMBER.fullmatch(member.decode(errors="replace"))
    if found is None:
        return None
    tenant, key_id, *budgets = found.groups()
    day, month, in_all = (None if budget == "-" else int(budget) for budget in budgets)
    limits = Limits(budget_day_nano=day, budget_month_nano=month, budget_total_nano=in_all)
    return WatchedAccount(tenant=tenant, key_id=key_id, budgets=limits)
