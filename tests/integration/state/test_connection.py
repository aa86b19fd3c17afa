"""The interface of the store, on both of its implementations."""

from __future__ import annotations

import asyncio

import pytest

from app.errors import StateError, StateUnavailable
from app.state.connection import StateConnection
from app.state.scripts import ScriptCall, script_from_text

ECHO = script_from_text("echo", b"return {KEYS[1], ARGV[1]}")
CLOCK = script_from_text("clock", b"return redis.call('TIME')")


async def test_bytes_come_back_as_they_went_in(state: StateConnection) -> None:
    every_byte = bytes(range(256))
    await state.call("SET", "key", every_byte, "EX", 60)
    assert await state.call("GET", "key") == every_byte


async def test_replies_have_the_types_of_the_wire(state: StateConnection) -> None:
    assert await state.call("SET", "text", "value", "EX", 60) == b"OK"
    assert await state.call("GET", "absent") is None
    assert await state.call("HSET", "hash", "field", 1) == 1
    assert await state.call("HGETALL", "hash") == [b"field", b"1"]
    assert await state.call("MGET", "text", "absent") == [b"value", None]


async def test_a_refused_command_is_an_error_without_its_arguments(state: StateConnection) -> None:
    await state.call("SET", "text", "value", "EX", 60)
    with pytest.raises(StateError) as caught:
        await state.call("LPUSH", "text", "a secret")
    assert not isinstance(caught.value, StateUnavailable)
    assert "WRONGTYPE" in caught.value.message
    assert "a secret" not in caught.value.message


async def test_an_unknown_command_does_not_quote_its_arguments(state: StateConnection) -> None:
    with pytest.raises(StateError) as caught:
        await state.call("NOSUCHCOMMAND", "a secret")
    assert "secret" not in caught.value.message
    assert "NOSUCHCOMMAND" not in caught.value.message


async def test_a_pipeline_answers_in_order_with_errors_as_values(state: StateConnection) -> None:
    await state.call("SET", "text", "value", "EX", 60)
    first, second, third, fourth = await state.pipeline(
        [("GET", "text"), ("LPUSH", "text", 1), ScriptCall(ECHO, ("k",), ("a",)), ("GET", "absent")]
    )
    assert first == b"value"
    assert isinstance(second, StateError)
    assert third == [b"k", b"a"]
    assert fourth is None


async def test_an_empty_pipeline_has_no_replies(state: StateConnection) -> None:
    assert await state.pipeline([]) == []


async def test_a_script_the_server_never_saw_is_loaded(state: StateConnection) -> None:
    assert await state.run_script(ECHO, ("key",), ("value",)) == [b"key", b"value"]


async def test_script_flush_fails_no_call(state: StateConnection) -> None:
    async def caller(number: int) -> None:
        for turn in range(25):
            assert await state.run_script(ECHO, (f"k{number}",), (turn,)) == [f"k{number}".encode(), b"%d" % turn]

    async def flusher() -> None:
        for _ in range(25):
            await state.call("SCRIPT", "FLUSH")

    await asyncio.gather(flusher(), *(caller(number) for number in range(16)))


async def test_script_flush_fails_no_pipeline(state: StateConnection) -> None:
    async def caller(number: int) -> None:
        for turn in range(25):
            replies = await state.pipeline(
                [("GET", "absent"), ScriptCall(ECHO, (f"k{number}",), (turn,)), ("ECHO", number)]
            )
            assert replies == [None, [f"k{number}".encode(), b"%d" % turn], b"%d" % number]

    async def flusher() -> None:
        for _ in range(25):
            await state.call("SCRIPT", "FLUSH")

    await asyncio.gather(flusher(), *(caller(number) for number in range(16)))


async def test_large_values_come_back_whole(state: StateConnection) -> None:
    large = bytes(range(256)) * 4 * 1024 * 4
    await state.call("SET", "large", large, "EX", 60)
    assert await state.call("GET", "large", large=True) == large


async def test_many_callers_get_their_own_replies(state: StateConnection) -> None:
    async def caller(number: int) -> None:
        for turn in range(20):
            canary = f"{number}:{turn}"
            assert await state.call("ECHO", canary) == canary.encode()

    await asyncio.gather(*(caller(number) for number in range(64)))


async def test_closed_means_every_call_fails_at_once(state: StateConnection) -> None:
    await state.call("SET", "key", "value", "EX", 60)
    await state.close()
    assert not state.available
    with pytest.raises(StateUnavailable):
        await state.call("GET", "key")
    with pytest.raises(StateUnavailable):
        await state.pipeline([("GET", "key")])
    with pytest.raises(StateUnavailable):
        await state.run_script(CLOCK, ())


async def test_a_store_that_answers_is_available(state: StateConnection) -> None:
    await state.call("PING")
    assert state.available
    assert state.status.connected
    assert state.status.breaker == "closed"
