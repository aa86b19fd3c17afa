"""How much of their budgets the accounts have spent that were used lately, for the alerts.

Which budgets count is what the corridor noted when an account was last used (``app.state.watched``); those that a
stored key sets itself are read anew, so that a change of them counts at once. A budget that has refused requests is
used up, though less is spent: the worst case of every request is reserved (``app.state.exhausted``).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable

from msgspec import Struct

from app.domain.auth import tenant_tag
from app.domain.limits import BudgetPeriod
from app.state.connection import StateConnection
from app.state.exhausted import ExhaustedBudget, exhausted
from app.state.limits import TENANT, Account
from app.state.spends import Spend, read_spends
from app.state.watched import WatchedAccount, watched


class BudgetShare(Struct, frozen=True, kw_only=True):
    """A budget, and what is spent of it.

    Args:
        tenant: name of the tenant.
        key_id: whose budget it is: a key's; ``None`` for the tenant's own.
        period: of a day, a calendar month (both UTC), or in all.
        spent_nano: nano-dollars; what running requests have reserved is not among them.
        budget_nano: nano-dollars, above 0.
        has_refused: it has refused a request in this period, and is still as much.
    """

    tenant: str
    key_id: str | None
    period: BudgetPeriod
    spent_nano: int
    budget_nano: int
    has_refused: bool = False

    @property
    def share(self) -> float:
        """Spent of the budget; all of it where it has refused, a little above 1 where it was overrun."""
        share = self.spent_nano / self.budget_nano
        return max(1.0, share) if self.has_refused else share


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
    refusing = await exhausted(state)
    return [
        share for account, spend in zip(accounts, spends, strict=True) for share in _shares(account, spend, refusing)
    ]


def _shares(
    account: WatchedAccount, spend: Spend | None, refusing: Container[ExhaustedBudget]
) -> Iterable[BudgetShare]:
    if spend is None:
        return
    budgets, record = account.budgets, spend.record
    if record is not None:
        if record.revoked_at is not None:
            return
        budgets = record.limits.over(budgets)
    periods: tuple[tuple[BudgetPeriod, int, int | None], ...] = (
        ("day", spend.day_nano, budgets.budget_day_nano),
        ("month", spend.month_nano, budgets.budget_month_nano),
        ("total", spend.total_nano, budgets.budget_total_nano),
    )
    for period, spent_nano, budget_nano in periods:
        if budget_nano:
            budget = ExhaustedBudget(
                tenant=account.tenant, key_id=account.key_id, period=period, budget_nano=budget_nano
            )
            yield BudgetShare(
                tenant=account.tenant,
                key_id=None if account.key_id == TENANT else account.key_id,
                period=period,
                spent_nano=spent_nano,
                budget_nano=budget_nano,
                has_refused=budget in refusing,
            )
