"""How much of their budgets the accounts have spent that were used lately, for the alerts.

Which budgets count is what the corridor noted when an account was last used (``app.state.watched``); those that a
stored key sets itself are read anew, so that a change of them counts at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from msgspec import Struct

from app.domain.auth import tenant_tag
from app.state.connection import StateConnection
from app.state.limits import TENANT, Account
from app.state.spends import Spend, read_spends
from app.state.watched import WatchedAccount, watched

Period = Literal["day", "month", "total"]


class BudgetShare(Struct, frozen=True, kw_only=True):
    """A budget, and what is spent of it.

    Args:
        tenant: name of the tenant.
        key_id: whose budget it is: a key's; ``None`` for the tenant's own.
        period: of a day, a calendar month (both UTC), or in all.
        spent_nano: nano-dollars; what running requests have reserved is not among them.
        budget_nano: nano-dollars, above 0.
    """

    tenant: str
    key_id: str | None
    period: Period
    spent_nano: int
    budget_nano: int

    @property
    def share(self) -> float:
        """Spent of the budget; a little above 1 where it was overrun."""
        return self.spent_nano / self.budget_nano


async def budget_shares(state: StateConnection, *, new_id: Callable[[], str]) -> list[BudgetShare]:
    """Every budget of the accounts that were used lately.

    Left out are revoked keys, what cannot be read, and budgets of nothing at all, which are set to lock somebody out.

    Args:
        state: the store.
        new_id: makes unique ids of calls.

    Raises:
        StateError: the store did not answer.
    """
    accounts = await watched(state)
    spends = await read_spends(
        state, [Account(tenant_tag(account.tenant), account.key_id) for account in accounts], new_id=new_id
    )
    return [share for account, spend in zip(accounts, spends, strict=True) for share in _shares(account, spend)]


def _shares(account: WatchedAccount, spend: Spend | None) -> Iterable[BudgetShare]:
    if spend is None:
        return
    budgets, record = account.budgets, spend.record
    if record is not None:
        if record.revoked_at is not None:
            return
        budgets = record.limits.over(budgets)
    periods: tuple[tuple[Period, int, int | None], ...] = (
        ("day", spend.day_nano, budgets.budget_day_nano),
        ("month", spend.month_nano, budgets.budget_month_nano),
        ("total", spend.total_nano, budgets.budget_total_nano),
    )
    for period, spent_nano, budget_nano in periods:
        if budget_nano:
            yield BudgetShare(
                tenant=account.tenant,
                key_id=None if account.key_id == TENANT else account.key_id,
                period=period,
                spent_nano=spent_nano,
                budget_nano=budget_nano,
            )
