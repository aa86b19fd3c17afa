"""Whatever stands in the limiter's keys, its scripts answer: what cannot be read counts as absent, and heals."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.limits import Limits, Use
from app.errors import StateError
from app.state import connect, keys
from app.state.connection import StateConnection
from tests.support.ledger_model import DAY_US, LEASE_US
from tests.support.limiter import MODEL, TAG, Limiter, demand, presented
from tests.support.redis import RedisServer
from tests.support.server_clock import START_US, ClockedState
from tests.support.stored_ledger import everything

KEY_ID = "key1"
CALLER = presented(KEY_ID)
BOUNDS = Limits(
    requests_per_minute=1000,
    input_tokens_per_minute=10_000,
    output_tokens_per_minute=10_000,
    concurrency=100,
    budget_day_nano=10_000,
    budget_month_nano=20_000,
    budget_total_nano=30_000,
)

STRINGS = {
    "rates": keys.rates(TAG, KEY_ID),
    "rates of the tenant": keys.rates(TAG, keys.TENANT),
    "spend": keys.spend(TAG, KEY_ID),
    "spend of the tenant": keys.spend(TAG, keys.TENANT),
    "lease": keys.lease(TAG, "r1"),
    "mean": keys.mean(TAG, MODEL),
}
FIELDS = ("hash", "prev", "prev_until_us", "expires_us", "revoked", "version", "scopes", "models", "limits", "doc")

_words = st.one_of(
    st.sampled_from(
        ["", "-", "A", "X", "S", "0", "1", "-1", "nan", "-nan", "inf", "-inf", "1e3", "0x10", "1.5", "--5"]
    ),
    st.integers(-(10**17), 10**17).map(str),
    st.text(max_size=5),
)
#: As many as a balance, a spend, limits and what a lease has behind its model, or any other number.
_lines = st.one_of(
    st.lists(_words, max_size=13), *(st.lists(_words, min_size=size, max_size=size) for size in (4, 6, 7, 9))
).map(" ".join)
_damage = st.one_of(
    st.binary(max_size=40),
    _lines.map(str.encode),
    _lines.map(lambda words: f"A {KEY_ID} {MODEL} {words}".encode()),
).filter(lambda damage: damage != b"S")  # a lease that is settled

_SETTINGS = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return "memory://"
    server: RedisServer = request.getfixturevalue("shared_server")
    return server.url


def on_an_empty_store(url: str, body: Callable[[StateConnection], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        state = connect(url, timeout_s=5.0)
        try:
            await state.call("FLUSHALL")
            await body(state)
        finally:
            await state.close()

    asyncio.run(run())


async def a_request_of_each_kind(limiter: Limiter) -> None:
    """Leaves a value under every name: one request settled, ``r1`` running, the record of the key."""
    caller = await limiter.stored_key(KEY_ID)
    assert (await limiter.admit("r0", caller=caller)).admitted
    assert await limiter.settle("r0", key_id=KEY_ID)
    assert (await limiter.admit("r1", caller=caller)).admitted
    assert await limiter.state.call("EXISTS", *STRINGS.values()) == len(STRINGS)


async def everything_answers(limiter: Limiter, clock: ClockedState) -> None:
    """Every script runs to its end, on what is there and after leases have run out."""
    assert await limiter.admit("r1", caller=CALLER)
    await limiter.renew("r1", Use(output_tokens=5, nano=5), key_id=KEY_ID)
    assert await limiter.admit("r2", demand(output_tokens=None), caller=CALLER)
    clock.now_us += LEASE_US
    assert await limiter.admit("r3", caller=CALLER)
    for request_id in ("r1", "r2", "r3"):
        await limiter.settle(request_id, key_id=KEY_ID)


@pytest.mark.parametrize("where", STRINGS)
@_SETTINGS
@given(damage=_damage)
def test_a_damaged_string_breaks_no_script(url: str, where: str, damage: bytes) -> None:
    async def body(state: StateConnection) -> None:
        clock = ClockedState(state)
        limiter = Limiter(clock, own=BOUNDS, tenant=BOUNDS)
        await a_request_of_each_kind(limiter)
        await state.call("SET", STRINGS[where], damage, "EX", 60)
        await everything_answers(limiter, clock)

    on_an_empty_store(url, body)


@pytest.mark.parametrize("field", FIELDS)
@_SETTINGS
@given(damage=_damage | st.none())
def test_a_damaged_record_breaks_no_script(url: str, field: str, damage: bytes | None) -> None:
    async def body(state: StateConnection) -> None:
        clock = ClockedState(state)
        limiter = Limiter(clock, own=BOUNDS, tenant=BOUNDS)
        await a_request_of_each_kind(limiter)
        record = keys.api_key(TAG, KEY_ID)
        await (state.call("HDEL", record, field) if damage is None else state.call("HSET", record, field, damage))
        if field in ("doc", "version", "expires_us", "scopes", "models", "limits"):
            return await refused_or_answered(limiter)
        await everything_answers(limiter, clock)
        return None

    on_an_empty_store(url, body)


async def refused_or_answered(limiter: Limiter) -> None:
    """What the key may do cannot be read: that is an error of the store, and no other."""
    with contextlib.suppress(StateError):
        await limiter.admit("r2", caller=CALLER)


@_SETTINGS
@given(damage=_damage)
def test_damaged_usage_is_counted_anew_and_charges_once(url: str, damage: bytes) -> None:
    async def body(state: StateConnection) -> None:
        limiter = Limiter(ClockedState(state), own=BOUNDS, tenant=BOUNDS)
        await a_request_of_each_kind(limiter)
        day = f"{keys.usage(TAG, KEY_ID)}{START_US // DAY_US}"
        await state.call("HSET", day, f"{MODEL} cost", damage)
        assert await limiter.settle("r1", key_id=KEY_ID)
        assert not await limiter.settle("r1", key_id=KEY_ID, again=True)
        spend = (await state.call("GET", keys.spend(TAG, KEY_ID))).split()
        assert spend[4:] == [b"104", b"0"]
        counted = int(await state.call("HGET", day, f"{MODEL} cost"))
        assert counted == 52 + (int(damage) if is_count(damage) else 0)

    on_an_empty_store(url, body)


def is_count(value: bytes) -> bool:
    """Whether Redis reads it as a number."""
    try:
        return str(int(value)).encode() == value
    except ValueError:
        return False


@pytest.mark.parametrize("where", STRINGS)
@pytest.mark.parametrize("damage", [b"", b"damaged", b"1 2", b"nan nan nan nan nan nan", b"\xff\x00 \xfe"])
def test_what_cannot_be_read_counts_as_absent(url: str, where: str, damage: bytes) -> None:
    async def body(state: StateConnection) -> None:
        clock = ClockedState(state)
        limiter = Limiter(clock, own=BOUNDS, tenant=BOUNDS)
        outcomes = []
        for value in (damage, None):
            await state.call("FLUSHALL")
            await a_request_of_each_kind(limiter)
            name = STRINGS[where]
            await (state.call("DEL", name) if value is None else state.call("SET", name, value, "EX", 60))
            await limiter.settle("r1", key_id=KEY_ID)
            verdict = await limiter.admit("r2", demand(output_tokens=None), caller=CALLER)
            outcomes.append((verdict, await everything(state)))
        assert outcomes[0] == outcomes[1]

    on_an_empty_store(url, body)


@pytest.mark.parametrize("word", [b"nan", b"inf", b"-inf", b"-5", b"1.5", b"many", b""])
def test_limits_that_cannot_be_read_let_nobody_in(url: str, word: bytes) -> None:
    async def body(state: StateConnection) -> None:
        limiter = Limiter(ClockedState(state), own=BOUNDS)
        await limiter.stored_key(KEY_ID)
        await state.call("HSET", keys.api_key(TAG, KEY_ID), "limits", b" ".join([word] * 4 + [b"700"] * 3))
        with pytest.raises(StateError, match="cannot be read"):
            await limiter.admit("r1", caller=CALLER)

    on_an_empty_store(url, body)


def test_a_rate_of_zero_is_none_and_falls_back_to_the_default(url: str) -> None:
    async def body(state: StateConnection) -> None:
        verdicts = []
        for stored in (b"0", b"-"):
            limiter = Limiter(ClockedState(state), own=BOUNDS)
            await state.call("FLUSHALL")
            await limiter.stored_key(KEY_ID)
            await state.call("HSET", keys.api_key(TAG, KEY_ID), "limits", b" ".join([stored] * 4 + [b"700"] * 3))
            verdicts.append(await limiter.admit("r1", caller=CALLER))
        assert verdicts[0] == verdicts[1]
        assert verdicts[0].requests is not None
        assert (verdicts[0].requests.limit, verdicts[0].budget_left) == (1000, (580, None))

    on_an_empty_store(url, body)
