"""Who is let in: the store's verdicts as permits and errors, and what holds while it is away."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from typing import Any

import msgspec
import pytest

from app.config import Config
from app.domain.auth import ApiKey, Caller, tenant_tag
from app.domain.limits import NO_LIMITS, Demand, Hold, Limits
from app.domain.local_limits import LocalBook
from app.errors import (
    InvalidRequest,
    PermissionDenied,
    RateLimited,
    StateError,
    StateUnavailable,
    Unauthenticated,
)
from app.gateway import admission
from app.gateway.admission import ALONE_S, TOLD_EVERY_S, USUAL_OUTPUT_TOKENS, Admission, AdmissionSettings
from app.gateway.ledger import NOTHING_USED, Ledger, Permit
from app.state.error_replies import error_from_reply
from app.state.exhausted import NEVER_FREES_S
from app.state.key_memory import KeyMemory
from app.state.limits import TENANT, Account
from app.translate.error_meaning import meaning_of
from tests.support.scripted_state import ScriptedState

TAG = tenant_tag("acme")
SECRET = hashlib.sha256(b"the key").digest()
KEY = ApiKey(id="key-1", tenant="acme", name="a", secret_hash=SECRET.hex(), version=3)
STORED = Caller(source="stored", tenant="", tag=TAG, key_id="key-1", scopes=(), secret_hash=SECRET, verified=False)
KNOWN = Caller(source="file", tenant="acme", tag=TAG, key_id="file-1", authenticated=True)
DEMAND = Demand(
    model="claude-opus-5-5",
    model_names=("claude-opus-5-5", "opus"),
    input_tokens=10,
    input_nano=500,
    output_tokens=50,
    worst_input_nano=1_000,
    output_nano_per_token=20,
    max_tokens=50,
    least_tokens=5,
)
NO_ANSWER = StateUnavailable("It did not answer in time.", retry_after_s=2)
SEVEN_LIMITS = Limits(
    requests_per_minute=1_000,
    input_tokens_per_minute=2_000,
    output_tokens_per_minute=3_000,
    concurrency=4,
    budget_day_nano=5_000_000_000,
    budget_month_nano=60_500_000_000,
    budget_total_nano=1,
)


def verdict(
    word: bytes = b"admitted",
    *,
    refused: bytes = b"",
    wait_us: int = -1,
    key: ApiKey | None = None,
    requests: tuple[int, int, int] = (-1, -1, -1),
    tokens: tuple[int, int, int] = (-1, -1, -1),
    granted: int = 50,
    left: tuple[int, int] = (-1, -1),
    held: tuple[int, int, int] = (10, 50, 2_000),
) -> list[Any]:
    """A reply of ``admit.lua``, without the id."""
    version, document = (0, b"") if key is None else (key.version, msgspec.json.encode(key))
    return [word, refused, wait_us, version, document, *requests, *tokens, granted, *left, *held]


def limited(refused: str, wait_us: int = -1, **numbers: Any) -> list[Any]:
    return verdict(b"limited", refused=refused.encode(), wait_us=wait_us, held=(0, 0, 0), granted=0, **numbers)


class Setup:
    """An admission over a scripted store, with a clock that is set by hand."""

    def __init__(self, *answers: Any, **settings: Any) -> None:
        self.state = ScriptedState(*answers)
        self.now_s = 1_000_000.0
        ids = itertools.count(1)
        store: Any = self.state
        local = LocalBook()
        self.ledger = Ledger(store, local, new_id=lambda: f"p{next(ids)}", monotonic=self.clock)
        self.memory = KeyMemory(now=self.clock)
        self.admission = Admission(
            store,
            AdmissionSettings(**settings),
            ledger=self.ledger,
            memory=self.memory,
            local=local,
            now=self.clock,
            monotonic=self.clock,
        )

    def clock(self) -> float:
        return self.now_s

    async def admit(self, caller: Caller = KNOWN, demand: Demand = DEMAND, **asked: Any) -> Permit:
        self.now_s += 0.001
        return await self.admission.admit(caller, demand, **asked)

    async def refused(self, kind: type[Any], caller: Caller = KNOWN, demand: Demand = DEMAND, **asked: Any) -> Any:
        with pytest.raises(kind) as caught:
            await self.admit(caller, demand, **asked)
        return caught.value

    def remember(self, key: ApiKey = KEY) -> None:
        self.memory.remember(TAG, key, asked_at=self.now_s)

    @property
    def words(self) -> Any:
        """The arguments of the last admission, see ``admit.lua``; counted from 1 as there."""
        return (None, *self.state.calls("admit")[-1].args)

    @property
    def given_back(self) -> list[Any]:
        """The ids of leases that were given back."""
        return [one.args[0] for one in self.state.calls("settle") if one.args[12] == 0]


# Let in


async def test_a_permit_says_what_is_held_and_how_the_rates_stand() -> None:
    setup = Setup(verdict(requests=(60, 59, 1_000_000), tokens=(5_000, 4_940, 720_000), granted=40))
    permit = await setup.admit()
    assert (permit.id, permit.account, permit.tenant) == ("p1", Account(TAG, "file-1"), "acme")
    assert (permit.model, permit.max_tokens) == ("claude-opus-5-5", 40)
    assert permit.hold == Hold(input_tokens=10, output_tokens=50, nano=2_000)
    assert (permit.admitted, permit.degraded, permit.held) == (True, False, None)
    assert permit.headers == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "5000",
        "x-ratelimit-remaining-tokens": "4940",
        "x-ratelimit-reset-tokens": "720ms",
    }
    assert setup.ledger.open_permits == 1


async def test_one_round_trip_asks_everything() -> None:
    setup = Setup(
        verdict(), key=Limits(requests_per_minute=60, concurrency=9), tenant=Limits(output_tokens_per_minute=70)
    )
    await setup.admit(msgspec.structs.replace(KNOWN, limits=Limits(concurrency=2)))
    assert [one.script for one in setup.state.asked] == ["admit"]
    words = setup.words
    assert words[1:8] == (b"p1", "file-1", b"", 0, "inference", "claude-opus-5-5\nopus", "60 - - 2 - - -")
    assert words[8] == "- - 70 - - - -"
    assert words[9:12] == (10, 50, USUAL_OUTPUT_TOKENS)
    assert words[13:17] == (1_000, 20, 50, 5)


async def test_what_the_file_says_of_a_tenant_comes_before_the_default() -> None:
    setup = Setup(verdict(), tenant=Limits(concurrency=9, requests_per_minute=8))
    setup.admission.tenants = {TAG: Limits(concurrency=3)}
    await setup.admit()
    assert setup.words[8] == "8 - - 3 - - -"


async def test_a_call_without_a_bound_asks_for_the_mean_and_without_a_worst_case() -> None:
    setup = Setup(verdict())
    await setup.admit(demand=msgspec.structs.replace(DEMAND, output_tokens=None, worst_input_nano=None))
    assert (setup.words[10], setup.words[13]) == ("-", "-")


async def test_a_stored_key_is_checked_by_the_store_and_learned_from_it() -> None:
    setup = Setup(verdict(key=KEY), verdict())
    permit = await setup.admit(STORED)
    assert (permit.tenant, permit.account) == ("acme", Account(TAG, "key-1"))
    assert (setup.words[3], setup.words[4]) == (SECRET, 0)
    assert setup.memory.recall(TAG, "key-1", SECRET) == KEY
    again = await setup.admit(STORED)
    assert (again.tenant, setup.words[4]) == ("acme", KEY.version)


# Refused: the key


@pytest.mark.parametrize(
    ("word", "kind", "code", "says"),
    [
        (b"unknown_key", Unauthenticated, "invalid_api_key", "does not know it"),
        (b"revoked", Unauthenticated, "invalid_api_key", "was revoked"),
        (b"expired", Unauthenticated, "invalid_api_key", "has expired"),
        (b"scope", PermissionDenied, "permission_denied", "does not have the scope 'inference'"),
        (b"model", PermissionDenied, "model_not_allowed", "may not use the model claude-opus-5-5"),
    ],
)
async def test_what_is_wrong_with_a_key_is_said(word: bytes, kind: type, code: str, says: str) -> None:
    setup = Setup([word])
    error = await setup.refused(kind, STORED)
    assert (error.code, setup.ledger.open_permits) == (code, 0)
    assert says in error.message


@pytest.mark.parametrize(
    ("word", "still_known"),
    [(b"unknown_key", False), (b"revoked", False), (b"expired", False), (b"scope", True), (b"model", True)],
)
async def test_a_key_that_is_good_no_more_is_forgotten(word: bytes, still_known: bool) -> None:
    setup = Setup([word])
    setup.remember()
    await setup.refused(Exception, STORED)
    assert (setup.memory.recall(TAG, "key-1", SECRET) is not None) is still_known


async def test_what_a_known_caller_may_not_do_is_not_even_asked() -> None:
    setup = Setup()
    error = await setup.refused(PermissionDenied, msgspec.structs.replace(KNOWN, scopes=("admin",)))
    assert error.message == "This API key does not have the scope 'inference', which this request needs."
    error = await setup.refused(PermissionDenied, msgspec.structs.replace(KNOWN, models=("haiku",)))
    assert (error.param, error.code) == ("model", "model_not_allowed")
    assert "GET /v1/usage" in error.message
    await setup.refused(PermissionDenied, scope="admin")
    assert setup.state.asked == []


async def test_a_model_may_be_allowed_by_another_of_its_names() -> None:
    await Setup(verdict()).admit(msgspec.structs.replace(KNOWN, models=("opus",)))


# Refused: limits

LIMITED = [
    ("key.requests", 2_030_000, "This API key is at its limit of 1,000 requests per minute. Please try again in 3s."),
    ("key.input", 500_000, "This API key is at its limit of 2,000 input tokens per minute. Please try again in 1s."),
    ("key.output", 1_000, "This API key is at its limit of 3,000 output tokens per minute. Please try again in 1s."),
    ("key.concurrency", 1_000_000, "This API key is at its limit of 4 requests at the same time. "
     "Please try again in 1s."),
    ("tenant.requests", 1_000_000, "This tenant is at its limit of 1,000 requests per minute. Please try again in 1s."),
    ("key.budget_day", 3_600_000_000, "This API key has a budget of 5 USD per day (UTC), and what is left of it does "
     "not cover this request. Please try again in 3600s."),
    ("tenant.budget_month", 86_400_000_000, "This tenant has a budget of 60.5 USD per calendar month (UTC), and what "
     "is left of it does not cover this request. Please try again in 86400s."),
    ("key.budget_total", -1, "This API key has a budget of 0.000000001 USD in all, and what is left of it does not "
     "cover this request."),
    ("key.budget_reserved", 1_000_000, "The rest of the budget of this API key is held by requests that are running. "
     "Please try again in 1s."),
    ("tenant.budget_reserved", 1_000_000, "The rest of the budget of this tenant is held by requests that are running. "
     "Please try again in 1s."),
]  # fmt: skip


@pytest.mark.parametrize(("refused", "wait_us", "says"), LIMITED)
async def test_each_limit_says_whose_it_is_its_number_and_when_it_frees_up(
    refused: str, wait_us: int, says: str
) -> None:
    setup = Setup(limited(refused, wait_us), key=SEVEN_LIMITS, tenant=SEVEN_LIMITS)
    error = await setup.refused(RateLimited)
    assert error.message == says
    assert error.retry_after_s == (None if wait_us < 0 else wait_us / 1e6)
    is_spent = refused.partition(".")[2] in ("budget_day", "budget_month", "budget_total")
    assert error.spent is is_spent
    assert error.code == ("insufficient_quota" if is_spent else "rate_limit_exceeded")
    assert setup.ledger.open_permits == 0


@pytest.mark.parametrize(
    ("refused", "wait_us", "noted", "anew_in_s"),
    [
        ("key.budget_day", 3_600_000_000, ("file-1", "day", 5_000_000_000), 3600.0),
        ("tenant.budget_month", 86_400_000_000, (TENANT, "month", 60_500_000_000), 86_400.0),
        ("key.budget_total", -1, ("file-1", "total", 1), NEVER_FREES_S),
    ],
)
async def test_a_budget_that_refuses_is_noted_until_it_starts_anew(
    refused: str, wait_us: int, noted: tuple[str, str, int], anew_in_s: float
) -> None:
    setup = Setup(limited(refused, wait_us), limited(refused, wait_us), key=SEVEN_LIMITS, tenant=SEVEN_LIMITS)
    await setup.refused(RateLimited)
    await setup.refused(RateLimited)
    [(budget, anew_at)] = setup.admission.take_exhausted().items()
    assert (budget.tenant, budget.key_id, budget.period, budget.budget_nano) == ("acme", *noted)
    assert anew_at == setup.now_s + anew_in_s
    assert setup.admission.take_exhausted() == {}


@pytest.mark.parametrize("refused", ["key.requests", "tenant.concurrency", "key.budget_reserved"])
async def test_what_will_pass_by_itself_is_no_used_up_budget(refused: str) -> None:
    setup = Setup(limited(refused, 1_000_000), key=SEVEN_LIMITS, tenant=SEVEN_LIMITS)
    await setup.refused(RateLimited)
    assert setup.admission.take_exhausted() == {}


async def test_budgets_of_nothing_are_not_noted() -> None:
    setup = Setup(limited("key.budget_day", 1), key=Limits(budget_day_nano=0))
    await setup.refused(RateLimited)
    assert setup.admission.take_exhausted() == {}


async def test_a_used_up_budget_of_a_stored_key_is_that_of_its_record() -> None:
    key = msgspec.structs.replace(KEY, limits=Limits(budget_day_nano=70))
    setup = Setup(limited("key.budget_day", 1, key=key), key=Limits(budget_day_nano=90))
    await setup.refused(RateLimited, STORED)
    [budget] = setup.admission.take_exhausted()
    assert (budget.tenant, budget.key_id, budget.budget_nano) == ("acme", "key-1", 70)


async def test_used_up_budgets_are_noted_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MOST_BUDGETED", 3)
    setup = Setup(*[limited("key.budget_day", 1)] * 5, key=SEVEN_LIMITS)
    for number in range(5):
        await setup.refused(RateLimited, msgspec.structs.replace(KNOWN, key_id=f"file-{number}"))
    assert len(setup.admission.take_exhausted()) == 3


async def test_a_refusal_tells_the_numbers_in_headers() -> None:
    setup = Setup(limited("key.requests", 2_030_000, requests=(60, 0, 60_000_000)), key=SEVEN_LIMITS)
    assert meaning_of(await setup.refused(RateLimited)).headers == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1m0s",
        "retry-after": "3",
        "retry-after-ms": "2030",
    }


async def test_the_number_is_that_of_the_record_of_a_stored_key() -> None:
    key = msgspec.structs.replace(KEY, limits=Limits(requests_per_minute=7))
    setup = Setup(limited("key.requests", 1, key=key), limited("key.requests", 1), key=Limits(requests_per_minute=9))
    assert "7 requests per minute" in (await setup.refused(RateLimited, STORED)).message
    assert "7 requests per minute" in (await setup.refused(RateLimited, STORED)).message
    assert setup.words[4] == key.version  # a refusal has told it as well


async def test_the_number_is_the_default_of_a_key_that_sets_none() -> None:
    setup = Setup(limited("key.requests", 1, key=KEY), key=Limits(requests_per_minute=9))
    assert "9 requests per minute" in (await setup.refused(RateLimited, STORED)).message


async def test_under_a_budget_a_cost_without_a_bound_is_refused_with_its_reason() -> None:
    setup = Setup(verdict(b"unbounded"))
    demand = msgspec.structs.replace(DEMAND, worst_input_nano=None, unbounded="the price of x is not known")
    error = await setup.refused(InvalidRequest, demand=demand)
    assert error.code == "cost_unbounded"
    assert error.message == (
        "This API key has a budget, and the cost of this call cannot be bounded: the price of x is not known."
    )


# Cancelled


async def test_an_admission_that_nobody_waits_for_any_more_is_given_back() -> None:
    setup = Setup(...)
    waiting = asyncio.create_task(setup.admit())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert setup.given_back == [b"p1"]
    assert setup.ledger.open_permits == 0


# Without the store


async def test_without_the_store_a_known_caller_goes_on_and_is_told_so() -> None:
    setup = Setup(NO_ANSWER)
    permit = await setup.admit()
    assert (permit.degraded, permit.admitted, permit.asked) == (True, False, True)
    assert (permit.tenant, permit.max_tokens, permit.headers) == ("acme", 50, {})
    assert permit.hold == Hold(input_tokens=10, output_tokens=50, nano=1_000 + 50 * 20)
    assert setup.admission.alone_at == setup.now_s


async def test_who_decided_without_the_store_is_alone_for_a_little_while() -> None:
    setup = Setup(NO_ANSWER)
    assert not setup.admission.is_alone_lately
    await setup.admit()
    assert setup.admission.is_alone_lately
    setup.now_s += ALONE_S
    assert not setup.admission.is_alone_lately


async def test_a_store_that_is_known_to_be_away_has_not_been_asked() -> None:
    setup = Setup()
    setup.state.available = False
    permit = await setup.admit()
    assert (permit.degraded, permit.asked) == (True, False)


async def test_a_store_that_said_no_before_it_did_anything_has_admitted_nobody() -> None:
    setup = Setup(error_from_reply("OOM command not allowed when used memory > 'maxmemory'."))
    permit = await setup.admit()
    assert (permit.degraded, permit.asked) == (True, False)


async def test_the_call_that_finds_the_store_away_was_asked_all_the_same() -> None:
    setup = Setup(...)
    waiting = asyncio.create_task(setup.admit())
    await asyncio.sleep(0)
    setup.state.available = False  # the breaker opens at its deadline
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert setup.ledger.unsettled == 1


async def test_a_stored_key_that_was_seen_lately_goes_on() -> None:
    setup = Setup(NO_ANSWER)
    setup.remember()
    permit = await setup.admit(STORED)
    assert (permit.tenant, permit.degraded) == ("acme", True)


async def test_a_stored_key_that_was_not_seen_gets_503_and_what_it_may_hold_is_given_back() -> None:
    setup = Setup(NO_ANSWER)
    error = await setup.refused(StateUnavailable, STORED)
    assert (error.message, error.retry_after_s) == ("This API key cannot be checked now; please try again.", 1)
    assert setup.given_back == [b"p1"]


async def test_what_a_remembered_key_may_not_do_it_may_not_do_now() -> None:
    setup = Setup(NO_ANSWER, [b"settled"], NO_ANSWER)
    setup.remember(msgspec.structs.replace(KEY, models=("haiku",)))
    assert (await setup.refused(PermissionDenied, STORED)).code == "model_not_allowed"
    await setup.refused(PermissionDenied, STORED, scope="admin")
    assert setup.given_back == [b"p1", b"p2"]


@pytest.mark.parametrize(
    ("deployment", "key", "goes_on"),
    [
        ("fail_open", None, True),
        ("fail_closed", None, False),
        ("fail_closed", "fail_open", True),
        ("fail_open", "fail_closed", False),
    ],
)
async def test_the_policy_of_a_key_comes_before_that_of_the_deployment(
    deployment: str, key: Any, goes_on: bool
) -> None:
    setup = Setup(NO_ANSWER, outage=deployment)
    caller = msgspec.structs.replace(KNOWN, outage=key)
    if goes_on:
        assert (await setup.admit(caller)).degraded
        return
    error = await setup.refused(StateUnavailable, caller)
    assert "its policy is to refuse" in error.message
    assert error.retry_after_s == 2
    assert setup.given_back == [b"p1"]


async def test_a_remembered_key_has_the_policy_of_its_record() -> None:
    setup = Setup(NO_ANSWER)
    setup.remember(msgspec.structs.replace(KEY, outage="fail_closed"))
    await setup.refused(StateUnavailable, STORED)


async def admitted_alone(setup: Setup, times: int, caller: Caller = KNOWN) -> int:
    """How many of several requests go on while the store is away."""
    setup.state.available = False
    count = 0
    for _ in range(times):
        try:
            await setup.admit(caller)
        except RateLimited:
            continue
        count += 1
    return count


@pytest.mark.parametrize(("configured", "seen", "share"), [(0, 1, 6), (0, 3, 2), (2, 3, 3), (0, 0, 6), (100, 1, 1)])
async def test_a_worker_admits_its_share_of_a_limit(configured: int, seen: int, share: int) -> None:
    setup = Setup(key=Limits(concurrency=6), outage_workers=configured)
    setup.admission.workers_seen = seen
    assert await admitted_alone(setup, 10) == share


async def test_the_limits_of_the_tenant_hold_without_the_store_too() -> None:
    setup = Setup(tenant=Limits(requests_per_minute=2))
    assert await admitted_alone(setup, 5) == 2
    error = await setup.refused(RateLimited)
    assert error.message == (
        "This tenant is at its limit of 2 requests per minute. While the state store is away, each worker goes by its "
        "share of that, one in 1. Please try again in 30s."
    )
    assert (error.limit, error.headers, error.spent) == ("requests_per_minute", {}, False)


async def test_a_budget_is_not_overspent_without_the_store() -> None:
    setup = Setup(verdict(left=(5_000, -1)), key=Limits(budget_total_nano=1_000_000))
    setup.ledger.settle(await setup.admit(), NOTHING_USED)
    assert await admitted_alone(setup, 5) == 2  # 2000 each at worst, of the 5000 that were left
    error = await setup.refused(RateLimited)
    assert (error.limit, error.spent, error.retry_after_s) == ("budget_total_nano", False, 1)


async def test_a_budget_near_its_end_lowers_the_bound_without_the_store_too() -> None:
    setup = Setup(key=Limits(budget_total_nano=1_999))
    setup.state.available = False
    demand = msgspec.structs.replace(DEMAND, least_tokens=1)
    permit = await setup.admit(demand=demand)
    affordable = (1_999 - (DEMAND.worst_input_nano or 0)) // DEMAND.output_nano_per_token
    assert permit.max_tokens == affordable < DEMAND.max_tokens


async def test_a_share_of_a_budget_that_covers_nothing_is_no_spent_budget() -> None:
    setup = Setup(key=Limits(budget_total_nano=1))
    setup.state.available = False
    error = await setup.refused(RateLimited)
    assert (error.spent, error.retry_after_s) == (False, 5)
    assert error.message.startswith("This API key has a budget of 0.000000001 USD in all, and what is left of it does")
    assert "While the state store is away, each worker goes by its share of that, one in 1." in error.message


async def test_under_a_budget_a_cost_without_a_bound_is_refused_without_the_store_too() -> None:
    setup = Setup(NO_ANSWER, key=Limits(budget_day_nano=10**9))
    demand = msgspec.structs.replace(DEMAND, worst_input_nano=None, unbounded="because")
    assert (await setup.refused(InvalidRequest, demand=demand)).code == "cost_unbounded"
    assert setup.given_back == [b"p1"]


async def test_what_is_refused_without_the_store_is_given_back_where_the_store_was_asked() -> None:
    setup = Setup(NO_ANSWER, NO_ANSWER, key=Limits(requests_per_minute=1))
    await setup.admit()
    await setup.refused(RateLimited)
    assert setup.given_back == [b"p2"]


async def test_without_a_bound_the_usual_output_is_expected() -> None:
    setup = Setup(NO_ANSWER, NO_ANSWER)
    long = msgspec.structs.replace(DEMAND, output_tokens=None, max_tokens=16_000)
    short = msgspec.structs.replace(DEMAND, output_tokens=None, max_tokens=20)
    assert (await setup.admit(demand=long)).hold.output_tokens == USUAL_OUTPUT_TOKENS
    assert (await setup.admit(demand=short)).hold.output_tokens == 20


async def test_once_the_store_knows_everything_again_the_own_count_starts_anew() -> None:
    setup = Setup(verdict(), key=Limits(requests_per_minute=1))
    assert await admitted_alone(setup, 2) == 1
    setup.state.available = True
    setup.ledger.settle(await setup.admit(), NOTHING_USED)
    assert await admitted_alone(setup, 2) == 1


async def test_a_store_that_answers_and_cannot_be_used_is_told_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    setup = Setup(*[StateError("The store refused the script.")] * 3)
    await setup.admit()
    await setup.admit()
    assert caplog.messages == ["The store refused the script. Requests are decided without it."]
    setup.now_s += TOLD_EVERY_S
    await setup.admit()
    assert len(caplog.messages) == 2


async def test_of_a_store_that_is_away_its_connection_tells(caplog: pytest.LogCaptureFixture) -> None:
    await admitted_alone(Setup(), 3)
    assert caplog.messages == []


# Settings


def test_what_is_set_to_nothing_is_no_limit() -> None:
    assert AdmissionSettings.of(Config()) == AdmissionSettings(key=NO_LIMITS, tenant=NO_LIMITS)


def test_the_settings_are_limits_in_nano_dollars() -> None:
    config = Config(
        default_rpm=1,
        default_input_tpm=2,
        default_output_tpm=3,
        default_concurrency=4,
        default_budget_day=0.5,
        default_budget_month=6,
        default_budget_total=0.000000007,
        tenant_rpm=8,
        tenant_budget_day=9.25,
        outage_policy="fail_closed",
        outage_workers=10,
    )
    assert AdmissionSettings.of(config) == AdmissionSettings(
        key=Limits(
            requests_per_minute=1,
            input_tokens_per_minute=2,
            output_tokens_per_minute=3,
            concurrency=4,
            budget_day_nano=500_000_000,
            budget_month_nano=6_000_000_000,
            budget_total_nano=7,
        ),
        tenant=Limits(requests_per_minute=8, budget_day_nano=9_250_000_000),
        outage="fail_closed",
        outage_workers=10,
    )
