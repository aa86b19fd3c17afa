"""The limiter against a plain model of it, step by step: what every call answers and everything that is stored.

Hypothesis makes up the requests of one tenant with three API keys and a bearer without one: admissions, renewals and
settlements in any order and again, limits that change, time that passes, goes back, or skips to the next month, leases
that are lost. The clock is the test's (``tests/support/server_clock.py``), so nothing is approximate.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from app.domain.auth import ApiKey, Caller, tenant_tag
from app.domain.limits import NO_LIMITS, Demand, Hold, Limits, Use
from app.errors import StateError
from app.state import connect, keys, limits
from app.state.limit_words import limit_words
from app.state.limits import TENANT, Account, Verdict
from tests.support.ledger_model import DAY_US, LEASE_US, SECOND_US, LedgerModel, Spend, next_month_starts
from tests.support.redis import RedisServer
from tests.support.server_clock import START_US, ClockedState
from tests.support.stored_ledger import assert_same, read_ledger, times_to_live, undeclared_ttls, write_key

T = TypeVar("T")

TENANT_NAME = "acme"
TAG = tenant_tag(TENANT_NAME)
KEY_IDS = ("key1", "key2", "key3")
#: A caller whose limits come with it, such as the bearer of a JWT.
KNOWN = "jwt-abc"
MODELS = ("claude-opus-5", "claude-haiku-4-5")

MAX_RATE = 100_000_000
MAX_BUDGET = 10**15


def _secret(key_id: str) -> bytes:
    return hashlib.sha256(key_id.encode()).digest()


# Mostly roomy: what is refused leaves nothing to renew and to settle.
_rates = st.sampled_from([None, None, None, 1, 60, 1000, MAX_RATE, MAX_RATE])
_budgets = st.sampled_from([None, None, None, 0, 100, 5000, 10**6, MAX_BUDGET])
_limits = st.builds(
    Limits,
    requests_per_minute=_rates,
    input_tokens_per_minute=_rates,
    output_tokens_per_minute=_rates,
    concurrency=st.sampled_from([None, None, 1, 2, 100]),
    budget_day_nano=_budgets,
    budget_month_nano=_budgets,
    budget_total_nano=_budgets,
)
_tokens = st.sampled_from([0, 1, 2, 50, 1000, 200_000])
#: Requests by number: each has its caller and its model.
_numbers = st.integers(0, 7)
_hours = st.sampled_from(
    [1, SECOND_US, 4 * SECOND_US, 12 * SECOND_US, 12 * SECOND_US + 1, 60 * SECOND_US, 3600 * SECOND_US]
)
_uses = st.builds(
    Use,
    input_tokens=_tokens,
    cache_write_tokens=_tokens,
    cache_read_tokens=_tokens,
    output_tokens=_tokens,
    nano=st.sampled_from([0, 1, 90, 3000, 10**9]),
    estimated=st.booleans(),
    complete=st.booleans(),
)


@st.composite
def _demands(draw: st.DrawFn) -> Demand:
    max_tokens = draw(st.sampled_from([0, 1, 10, 100, 32_000]))
    answers = draw(st.integers(1, 3))
    price = draw(st.sampled_from([0, 1, 7])) * answers
    input_tokens = draw(_tokens)
    worst = draw(st.sampled_from([None, input_tokens, 2 * input_tokens, 2 * input_tokens, 2 * input_tokens + 5]))
    return Demand(
        model="",
        answers=answers,
        input_tokens=input_tokens,
        input_nano=input_tokens,
        output_tokens=draw(st.sampled_from([None, max_tokens * answers])),
        worst_input_nano=worst,
        output_nano_per_token=price,
        max_tokens=max_tokens,
        least_tokens=min(max_tokens, draw(st.sampled_from([0, 1, 5]))),
    )


class LimiterMachine(RuleBasedStateMachine):
    """Every step is made by the store and by the model."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.connection = connect(url, timeout_s=5.0)
        self.state = ClockedState(self.connection)
        self.model = LedgerModel(START_US)
        self.tenant = self.defaults = NO_LIMITS
        self.holds: dict[str, Hold] = {}
        self.lost_any = False

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    def teardown(self) -> None:
        self.run(self.connection.close())
        self.runner.close()

    def caller(self, number: int) -> Caller:
        who = number % 4
        if who == len(KEY_IDS):
            return Caller(tag=TAG, source="jwt", tenant=TENANT_NAME, key_id=KNOWN)
        key_id = KEY_IDS[who]
        return Caller(tag=TAG, source="stored", tenant="", key_id=key_id, secret_hash=_secret(key_id), verified=False)

    @initialize(own=st.tuples(*[_limits] * len(KEY_IDS)), defaults=_limits, tenant=_limits)
    def keys_are_made(self, own: tuple[Limits, ...], defaults: Limits, tenant: Limits) -> None:
        self.defaults, self.tenant = defaults, tenant
        for key_id, its in zip(KEY_IDS, own, strict=True):
            self.store(ApiKey(id=key_id, tenant=TENANT_NAME, name="", secret_hash=_secret(key_id).hex(), limits=its))

    def store(self, key: ApiKey) -> None:
        self.model.keys[key.id] = key
        self.run(write_key(self.connection, key))

    # What requests do

    @rule(number=_numbers, demand=_demands(), known_version=st.sampled_from([0, 1, 2]))
    def admit(self, number: int, demand: Demand, known_version: int) -> None:
        caller, request_id = self.caller(number), f"r{number}"
        demand = replace(demand, model=MODELS[number // 4])
        is_new = request_id not in self.model.leases
        expected = self.model.admit(
            request_id,
            caller.key_id,
            demand,
            tenant=self.tenant,
            defaults=self.defaults,
            secret_hash=caller.secret_hash,
            known_version=known_version,
        )
        answer = self.run(self.ask(request_id, caller, demand, known_version))
        assert answer == expected
        if answer is not None and answer.admitted:
            self.holds[request_id] = answer.hold
            if is_new:
                self.budgets_hold(caller.key_id)

    async def ask(self, request_id: str, caller: Caller, demand: Demand, known_version: int) -> Verdict | None:
        with contextlib.suppress(StateError):  # it was settled before it was admitted
            return await limits.admit(
                self.state,
                request_id,
                caller,
                demand,
                scope="inference",
                known_version=known_version,
                defaults=limit_words(self.defaults),
                tenant=limit_words(self.tenant),
                usual_output=1000,
            )
        return None

    @rule(number=_numbers, use=_uses)
    def renew(self, number: int, use: Use) -> None:
        account, request_id = Account(TAG, self.caller(number).key_id), f"r{number}"
        model, hold = MODELS[number // 4], self.holds.get(request_id, Hold())
        lost = request_id not in self.model.leases
        self.lost_any = self.lost_any or (lost and hold.nano > 0)
        expected = self.model.renew(request_id, account.key_id, model, hold=hold, use=use, max_tokens=7)
        renewing = limits.renew(self.state, request_id, account, model, hold=hold, use=use, max_tokens=7)
        assert self.run(renewing) == expected

    @rule(
        number=_numbers,
        use=_uses,
        requests=st.sampled_from([1, 1, 1, 0, 3]),
        hits=st.sampled_from([0, 0, 1, 2]),
        admitted=st.booleans(),
        again=st.booleans(),
    )
    def settle(self, number: int, use: Use, requests: int, hits: int, admitted: bool, again: bool) -> None:
        account, request_id = Account(TAG, self.caller(number).key_id), f"r{number}"
        model = MODELS[number // 4]
        use = replace(use if requests else Use(), requests=requests, cache_hits=hits)
        expected = self.model.settle(request_id, account.key_id, model, use, admitted=admitted, again=again)

        async def settled() -> Any:
            return await limits.settle(self.state, request_id, account, model, use, admitted=admitted, again=again)

        assert self.run(settled()) == [request_id.encode(), b"settled" if expected else b"already"]

    # What happens around them

    @rule(step=_hours)
    def time_passes(self, step: int) -> None:
        self.set_time(self.model.now + step)

    @rule(number=_numbers, demand=_demands())
    def leases_run_out(self, number: int, demand: Demand) -> None:
        self.set_time(self.model.now + LEASE_US)
        self.admit(number, demand, 1)

    @rule(days=st.sampled_from([1, 1, 31, 400]))
    def days_pass(self, days: int) -> None:
        self.set_time((self.model.now // DAY_US + days) * DAY_US)

    @rule(before=st.sampled_from([1, 0]))
    def the_month_ends(self, before: int) -> None:
        self.set_time(next_month_starts(self.model.now // DAY_US) * DAY_US - before)

    @rule(step=st.sampled_from([1, SECOND_US, 30 * SECOND_US, DAY_US, 40 * DAY_US]))
    def the_clock_goes_back(self, step: int) -> None:
        self.set_time(max(START_US - 365 * DAY_US, self.model.now - step))

    def set_time(self, now: int) -> None:
        self.model.now = self.state.now_us = now

    @rule(key_id=st.sampled_from(KEY_IDS), own=_limits)
    def a_key_gets_other_limits(self, key_id: str, own: Limits) -> None:
        key = self.model.keys[key_id]
        self.store(replace(key, limits=own, version=key.version + 1))

    @rule(tenant=_limits)
    def the_tenant_gets_other_limits(self, tenant: Limits) -> None:
        self.tenant = tenant

    @precondition(lambda self: self.model.leases)
    @rule(data=st.data())
    def a_lease_is_lost(self, data: st.DataObject) -> None:
        request_id = data.draw(st.sampled_from(sorted(self.model.leases)))
        lease = self.model.leases.pop(request_id)
        self.lost_any = self.lost_any or lease.reserved > 0
        self.run(_ask(self.connection, "DEL", keys.lease(TAG, request_id)))

    @rule()
    def everything_but_the_keys_is_lost(self) -> None:
        self.run(self.forget())
        kept, now = self.model.keys, self.model.now
        self.model = LedgerModel(now)
        self.model.keys = kept
        self.lost_any = True

    async def forget(self) -> None:
        for name in await self.connection.call("KEYS", f"cw:{{{TAG}}}:*"):
            if b":key:" not in name:
                await self.connection.call("DEL", name)

    # What must be true at any time

    @invariant()
    def the_store_agrees_with_the_model(self) -> None:
        assert_same(self.run(read_ledger(self.connection, TAG)), self.model)

    @invariant()
    def every_key_has_its_time_to_live(self) -> None:
        assert not undeclared_ttls(self.run(times_to_live(self.connection)).items())

    @invariant()
    def what_is_reserved_is_what_running_requests_hold(self) -> None:
        if self.lost_any:
            return
        running = [lease for lease in self.model.leases.values() if lease.state == "A"]
        for whose in (*KEY_IDS, KNOWN, TENANT):
            spend = self.model.book(whose).spend
            held = sum(lease.reserved for lease in running if whose in (TENANT, lease.key_id))
            assert (spend.reserved if spend else 0) == held

    def budgets_hold(self, key_id: str) -> None:
        """After an admission, what is spent and reserved is within every budget."""
        own = self.model.keys[key_id].limits.over(self.defaults) if key_id in self.model.keys else self.defaults
        for whose, its in ((key_id, own), (TENANT, self.tenant)):
            if its.has_budget:
                spend = Spend.at(self.model.now, self.model.book(whose).spend)
                assert min(spend.left(its).values()) >= spend.reserved


async def _ask(state: Any, *words: Any) -> Any:
    return await state.call(*words)


def _settings(examples: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


@pytest.mark.timeout(300)
def test_in_memory() -> None:
    run_state_machine_as_test(lambda: LimiterMachine("memory://"), settings=_settings(60))


@pytest.mark.timeout(300)
def test_on_a_server(shared_server: RedisServer) -> None:
    def on_an_empty_server() -> LimiterMachine:
        shared_server.ask("FLUSHALL")
        return LimiterMachine(shared_server.url)

    run_state_machine_as_test(on_an_empty_server, settings=_settings(200))
