"""What one worker enforces by itself while Redis is away: its share of every limit, counted in memory; pure.

The share is the limit divided by the number of workers last known, so that all of them together stay near the limit.
A rate is a token bucket that holds a minute's share, starts full, admits while at least one is left and may go into
debt for tokens; concurrency counts the requests that were admitted here; of a budget, the share of what was last known
to be left is never overspent. Only what was admitted here is counted: requests that Redis admitted before the outage
are not. Times are monotonic seconds and come in as arguments. Source: DESIGN.md section 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from msgspec import Struct

from app.domain.limits import Limits

#: Whose limits: the tag of a tenant, and one of its keys or ``*`` for the tenant itself.
Scope: TypeAlias = tuple[str, str]

#: Scopes that are counted at once; the one that was asked for longest ago goes, unless it has requests in flight.
MOST_SCOPES: Final = 10_000
#: When to try again what running requests hold.
RETRY_S: Final = 1.0
#: Stands for a limit in a refusal: under a budget, a cost that has no bound cannot be reserved.
UNBOUNDED: Final = "unbounded"

_MINUTE_S = 60.0
_RATES = ("requests_per_minute", "input_tokens_per_minute", "output_tokens_per_minute")
_BUDGETS = ("budget_day_nano", "budget_month_nano", "budget_total_nano")


class Refusal(Struct, frozen=True, kw_only=True):
    """A request that was not admitted; nothing was taken.

    Args:
        scope: index of the scope whose limit it was, among those asked for.
        limit: name of the limit, a field of ``Limits``; or ``UNBOUNDED``.
        retry_after_s: when it frees up; ``None`` is not foreseeable.
    """

    scope: int
    limit: str
    retry_after_s: float | None


class Held(Struct, frozen=True, kw_only=True, eq=False):
    """What an admitted request holds until it is settled or released, once.

    Args:
        accounts: of its scopes.
        charges: what was taken from which bucket, and for which of ``_RATES``.
        expected: requests, input tokens and output tokens that were taken.
        worst_nano: nano-dollars reserved.
    """

    accounts: tuple[Account, ...]
    charges: tuple[tuple[Bucket, int], ...]
    expected: tuple[int, int, int]
    worst_nano: int


class Bucket:
    """A token bucket of one rate: ``balance`` as of ``at_s``, negative while in debt.

    Args:
        share: what it holds at most, and gains in a minute; at least 1.
        now_s: monotonic seconds.
    """

    __slots__ = ("at_s", "balance", "share")

    def __init__(self, share: float, now_s: float) -> None:
        self.share = share
        self.balance = share
        self.at_s = now_s

    def refill(self, share: float, now_s: float) -> None:
        """Adds what has come in since, at the share that holds now."""
        gained = share * max(0.0, now_s - self.at_s) / _MINUTE_S
        self.share, self.balance, self.at_s = share, min(share, self.balance + gained), now_s

    @property
    def wait_s(self) -> float:
        """Seconds until one is left; 0 when one is."""
        return max(0.0, (1 - self.balance) / self.share * _MINUTE_S)


class Account:
    """What is counted for one scope.

    Attributes:
        buckets: by index in ``_RATES``.
        open: requests in flight that were admitted here.
        left_nano: what was last known to be left of its budgets; ``None`` is unknown.
        spent_nano: spent since.
        reserved_nano: held by requests in flight.
    """

    __slots__ = ("buckets", "left_nano", "open", "reserved_nano", "spent_nano")

    def __init__(self) -> None:
        self.buckets: dict[int, Bucket] = {}
        self.open = 0
        self.left_nano: int | None = None
        self.spent_nano = 0
        self.reserved_nano = 0

    def refill(self, limits: Limits, workers: int, now_s: float) -> list[tuple[Bucket, int]]:
        """The buckets of the rates that are set, filled up to now, with their indices in ``_RATES``."""
        filled = []
        for rate, name in enumerate(_RATES):
            limit: int | None = getattr(limits, name)
            if limit is None:
                continue
            share = max(1.0, limit / workers)
            bucket = self.buckets.setdefault(rate, Bucket(share, now_s))
            bucket.refill(share, now_s)
            filled.append((bucket, rate))
        return filled

    def crowded(self, limits: Limits, workers: int) -> bool:
        """Whether its share of the concurrency, rounded up, is taken."""
        return limits.concurrency is not None and self.open >= -(-limits.concurrency // workers)

    def budget_share(self, limits: Limits, workers: int) -> tuple[str, int] | None:
        """The tightest budget, and this worker's share of what is left of it; ``None`` without a budget."""
        budgets = {name: budget for name in _BUDGETS if (budget := getattr(limits, name)) is not None}
        if not budgets:
            return None
        tightest = min(budgets, key=budgets.__getitem__)
        whole = budgets[tightest]
        return tightest, (whole if self.left_nano is None else min(whole, self.left_nano)) // workers

    def unaffordable(self, limits: Limits, workers: int, worst_nano: int | None) -> tuple[str, float | None] | None:
        """The budget that a request may overspend, and when to try again; ``None`` when there is none."""
        tightest_share = self.budget_share(limits, workers)
        if tightest_share is None:
            return None
        if worst_nano is None:
            return UNBOUNDED, None
        tightest, share = tightest_share
        if self.spent_nano + self.reserved_nano + worst_nano <= share:
            return None
        return tightest, RETRY_S if self.spent_nano + worst_nano <= share else None


class LocalBook:
    """The counts of one worker, of at most ``most_scopes`` scopes."""

    def __init__(self, *, most_scopes: int = MOST_SCOPES) -> None:
        self._most_scopes = most_scopes
        #: Least recently asked for first.
        self._accounts: dict[Scope, Account] = {}

    def admit(
        self,
        scopes: Sequence[tuple[Scope, Limits]],
        *,
        workers: int,
        now_s: float,
        expected_input: int,
        expected_output: int,
        worst_nano: int | None,
    ) -> Held | Refusal:
        """Admits a request under the limits of all its scopes, or takes nothing.

        Args:
            scopes: the key and its tenant, with the limits that hold for each.
            workers: how many share the limits, at least 1.
            now_s: monotonic seconds.
            expected_input: tokens.
            expected_output: tokens.
            worst_nano: the most it can cost, in nano-dollars; ``None`` cannot be bounded.

        Returns:
            What it holds, to be settled or released; or the refusal that lasts longest.
        """
        accounts = tuple(self._account(scope) for scope, _ in scopes)
        charges: list[tuple[Bucket, int]] = []
        refusals: list[Refusal] = []
        for index, (account, (_, limits)) in enumerate(zip(accounts, scopes, strict=True)):
            filled = account.refill(limits, workers, now_s)
            charges += filled
            refusals += (
                Refusal(scope=index, limit=limit, retry_after_s=wait_s)
                for limit, wait_s in _refusals(account, filled, limits, workers, worst_nano)
            )
        if refusals:
            return max(refusals, key=_lasts_s)
        held = Held(
            accounts=accounts,
            charges=tuple(charges),
            expected=(1, expected_input, expected_output),
            worst_nano=worst_nano or 0,
        )
        _take(held)
        return held

    def affordable_nano(self, scopes: Sequence[tuple[Scope, Limits]], *, workers: int) -> int | None:
        """What a request may cost at worst, in nano-dollars; ``None`` without a budget. Arguments as of ``admit``."""
        left = []
        for scope, limits in scopes:
            account = self._account(scope)
            tightest_share = account.budget_share(limits, workers)
            if tightest_share is not None:
                left.append(tightest_share[1] - account.spent_nano - account.reserved_nano)
        return min(left) if left else None

    def settle(self, held: Held, *, actual_input: int, actual_output: int, cost_nano: int) -> None:
        """Frees what a request held and charges what it has used.

        Args:
            held: what ``admit`` returned.
            actual_input: tokens that count against input limits.
            actual_output: tokens.
            cost_nano: nano-dollars.
        """
        _free(held, (1, actual_input, actual_output), cost_nano)

    def release(self, held: Held) -> None:
        """Gives back everything: the request was refused later on, before it used anything."""
        _free(held, (0, 0, 0), 0)

    def note_budget_left(self, scope: Scope, left_nano: int) -> None:
        """Remembers what Redis last said to be left of the budgets of a scope, in nano-dollars."""
        self._account(scope).left_nano = left_nano

    def forget(self) -> None:
        """Redis is back and knows what was spent: rates and spend start anew, what is in flight stays counted."""
        for account in self._accounts.values():
            account.buckets = {}  # new ones: requests in flight settle with those they were taken from
            account.spent_nano = 0

    def _account(self, scope: Scope) -> Account:
        account = self._accounts.pop(scope, None)
        if account is None:
            account = Account()
            self._make_room()
        self._accounts[scope] = account
        return account

    def _make_room(self) -> None:
        if len(self._accounts) >= self._most_scopes:
            idle = next((scope for scope, account in self._accounts.items() if not account.open), None)
            if idle is not None:
                del self._accounts[idle]


def _refusals(
    account: Account, filled: Sequence[tuple[Bucket, int]], limits: Limits, workers: int, worst_nano: int | None
) -> Iterator[tuple[str, float | None]]:
    """Every limit of one scope that stands against a request, and when it frees up."""
    for bucket, rate in filled:
        if bucket.wait_s:
            yield _RATES[rate], bucket.wait_s
    if account.crowded(limits, workers):
        yield "concurrency", RETRY_S
    unaffordable = account.unaffordable(limits, workers, worst_nano)
    if unaffordable is not None:
        yield unaffordable


def _lasts_s(refusal: Refusal) -> float:
    return float("inf") if refusal.retry_after_s is None else refusal.retry_after_s


def _take(held: Held) -> None:
    for bucket, rate in held.charges:
        bucket.balance -= held.expected[rate]
    for account in held.accounts:
        account.open += 1
        account.reserved_nano += held.worst_nano


def _free(held: Held, actual: tuple[int, int, int], cost_nano: int) -> None:
    for bucket, rate in held.charges:
        bucket.balance += held.expected[rate] - actual[rate]
    for account in held.accounts:
        account.open -= 1
        account.reserved_nano -= held.worst_nano
        account.spent_nano += cost_nano
