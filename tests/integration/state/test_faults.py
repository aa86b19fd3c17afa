"""What the connection does when the server, the network or the callers misbehave (DESIGN.md sections 3 and 4)."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.errors import StateError, StateUnavailable
from app.state import connect, keys
from app.state.connection import StateConnection
from app.state.scripts import ScriptCall, script_from_text
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.redis import RedisServer, RedisServers

TIMEOUT_S = 0.25
#: What a call may take beyond its deadline.
GRACE_S = 0.1
#: How soon a recovery must be noticed.
RECOVERY_S = 2.0

Start = Callable[..., StateConnection]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """``start(url, **options)`` opens a connection that is closed after the test."""
    opened: list[StateConnection] = []

    def open_(url: str, **options: Any) -> StateConnection:
        opened.append(connect(url, **options))
        return opened[-1]

    yield open_
    for state in opened:
        await state.close()


@asynccontextmanager
async def proxied(
    server: RedisServer, start: Start, **options: Any
) -> AsyncIterator[tuple[FaultProxy, StateConnection]]:
    """A connection to ``server`` that goes through a fault proxy, and is established."""
    async with fault_proxy(server.socket_file) as proxy:
        state = start(f"redis://127.0.0.1:{proxy.port}", **options)
        await state.call("PING")
        yield proxy, state


async def seconds_until_answered(state: StateConnection, limit_s: float = 5.0) -> float:
    """How long a caller that keeps trying waits for the first good answer."""
    started_at = time.monotonic()
    while time.monotonic() - started_at < limit_s:
        try:
            await state.call("ECHO", "back")
        except StateUnavailable:
            await asyncio.sleep(0.01)
        else:
            return time.monotonic() - started_at
    pytest.fail(f"no answer within {limit_s} s: {state.status}")


async def seconds_until(condition: Callable[[], bool], limit_s: float = 5.0) -> float:
    """How long it takes for a condition to come about by itself."""
    started_at = time.monotonic()
    while not condition():
        assert time.monotonic() - started_at < limit_s, "it never came about"
        await asyncio.sleep(0.01)
    return time.monotonic() - started_at


async def timed(call: Awaitable[object]) -> tuple[float, object]:
    """Seconds a call took, and its reply or the error it raised."""
    started_at = time.monotonic()
    try:
        reply = await call
    except StateError as error:
        return time.monotonic() - started_at, error
    return time.monotonic() - started_at, reply


async def attempt(state: StateConnection, *words: Any) -> tuple[float, object]:
    """A call and how long it took, also when it fails before it is sent."""
    return await timed(_call(state, *words))


async def _call(state: StateConnection, *words: Any) -> object:
    return await state.call(*words)


# The server dies


async def test_the_first_call_may_come_before_the_server(redis_servers: RedisServers, start: Start) -> None:
    server = redis_servers()
    server.kill()
    server.socket_file.unlink(missing_ok=True)
    state = start(server.url)
    _, error = await attempt(state, "PING")
    assert isinstance(error, StateUnavailable)
    server.start()
    assert await seconds_until_answered(state) < RECOVERY_S


async def test_kill_fails_calls_in_flight_at_once(server: RedisServer, start: Start) -> None:
    state = start(server.url, timeout_s=10.0)
    await state.call("PING")
    server.freeze()
    calls = [asyncio.ensure_future(state.call("ECHO", number)) for number in range(20)]
    await asyncio.sleep(0.05)
    started_at = time.monotonic()
    server.kill()
    replies = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(reply, StateUnavailable) for reply in replies)
    assert time.monotonic() - started_at < 0.5


async def test_a_restarted_server_is_used_again_within_two_seconds(server: RedisServer, start: Start) -> None:
    state = start(server.url)
    await state.call("PING")
    server.kill()
    await seconds_until(lambda: not state.available)
    server.start()
    assert await seconds_until_answered(state) < RECOVERY_S


async def test_recovery_is_noticed_without_traffic(server: RedisServer, start: Start) -> None:
    state = start(server.url)
    await state.call("PING")
    server.kill()
    await seconds_until(lambda: not state.available)
    await asyncio.sleep(1.2)
    server.start()
    assert await seconds_until(lambda: state.available) < RECOVERY_S


async def test_a_restart_between_two_calls_fails_neither(server: RedisServer, start: Start) -> None:
    script = script_from_text("one", b"return 1")
    state = start(server.url, timeout_s=2.0)
    assert await state.run_script(script, ()) == 1
    server.kill()
    await seconds_until(lambda: not state.status.connected)
    server.start()
    assert await state.run_script(script, ()) == 1


async def test_while_the_server_is_away_calls_fail_at_once(server: RedisServer, start: Start) -> None:
    state = start(server.url)
    await state.call("PING")
    server.kill()
    await seconds_until(lambda: not state.available)
    started_at = time.monotonic()
    for _ in range(1000):
        with pytest.raises(StateUnavailable):
            await state.call("PING")
    assert time.monotonic() - started_at < 0.1
    assert state.status.refused >= 1000


# The server hangs


async def test_a_frozen_server_costs_a_deadline_and_then_nothing(server: RedisServer, start: Start) -> None:
    state = start(server.url, timeout_s=TIMEOUT_S)
    await state.call("PING")
    server.freeze()
    outcomes = await asyncio.gather(*(attempt(state, "ECHO", number) for number in range(10)))
    assert all(isinstance(error, StateUnavailable) for _, error in outcomes)
    assert all(TIMEOUT_S <= seconds < TIMEOUT_S + GRACE_S for seconds, _ in outcomes)
    seconds, error = await attempt(state, "PING")
    assert isinstance(error, StateUnavailable)
    assert seconds < 0.01
    server.thaw()
    assert await seconds_until_answered(state) < RECOVERY_S


async def test_a_long_freeze_is_recovered_from_as_fast_as_a_short_one(server: RedisServer, start: Start) -> None:
    state = start(server.url, timeout_s=TIMEOUT_S)
    await state.call("PING")
    server.freeze()
    for _ in range(3):
        await attempt(state, "PING")
    await asyncio.sleep(3.0)
    server.thaw()
    assert await seconds_until(lambda: state.available) < RECOVERY_S


async def test_replies_that_come_after_the_deadline_reach_nobody(server: RedisServer, start: Start) -> None:
    async with proxied(server, start, timeout_s=TIMEOUT_S) as (proxy, state):
        proxy.freeze()
        late = await asyncio.gather(*(attempt(state, "ECHO", f"late {number}") for number in range(2)))
        assert all(isinstance(error, StateUnavailable) for _, error in late)
        proxy.thaw()
        replies = await asyncio.gather(*(state.call("ECHO", number) for number in range(20)))
        assert replies == [b"%d" % number for number in range(20)]
        assert proxy.accepted == 1


async def test_no_call_outlives_its_deadline_on_a_slow_network(server: RedisServer, start: Start) -> None:
    async with proxied(server, start, timeout_s=TIMEOUT_S) as (proxy, state):
        proxy.delay_s = 0.4
        for _ in range(3):
            outcomes = await asyncio.gather(*(attempt(state, "ECHO", number) for number in range(30)))
            assert max(seconds for seconds, _ in outcomes) < TIMEOUT_S + GRACE_S
            assert all(isinstance(error, StateUnavailable) for _, error in outcomes)
        proxy.delay_s = 0.0
        assert await seconds_until_answered(state) < RECOVERY_S


async def test_a_slow_network_within_the_deadline_is_no_failure(server: RedisServer, start: Start) -> None:
    async with proxied(server, start, timeout_s=TIMEOUT_S) as (proxy, state):
        proxy.delay_s = 0.05
        assert await asyncio.gather(*(state.call("ECHO", number) for number in range(30)))
        assert state.status.failures == 0


async def test_a_black_hole_is_left_for_a_new_connection(server: RedisServer, start: Start) -> None:
    async with proxied(server, start, timeout_s=TIMEOUT_S) as (proxy, state):
        proxy.black_hole = True
        for _ in range(3):
            seconds, error = await attempt(state, "PING")
            assert isinstance(error, StateUnavailable)
            assert seconds < TIMEOUT_S + GRACE_S
        await asyncio.sleep(1.5)
        proxy.black_hole = False
        assert await seconds_until(lambda: state.available) < RECOVERY_S
        assert await state.call("ECHO", "back") == b"back"


async def test_a_stalled_loop_reads_its_socket_before_it_judges(server: RedisServer, start: Start) -> None:
    state = start(server.url, timeout_s=TIMEOUT_S)
    await state.call("PING")
    calls = [asyncio.ensure_future(state.call("ECHO", number)) for number in range(50)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    time.sleep(2 * TIMEOUT_S)  # noqa: ASYNC251 - the stall
    assert await asyncio.gather(*calls) == [b"%d" % number for number in range(50)]
    assert state.status.failures == 0


async def test_a_stalled_loop_does_not_take_a_busy_connection_for_a_dead_one(server: RedisServer, start: Start) -> None:
    async with proxied(server, start, timeout_s=TIMEOUT_S) as (proxy, state):
        state.call("ECHO", "abandoned").cancel()  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        time.sleep(1.5)  # noqa: ASYNC251 - the stall
        assert await state.call("ECHO", "next") == b"next"
        assert proxy.accepted == 1


# The connection breaks


async def test_a_cut_connection_fails_what_was_in_flight_and_nothing_else(server: RedisServer, start: Start) -> None:
    async with proxied(server, start, timeout_s=2.0) as (proxy, state):
        proxy.freeze()
        cut = asyncio.ensure_future(state.call("ECHO", "cut"))
        await asyncio.sleep(0.05)
        proxy.reset_all()
        with pytest.raises(StateUnavailable):
            await cut
        proxy.thaw()
        assert await state.call("ECHO", "next") == b"next"
        assert proxy.accepted == 2


@pytest.mark.parametrize("cut_after_bytes", [1, 5, 60, 700, 1500])
async def test_a_reply_cut_in_the_middle_reaches_nobody(
    server: RedisServer, start: Start, cut_after_bytes: int
) -> None:
    async with proxied(server, start, timeout_s=TIMEOUT_S) as (proxy, state):
        canaries = [f"{number}".encode() * 50 for number in range(20)]
        proxy.cut_after_bytes = cut_after_bytes
        replies = await asyncio.gather(*(state.call("ECHO", canary) for canary in canaries), return_exceptions=True)
        assert all(
            reply == canary or isinstance(reply, StateUnavailable)
            for reply, canary in zip(replies, canaries, strict=True)
        )
        assert any(isinstance(reply, StateUnavailable) for reply in replies)
        proxy.cut_after_bytes = None
        assert await seconds_until_answered(state) < RECOVERY_S


async def test_a_refused_reconnection_is_tried_again(server: RedisServer, start: Start) -> None:
    async with proxied(server, start) as (proxy, state):
        await proxy.refuse()
        proxy.reset_all()
        await seconds_until(lambda: not state.available)
        await proxy.accept()
        assert await seconds_until(lambda: state.available) < RECOVERY_S


async def test_attempts_to_connect_are_bounded(server: RedisServer, start: Start) -> None:
    async with proxied(server, start) as (proxy, state):
        proxy.cut_after_bytes = 0
        proxy.reset_all()
        await asyncio.sleep(3.0)
        assert proxy.accepted <= 10
        assert not state.available


async def test_a_server_that_talks_nonsense_is_left(start: Start) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    state = start(f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
    _, error = await attempt(state, "PING")
    assert isinstance(error, StateUnavailable)
    listener.close()


# Who we are


async def test_a_wrong_password_is_told_and_not_shown(redis_servers: RedisServers, start: Start) -> None:
    server = redis_servers("--requirepass", "right")
    state = start(server.url.replace("unix://", "unix://:wrong-secret@"))
    _, error = await attempt(state, "PING")
    assert isinstance(error, StateUnavailable)
    assert "password" in error.message
    assert "wrong-secret" not in f"{error.message} {state.status} {error!r}"


async def test_a_missing_password_is_told(redis_servers: RedisServers, start: Start) -> None:
    server = redis_servers("--requirepass", "right")
    state = start(server.url)
    _, error = await attempt(state, "PING")
    assert isinstance(error, StateUnavailable)
    assert "asks for a password" in error.message


async def test_a_password_for_a_server_without_one_is_told(server: RedisServer, start: Start) -> None:
    state = start(server.url.replace("unix://", "unix://:needless@"))
    _, error = await attempt(state, "PING")
    assert isinstance(error, StateUnavailable)
    assert "it has no password" in error.message


async def test_a_database_that_does_not_exist_is_told(server: RedisServer, start: Start) -> None:
    state = start(server.url + "?db=99")
    _, error = await attempt(state, "PING")
    assert isinstance(error, StateUnavailable)
    assert "it has no such database" in error.message


async def test_user_password_database_and_name_are_used(redis_servers: RedisServers, start: Start) -> None:
    server = redis_servers(*["--user", "gateway", "on", ">p@ss", "~*", "+@all"], "--requirepass", "other")
    state = start(server.url.replace("unix://", "unix://gateway:p%40ss@") + "?db=3", client_name="worker-7")
    info = await state.call("CLIENT", "INFO")
    assert b"user=gateway" in info
    assert b"db=3" in info
    assert b"name=worker-7" in info


async def test_a_user_that_may_not_name_its_connection_is_served(redis_servers: RedisServers, start: Start) -> None:
    server = redis_servers(*["--user", "gateway", "on", ">secret", "~cw:*", "+@all", "-client"])
    state = start(server.url.replace("unix://", "unix://gateway:secret@"))
    assert await state.call("GET", keys.PROBE) == b"1"


# The server refuses


async def test_a_replica_is_left_and_the_new_primary_found(redis_servers: RedisServers, start: Start) -> None:
    server = redis_servers()
    state = start(server.url)
    await state.call("SET", "key", "value", "EX", 60)
    server.ask("REPLICAOF", "127.0.0.1", "1")
    for _ in range(3):
        _, error = await attempt(state, "SET", "key", "other", "EX", 60)
        assert isinstance(error, StateUnavailable)
    await seconds_until(lambda: not state.available)
    server.ask("REPLICAOF", "NO", "ONE")
    assert await seconds_until(lambda: state.available) < RECOVERY_S
    assert await state.call("SET", "key", "other", "EX", 60) == b"OK"


async def test_a_server_out_of_memory_still_reads(redis_servers: RedisServers, start: Start) -> None:
    server = redis_servers("--maxmemory-policy", "noeviction")
    state = start(server.url)
    await state.call("SET", "key", "value", "EX", 60)
    server.ask("CONFIG", "SET", "maxmemory", "1")
    for _ in range(5):
        with pytest.raises(StateUnavailable, match="out of memory"):
            await state.call("SET", "key", "other", "EX", 60)
        assert await state.call("GET", "key") == b"value"
    assert state.available


async def test_a_server_busy_with_a_script_counts_as_away(redis_servers: RedisServers, start: Start) -> None:
    server = redis_servers("--busy-reply-threshold", "50")
    state = start(server.url)
    other = start(server.url, timeout_s=5.0)
    await state.call("PING")
    endless = asyncio.ensure_future(timed(other.run_script(script_from_text("endless", b"while true do end"), ())))
    await seconds_until(lambda: server.ask("PING") != b"PONG")
    outcomes = [await attempt(state, "PING") for _ in range(4)]
    assert {str(error) for _, error in outcomes} == {
        "The state store is not available: it is busy with a script (BUSY)."
    }
    assert not state.available
    server.ask("SCRIPT", "KILL")
    await endless
    assert await seconds_until(lambda: state.available) < RECOVERY_S


# The callers misbehave


async def test_cancelled_callers_never_shift_the_replies(server: RedisServer, start: Start) -> None:
    state = start(server.url, timeout_s=5.0)
    script = script_from_text("echo", b"return ARGV[1]")
    dice = random.Random(4)
    answered = cancelled = 0

    async def caller(number: int) -> None:
        nonlocal answered
        canary = f"canary-{number}".encode()
        match number % 4:
            case 0:
                assert await state.call("ECHO", canary) == canary
            case 1:
                assert await state.run_script(script, (), (canary,)) == canary
            case 2:
                assert await state.pipeline([("ECHO", canary), ScriptCall(script, (), (canary,))]) == [canary, canary]
            case _:
                large = canary * 8000
                assert await state.call("ECHO", large) == large
        answered += 1

    for wave in range(100):
        tasks = [asyncio.ensure_future(caller(wave * 50 + number)) for number in range(50)]
        for _ in range(dice.randrange(5)):
            await asyncio.sleep(0)
        for task in tasks:
            if dice.random() < 0.5:
                task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, asyncio.CancelledError):
                cancelled += 1
            else:
                assert outcome is None
        if wave % 10 == 0:
            await state.call("SCRIPT", "FLUSH")
    assert cancelled > 1000
    assert answered > 1000
    assert state.status.failures == 0


async def test_the_queue_has_a_bound_and_beyond_it_calls_fail_at_once(server: RedisServer, start: Start) -> None:
    state = start(server.url, timeout_s=1.0, queue_limit=100)
    await state.call("PING")
    server.freeze()
    outcomes = await asyncio.gather(*(attempt(state, "ECHO", number) for number in range(150)))
    assert sum(seconds < 0.5 for seconds, _ in outcomes) == 50
    assert state.status.in_flight <= 101
    server.thaw()


async def test_the_bound_holds_while_nothing_is_connected(redis_servers: RedisServers, start: Start) -> None:
    async with fault_proxy(redis_servers().socket_file) as proxy:
        proxy.freeze()
        state = start(f"redis://127.0.0.1:{proxy.port}", timeout_s=0.3, queue_limit=10)
        outcomes = await asyncio.gather(*(attempt(state, "PING") for _ in range(15)))
        assert sum(seconds < 0.1 for seconds, _ in outcomes) == 5


async def test_calls_that_wait_for_a_connection_keep_their_deadline(redis_servers: RedisServers, start: Start) -> None:
    async with fault_proxy(redis_servers().socket_file) as proxy:
        proxy.freeze()
        state = start(f"redis://127.0.0.1:{proxy.port}", timeout_s=TIMEOUT_S)
        seconds, error = await attempt(state, "PING")
        assert isinstance(error, StateUnavailable)
        assert TIMEOUT_S <= seconds < TIMEOUT_S + GRACE_S


async def test_closing_lets_calls_in_flight_finish(server: RedisServer, start: Start) -> None:
    async with proxied(server, start, timeout_s=2.0) as (proxy, state):
        proxy.delay_s = 0.05
        call = asyncio.ensure_future(state.call("ECHO", "last"))
        await asyncio.sleep(0)
        await state.close()
        assert call.done()
        assert await call == b"last"


async def test_a_large_reply_does_not_stand_before_a_small_call(server: RedisServer, start: Start) -> None:
    async with proxied(server, start, timeout_s=5.0) as (_, state):
        await state.call("SET", "large", b"x" * 30_000_000, "EX", 60)
        large = asyncio.ensure_future(state.call("GET", "large", large=True))
        await asyncio.sleep(0)
        await state.call("PING")
        assert not large.done()
        assert len(await large) == 30_000_000


async def test_a_killed_large_connection_comes_back_when_it_is_needed(server: RedisServer, start: Start) -> None:
    async with proxied(server, start, timeout_s=TIMEOUT_S) as (proxy, state):
        large = b"x" * 100_000
        assert await state.call("ECHO", large) == large
        server.ask("CLIENT", "KILL", "TYPE", "NORMAL")
        await seconds_until(lambda: proxy.accepted == 3)
        await state.call("PING")
        assert proxy.accepted == 3
        assert await state.call("ECHO", large) == large
        assert proxy.accepted == 4


async def test_a_dead_large_connection_is_left_though_the_small_one_works(server: RedisServer, start: Start) -> None:
    async with proxied(server, start, timeout_s=TIMEOUT_S) as (proxy, state):
        large = b"x" * 100_000
        assert await state.call("ECHO", large) == large
        proxy.dead_links.add(2)
        started_at = time.monotonic()
        while isinstance((await timed(state.call("ECHO", large)))[1], StateError):
            assert await state.call("ECHO", "small") == b"small"
            assert time.monotonic() - started_at < RECOVERY_S
        assert proxy.accepted == 3


async def test_commands_of_one_turn_leave_in_one_write(server: RedisServer, start: Start) -> None:
    state = start(server.url)
    await state.call("PING")
    first, second = _reads(server), _reads(server)
    await asyncio.gather(*(state.call("ECHO", number) for number in range(50)))
    assert _reads(server) - second == second - first + 1


def _reads(server: RedisServer) -> int:
    info = server.ask("INFO", "stats")
    assert isinstance(info, bytes)
    lines = dict(line.split(b":", 1) for line in info.split(b"\r\n") if b":" in line)
    return int(lines[b"total_reads_processed"])
