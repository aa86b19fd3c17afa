"""Every key that the state room writes has the time to live that ``keys.py`` declares, on both stores."""

from __future__ import annotations

import re
from typing import Literal

import pytest

from app.config import Config
from app.domain import minutes
from app.domain.alert_book import AlertBook
from app.domain.limits import Limits, Use
from app.schemas.admin import KeyChanges, NewKey
from app.state import api_keys, connect, keys
from app.state.alerts import write_alerts
from app.state.answers import Slot, join_flight, land_flight
from app.state.connection import StateConnection
from app.state.exhausted import ExhaustedBudget, exhausted_commands
from app.state.figures import WorkerFigures
from app.state.guesses import GuessBook
from app.state.kept_answers import keep_command
from app.state.leader import lead
from app.state.minutes import add_minute_command
from app.state.request_log import add_records_commands
from app.state.secret import shared_secret
from app.state.watched import seated_commands, watch_commands
from tests.support.ledger_model import DAY_US, LEASE_US
from tests.support.limiter import TAG, Limiter
from tests.support.redis import RedisServer
from tests.support.server_clock import ClockedState
from tests.support.session_store import SessionStore, turn
from tests.support.stored_ledger import TTLS_S, kind_of, lasting_keys, times_to_live, undeclared_ttls
from tests.support.worker_figures import publish

NOW = 1_800_000_000.0
BOUNDS = Limits(requests_per_minute=10, concurrency=5, budget_total_nano=10_000)
EXHAUSTED = ExhaustedBudget(tenant="acme", key_id="key1", period="total", budget_nano=10_000)


async def write_all_there_is(state: StateConnection) -> None:
    """One key of each kind, those of the connection itself apart."""
    await publish(state, WorkerFigures(worker_id="a", host="host", pid=1, started_at=1.0, version="1.0"))
    await shared_secret(state)
    await state.pipeline(
        [
            add_minute_command({minutes.REQUESTS: 1}, {minutes.REPLICAS: 1}),
            *add_records_commands([b"{}"]),
            *watch_commands({("acme", "key1"): BOUNDS}, NOW),
            *seated_commands([TAG], NOW),
            *exhausted_commands({EXHAUSTED: NOW + 3600}, NOW),
        ]
    )
    assert (await lead(state, "monitor")).is_held
    assert await write_alerts(state, AlertBook(), token="monitor")
    await GuessBook(state, per_minute=5).wrong("203.0.113.5", 0.0)
    issued = await api_keys.create(state, NewKey(tenant="acme"), actor="test:1", now=NOW)
    await api_keys.update(state, issued.key.id, KeyChanges(name="other"), actor="test:1", now=NOW)
    await api_keys.rotate(state, issued.key.id, grace_s=60.0, actor="test:1", now=NOW)
    await api_keys.revoke(state, issued.key.id, actor="test:1", now=NOW)
    limiter = Limiter(state, own=BOUNDS, tenant=BOUNDS)
    await limiter.admit("r1")
    await limiter.admit("r2")
    await limiter.settle("r1")
    store = SessionStore(state)
    await store.add("s1", turn())
    await store.seat()
    await state.call(*keep_command("acme", "toolu_1", b"[]"))
    ttls: dict[Literal["answer", "once"], int] = {
        "answer": Config().cache_ttl,
        "once": Config().idempotency_ttl,
    }
    for kind, ttl_s in ttls.items():
        await land_flight(state, Slot(kind, "acme", kind), "r1", value=b"answer", fingerprint=b"", ttl_s=ttl_s)
    script, names, args = join_flight(
        Slot("answer", "acme", "other"), "r1", channel="c", fingerprint=b"", max_age_s=None
    )
    await state.run_script(script, names, args)


async def test_every_kind_of_key_has_its_declared_time_to_live(state: StateConnection) -> None:
    await write_all_there_is(state)
    ttls = await times_to_live(state)
    assert {kind_of(name) for name in ttls} | {"probe"} == set(TTLS_S)
    assert undeclared_ttls(ttls.items()) == []


def test_every_kind_of_the_table_has_its_time_to_live_here() -> None:
    table = re.findall(r"^\| ``(cw:\{[^`]+)``", keys.__doc__ or "", re.MULTILINE)
    assert table
    assert {kind_of(name.replace("{<tag>}", "{tag}")) for name in table} == set(TTLS_S)


async def test_everything_that_is_written_again_lives_on(state: StateConnection) -> None:
    clock = ClockedState(state)
    limiter = Limiter(clock, own=BOUNDS, tenant=BOUNDS)
    await limiter.admit("r1")
    for name in await state.call("KEYS", "*"):
        await state.call("EXPIRE", name, 10)
    await limiter.renew("r1", Use(output_tokens=5))
    await limiter.admit("r2")
    assert undeclared_ttls((await times_to_live(state)).items()) == []
    clock.now_us += LEASE_US
    await limiter.admit("r3")
    await limiter.settle("r1")
    await limiter.settle("sum", Use(nano=5, requests=3), admitted=False)
    await limiter.renew("lost")
    assert undeclared_ttls((await times_to_live(state)).items()) == []


async def test_usage_of_a_day_lives_from_its_first_entry_of_each_kind(state: StateConnection) -> None:
    clock = ClockedState(state)
    limiter = Limiter(clock)
    await limiter.settle("r1", Use(nano=5), admitted=False)
    day = f"{keys.usage(TAG, 'jwt-abc')}{clock.now_us // DAY_US}"
    assert keys.USAGE_TTL_S - 60 <= await state.call("TTL", day) <= keys.USAGE_TTL_S


@pytest.mark.parametrize("name", ["cw:{abc}:rates:v1:x", "cw:{_}:workers:v1", "cw:{_}:keys:v1x", "cw:{_}:new:v1"])
def test_a_key_of_ours_without_a_time_to_live_is_found(shared_server: RedisServer, name: str) -> None:
    shared_server.ask("FLUSHALL")
    shared_server.ask("SET", name, "1")
    shared_server.ask("SET", "cw:{abc}:key:v1:x", "1")
    shared_server.ask("SET", keys.KEY_INDEX, "1")
    shared_server.ask("SET", "of somebody else", "1")
    shared_server.ask("SET", "cw:{abc}:spend:v1:x", "1", "EX", 100)
    assert lasting_keys(shared_server.ask) == [name]
    shared_server.ask("FLUSHALL")


async def test_the_connection_itself_leaves_only_its_probe(server: RedisServer) -> None:
    state = connect(server.url, timeout_s=5.0)
    await state.call("PING")
    await state.close()
    assert lasting_keys(server.ask) == []
    assert server.ask("KEYS", "*") == [keys.PROBE.encode()]
    assert undeclared_ttls([(keys.PROBE, int(str(server.ask("TTL", keys.PROBE))))]) == []
