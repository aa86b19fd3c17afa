"""The limiter as a plain model: integers and dictionaries of one tenant, by the rules of DESIGN.md section 3.

Written from the contract and from what the scripts' headers promise, to be compared with the scripts step by step:
what each call answers, and what is stored after it. Times are Unix microseconds, money is nano-dollars, a bucket
counts in 60-millionths of a token.

Rules that the contract leaves open, as they were decided:

- A correction of a rate counts as of the last balance written: tokens of a request that ran are booked at the time
  at which the balance last stood, not when the news comes.
- A scope whose limits name no rate keeps the balances that it once had, untouched.
- Money that is reserved while nothing runs was reserved by leases that were lost; it is given back when it is missed.
- Money that was charged too much yesterday and is corrected today lowers what is booked for today, never below zero.
- The clock never goes back over midnight: the later day counts.
"""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from app.domain.auth import ApiKey, Scope, allows_model
from app.domain.limits import NO_LIMITS, Demand, Gauge, Hold, Limits, Refusal, Use
from app.state.limits import TENANT, KeyFault, Verdict

UNIT = 60_000_000
SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
LEASE_US = 12 * SECOND_US
#: Leases that ran out are charged this many at an admission.
SWEEP = 32

RATES = {
    "requests": "requests_per_minute",
    "input": "input_tokens_per_minute",
    "output": "output_tokens_per_minute",
}


def month_number(day: int) -> int:
    """Months since year 0 of a day since 1970."""
    date = datetime.date(1970, 1, 1) + datetime.timedelta(days=day)
    return date.year * 12 + date.month - 1


def next_month_starts(day: int) -> int:
    """The day since 1970 that begins the month after a day's."""
    year, month = divmod(month_number(day) + 1, 12)
    return (datetime.date(year, month + 1, 1) - datetime.date(1970, 1, 1)).days


@dataclass
class Rates:
    """Balances in units as of ``at``, of those classes that have a limit."""

    at: int
    left: dict[str, int]

    def take(self, **tokens: int) -> None:
        for name, count in tokens.items():
            if name in self.left:
                self.left[name] -= count * UNIT


@dataclass
class Spend:
    """Nano-dollars spent this day, this month and in all, and reserved."""

    day: int
    month: int
    of_day: int = 0
    of_month: int = 0
    total: int = 0
    reserved: int = 0

    @classmethod
    def at(cls, now: int, before: Spend | None = None) -> Spend:
        """How it stands now."""
        day = now // DAY_US
        month = month_number(day)
        if before is None:
            return cls(day, month)
        return cls(
            day=max(day, before.day),
            month=max(month, before.month),
            of_day=before.of_day if before.day >= day else 0,
            of_month=before.of_month if before.month >= month else 0,
            total=before.total,
            reserved=before.reserved,
        )

    def add(self, spent: int, reserved: int) -> None:
        self.of_day = max(0, self.of_day + spent)
        self.of_month = max(0, self.of_month + spent)
        self.total = max(0, self.total + spent)
        self.reserved = max(0, self.reserved + reserved)

    def left(self, limits: Limits) -> dict[str, int]:
        """What is left of each budget, reservations apart."""
        spent = {"budget_day_nano": self.of_day, "budget_month_nano": self.of_month, "budget_total_nano": self.total}
        return {name: limit - used for name, used in spent.items() if (limit := getattr(limits, name)) is not None}


@dataclass
class Book:
    """Everything that is kept of one key, or of the tenant."""

    rates: Rates | None = None
    spend: Spend | None = None
    live: dict[str, int] = field(default_factory=dict)


@dataclass
class Lease:
    """A request: running (``A``), charged when its lease ran out (``X``), or settled (``S``).

    What was taken from the rates and the budgets, what was last reported, and whether it counts against the concurrency
    of its key, as it always does against that of the tenant.
    """

    state: Literal["A", "X", "S"]
    key_id: str = ""
    model: str = ""
    input: int = 0
    output: int = 0
    reserved: int = 0
    charged: int = 0
    told_input: int = 0
    told_output: int = 0
    told_cost: int = 0
    max_tokens: int = 0


@dataclass(frozen=True)
class _Side:
    """One of the two whose limits a request meets."""

    whose: Literal["key", "tenant"]
    limits: Limits
    book: Book


class LedgerModel:
    """The limiter for one tenant.

    Args:
        now: Unix microseconds; set it to let time pass.

    Attributes:
        keys: records of stored API keys by id.
        books: by key id, ``TENANT`` for the tenant itself.
        leases: by request id.
        usage: by key id and day: counts by model and class.
        means: running means of output tokens by model.
    """

    def __init__(self, now: int) -> None:
        self.now = now
        self.keys: dict[str, ApiKey] = {}
        self.books: dict[str, Book] = {}
        self.leases: dict[str, Lease] = {}
        self.usage: dict[tuple[str, int], dict[tuple[str, str], int]] = {}
        self.means: dict[str, int] = {}
        self._charged_all = True

    def book(self, whose: str) -> Book:
        return self.books.setdefault(whose, Book())

    # Admission

    def admit(
        self,
        request_id: str,
        key_id: str,
        demand: Demand,
        *,
        tenant: Limits,
        defaults: Limits = NO_LIMITS,
        secret_hash: bytes = b"",
        known_version: int = 0,
        scope: Scope = "inference",
        usual_output: int = 1000,
    ) -> Verdict | None:
        """What ``limits.admit`` says; ``None`` for a request that was settled before it was admitted."""
        own, key = defaults, None
        if secret_hash:
            key = self.keys.get(key_id)
            if key is None or (fault := self._fault(key, secret_hash, demand, scope)):
                return Verdict(key_fault="unknown_key" if key is None else fault)
            own = key.limits.over(defaults)
        self._charge_leases_that_ran_out()
        lease = self.leases.get(request_id)
        if lease is not None and lease.state == "S":
            return None
        sides = (_Side("key", own, self.book(key_id)), _Side("tenant", tenant, self.book(TENANT)))
        told = key if key is not None and key.version != known_version else None
        if lease is not None:
            hold = Hold(input_tokens=lease.input, output_tokens=lease.output, nano=lease.reserved)
            return self._verdict(sides, key=told, admitted=True, max_tokens=lease.max_tokens, hold=hold)
        granted, refusals = demand.max_tokens, []
        for side in sides:
            refusals += self._rate_refusals(side)
            if side.limits.has_budget and demand.worst_input_nano is None:
                return self._verdict(sides, key=told, unbounded=True)
            if side.limits.has_budget:
                granted, refused = self._afford(side, demand, granted)
                refusals += refused
        if refusals:
            return self._verdict(sides, key=told, refusal=max(refusals, key=_wait))
        hold = self._hold(sides, demand, granted, usual_output)
        self._take(request_id, key_id, sides, demand, granted, hold)
        return self._verdict(sides, key=told, admitted=True, max_tokens=granted, hold=hold)

    def _fault(self, key: ApiKey, secret_hash: bytes, demand: Demand, scope: Scope) -> KeyFault | None:
        hashes = [key.secret_hash]
        if key.previous_hash and self.now < key.previous_until * SECOND_US:
            hashes.append(key.previous_hash)
        if secret_hash.hex() not in hashes:
            return "unknown_key"
        if key.revoked_at is not None:
            return "revoked"
        if key.expires_at is not None and self.now >= key.expires_at * SECOND_US:
            return "expired"
        if scope not in key.scopes:
            return "scope"
        return None if allows_model(key.models, demand.model_names) else "model"

    def _refilled(self, side: _Side) -> Rates:
        """Balances of the rates that the limits name, now; what has none yet is full."""
        before = side.book.rates
        left = {}
        for name, limit_name in RATES.items():
            limit = getattr(side.limits, limit_name)
            if limit is None:
                continue
            left[name] = limit * UNIT
            if before is not None and name in before.left:
                left[name] = min(left[name], before.left[name] + max(0, self.now - before.at) * limit)
        return Rates(self.now, left)

    def _rate_refusals(self, side: _Side) -> list[Refusal]:
        refusals = []
        limit = side.limits.concurrency
        live = sum(self.now < end <= self.now + 2 * LEASE_US for end in side.book.live.values())
        if limit is not None and live >= limit:
            refusals.append(_refusal(side, "concurrency", SECOND_US))
        for name, balance in self._refilled(side).left.items():
            needed = UNIT if name == "requests" else 1
            if balance < needed:
                wait = math.ceil(Fraction(needed - balance, getattr(side.limits, RATES[name])))
                refusals.append(_refusal(side, RATES[name], wait))
        return refusals

    def _afford(self, side: _Side, demand: Demand, granted: int) -> tuple[int, list[Refusal]]:
        """The bound of output tokens that the budgets of a side leave, or why they leave none."""
        assert demand.worst_input_nano is not None
        spend = Spend.at(self.now, side.book.spend)
        left = spend.left(side.limits)
        price = demand.output_nano_per_token
        free = min(left.values()) - spend.reserved - demand.worst_input_nano
        if free < granted * price and spend.reserved and self._is_idle(side.book):
            free += spend.reserved  # held by leases that were lost
            spend.reserved = 0
            side.book.spend = spend
            side.book.live.clear()
        if free >= granted * price:
            return granted, []
        if price and free // price >= demand.least_tokens:
            return free // price, []
        needed = demand.worst_input_nano + demand.least_tokens * price
        spent = [name for name, rest in left.items() if rest < needed]
        if not spent:
            return granted, [_refusal(side, "budget_reserved", SECOND_US)]
        return granted, [_refusal(side, name, self._until_freed(name, spend), spent=True) for name in spent]

    def _is_idle(self, book: Book) -> bool:
        """Whether nothing runs, and everything that ran out is charged."""
        return self._charged_all and all(end <= self.now for end in book.live.values())

    def _until_freed(self, name: str, spend: Spend) -> int | None:
        match name:
            case "budget_day_nano":
                return (spend.day + 1) * DAY_US - self.now
            case "budget_month_nano":
                return next_month_starts(self.now // DAY_US) * DAY_US - self.now
            case _:
                return None

    def _hold(self, sides: tuple[_Side, _Side], demand: Demand, granted: int, usual_output: int) -> Hold:
        output = demand.output_tokens
        if output is None:
            output = self.means.get(demand.model, usual_output)
        output = min(output, granted * demand.answers)
        nano = 0
        if any(side.limits.has_budget for side in sides):
            assert demand.worst_input_nano is not None
            nano = demand.worst_input_nano + granted * demand.output_nano_per_token
        return Hold(input_tokens=demand.input_tokens, output_tokens=output, nano=nano)

    def _take(
        self, request_id: str, key_id: str, sides: tuple[_Side, _Side], demand: Demand, granted: int, hold: Hold
    ) -> None:
        for side in sides:
            rates = self._refilled(side)
            if rates.left:
                rates.take(requests=1, input=hold.input_tokens, output=hold.output_tokens)
                side.book.rates = rates
            if any(one.limits.has_budget for one in sides):
                side.book.spend = Spend.at(self.now, side.book.spend)
                side.book.spend.add(0, hold.nano)
            side.book.live[request_id] = self.now + LEASE_US
        self.leases[request_id] = Lease(
            "A",
            key_id,
            demand.model,
            input=hold.input_tokens,
            output=hold.output_tokens,
            reserved=hold.nano,
            told_input=hold.input_tokens,
            told_cost=demand.input_nano,
            max_tokens=granted,
        )

    def _verdict(self, sides: tuple[_Side, _Side], **fields: object) -> Verdict:
        return Verdict(
            requests=self._gauge(sides, ("requests",)),
            tokens=self._gauge(sides, ("input", "output")),
            budget_left=(self._budget_left(sides[0]), self._budget_left(sides[1])),
            **fields,  # type: ignore[arg-type]
        )

    def _gauge(self, sides: tuple[_Side, _Side], classes: tuple[str, ...]) -> Gauge | None:
        gauges = []
        for side in sides:
            left = {name: balance for name, balance in self._refilled(side).left.items() if name in classes}
            bounds = {name: getattr(side.limits, RATES[name]) for name in left}
            if left:
                full_us = max(math.ceil(Fraction(bounds[name] * UNIT - left[name], bounds[name])) for name in left)
                rest = sum(max(0, balance // UNIT) for balance in left.values())
                gauges.append(Gauge(limit=sum(bounds.values()), left=rest, full_in_s=full_us / SECOND_US))
        return min(gauges, key=lambda gauge: gauge.left, default=None)

    def _budget_left(self, side: _Side) -> int | None:
        spend = Spend.at(self.now, side.book.spend)
        left = spend.left(side.limits)
        return max(0, min(left.values()) - spend.reserved) if left else None

    # Leases

    def _charge_leases_that_ran_out(self) -> None:
        ended = sorted((end, request_id) for request_id, end in self.book(TENANT).live.items() if end <= self.now)
        self._charged_all = len(ended) < SWEEP
        for _, request_id in ended[:SWEEP]:
            del self.book(TENANT).live[request_id]
            lease = self.leases.get(request_id)
            if lease is None or lease.state != "A":
                continue
            self.book(lease.key_id).live.pop(request_id, None)
            for whose in (lease.key_id, TENANT):
                self._correct(whose, 0, lease.told_input - lease.input, lease.told_output - lease.output)
                self._spend(self.book(whose), lease.told_cost, -lease.reserved)
            self._use(lease.key_id, lease.model, 1, lease, estimated=lease.told_cost)
            lease.state, lease.input, lease.output = "X", lease.told_input, lease.told_output
            lease.charged, lease.reserved = lease.told_cost, 0

    def renew(self, request_id: str, key_id: str, model: str, *, hold: Hold, use: Use, max_tokens: int) -> bool:
        """What ``limits.renew`` says."""
        lease = self.leases.get(request_id)
        if lease is not None and lease.state == "S":
            return False
        input_tokens = output_tokens = spent = reserved = 0
        if lease is None:
            lease = self.leases[request_id] = Lease("A", key_id, model, max_tokens=max_tokens)
            input_tokens, output_tokens, reserved = hold.input_tokens, hold.output_tokens, hold.nano
        elif lease.state == "X":
            self._use(key_id, lease.model, -1, lease, estimated=lease.charged)
            spent, reserved = -lease.charged, hold.nano
        lease.told_input = use.input_tokens + use.cache_write_tokens
        lease.told_output, lease.told_cost = use.output_tokens, use.nano
        input_tokens = max(0, input_tokens, lease.told_input - lease.input)
        output_tokens = max(0, output_tokens, lease.told_output - lease.output)
        for whose in (key_id, TENANT):
            self._correct(whose, 0, input_tokens, output_tokens)
            self._spend(self.book(whose), spent, reserved)
            self.book(whose).live[request_id] = self.now + LEASE_US
        lease.state = "A"
        lease.input += input_tokens
        lease.output += output_tokens
        lease.reserved += reserved
        lease.charged += spent
        return True

    # Settlement

    def settle(self, request_id: str, key_id: str, model: str, use: Use, *, admitted: bool, again: bool) -> bool:
        """Whether ``limits.settle`` counts it."""
        lease = self.leases.get(request_id)
        if lease is not None and lease.state == "S":
            return False
        if lease is None and admitted and again:
            return False
        taken = 1 if lease is not None else use.requests if admitted else 0
        lease = lease or Lease("A")
        for whose in (key_id, TENANT):
            self._correct(
                whose,
                use.requests - taken,
                use.input_tokens + use.cache_write_tokens - lease.input,
                use.output_tokens - lease.output,
            )
            self._spend(self.book(whose), use.nano - lease.charged, -lease.reserved)
            self.book(whose).live.pop(request_id, None)
        if lease.state == "X":
            self._use(key_id, model, -1, lease, estimated=lease.charged)
        counts = {
            "requests": use.requests,
            "hits": use.cache_hits,
            "input": use.input_tokens,
            "cache_write": use.cache_write_tokens,
            "cache_read": use.cache_read_tokens,
            "output": use.output_tokens,
            "cost": use.nano,
            "estimated": use.nano if use.estimated else 0,
        }
        self._count(key_id, model, counts)
        if use.complete:
            mean = self.means.get(model)
            step = 0 if mean is None else Fraction(use.output_tokens - mean, 8)
            self.means[model] = use.output_tokens if mean is None else round(mean + step)
        self.leases[request_id] = Lease("S")
        return True

    # Both

    def _correct(self, whose: str, requests: int, input_tokens: int, output_tokens: int) -> None:
        rates = self.book(whose).rates
        if rates is not None:
            rates.take(requests=requests, input=input_tokens, output=output_tokens)

    def _spend(self, book: Book, spent: int, reserved: int) -> None:
        if spent or reserved:
            book.spend = Spend.at(self.now, book.spend)
            book.spend.add(spent, reserved)

    def _use(self, key_id: str, model: str, sign: int, lease: Lease, *, estimated: int) -> None:
        """Adds what a lease last reported to the usage of the day, or takes it away again."""
        counts = {
            "requests": 1,
            "input": lease.told_input,
            "output": lease.told_output,
            "cost": lease.told_cost,
            "estimated": estimated,
        }
        self._count(key_id, model, {name: sign * count for name, count in counts.items()})

    def _count(self, key_id: str, model: str, counts: dict[str, int]) -> None:
        usage = self.usage.setdefault((key_id, self.now // DAY_US), {})
        for name, count in counts.items():
            usage[model, name] = usage.get((model, name), 0) + count


def _refusal(side: _Side, limit: str, wait_us: int | None, *, spent: bool = False) -> Refusal:
    return Refusal(
        whose=side.whose,
        limit=limit,
        retry_after_s=None if wait_us is None else wait_us / SECOND_US,
        spent=spent,
    )


def _wait(refusal: Refusal) -> float:
    return math.inf if refusal.retry_after_s is None else refusal.retry_after_s
