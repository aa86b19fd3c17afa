"""Hearing a channel, on both stores, and what becomes of it when the server or the network fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.errors import StateError, StateUnavailable
from app.state import connect, keys
from app.state.connection import StateConnection
from app.state.pushes import Ear, PushListener
from app.state.scripts import script_from_text
from tests.integration.state.test_tls import certificate, proxy
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.redis import RedisServer, RedisServers

__all__ = ["certificate", "proxy"]

#: A message is heard, and a lost subscription replaced, within this on a machine that is not overloaded.
HEARD_S = 0.5
NOTICED_S = 5.0


class Listening:
    """A listener and what it has heard of the kind ``say``."""

    def __init__(self, state: StateConnection) -> None:
        self.messages: list[bytes] = []
        self.gaps = 0
        ear = Ear(channel=keys.PUSH_CHANNEL, kind=b"say", heard=self.messages.append, gap=self._gap)
        self.run = PushListener(state, ear).run

    def _gap(self) -> None:
        self.gaps += 1


async def until(condition: Callable[[], bool], limit_s: float = NOTICED_S) -> float:
    """Seconds until a condition comes about."""
    started_at = time.monotonic()
    while not condition():
        assert time.monotonic() - started_at < limit_s, "it never came about"
        await asyncio.sleep(0.005)
    return time.monotonic() - started_at


@asynccontextmanager
async def listening(state: StateConnection) -> AsyncIterator[Listening]:
    """A listener that has subscribed."""
    ear = Listening(state)
    task = asyncio.create_task(ear.run())
    try:
        await until(lambda: ear.gaps == 1 or task.done())
        yield ear
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[StateConnection]:
    state = connect(url)
    yield state
    await state.close()


def subscribers(server: RedisServer) -> int:
    """As the server counts them."""
    reply = server.ask("PUBSUB", "NUMSUB", keys.PUSH_CHANNEL)
    assert isinstance(reply, list)
    return int(reply[1])


# Both stores


async def test_what_is_published_is_heard_in_order(state: StateConnection) -> None:
    async with listening(state) as ear:
        for number in range(100):
            assert await state.call("PUBLISH", keys.PUSH_CHANNEL, f"say message {number}") == 1
        await until(lambda: len(ear.messages) == 100)
        assert ear.messages == [b"message %d" % number for number in range(100)]


async def test_every_byte_is_heard(state: StateConnection) -> None:
    async with listening(state) as ear:
        await state.call("PUBLISH", keys.PUSH_CHANNEL, b"say " + bytes(range(256)))
        await until(lambda: ear.messages)
        assert ear.messages == [bytes(range(256))]


async def test_what_a_script_publishes_is_heard(state: StateConnection) -> None:
    script = script_from_text("publish", b"return redis.call('PUBLISH', ARGV[1], ARGV[2])")
    async with listening(state) as ear:
        await state.run_script(script, (), (keys.PUSH_CHANNEL, "say from a script"))
        await until(lambda: ear.messages)
        assert ear.messages == [b"from a script"]


async def test_other_channels_are_not_heard(state: StateConnection) -> None:
    async with listening(state) as ear:
        await state.call("PUBLISH", "another", "say 1")
        await state.call("PUBLISH", keys.PUSH_CHANNEL, "say 2")
        await until(lambda: bool(ear.messages))
        assert ear.messages == [b"2"]


async def test_silence_is_no_gap(state: StateConnection) -> None:
    async with listening(state) as ear:
        await asyncio.sleep(3.0)
        await state.call("PUBLISH", keys.PUSH_CHANNEL, "say after it")
        await until(lambda: ear.messages == [b"after it"])
        assert ear.gaps == 1


@pytest.mark.parametrize("pause_s", [0.0, 0.0001, 0.001, 0.005, 1.0])
async def test_a_listener_ends_when_it_is_cancelled_at_any_moment(state: StateConnection, pause_s: float) -> None:
    for _ in range(2):
        task = asyncio.create_task(Listening(state).run())
        await asyncio.sleep(pause_s)
        publishing = asyncio.create_task(publish(state))
        await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=NOTICED_S)
        assert done
        assert task.cancelled()
        await publishing


async def publish(state: StateConnection) -> None:
    await state.call("PUBLISH", keys.PUSH_CHANNEL, "say meanwhile")


async def test_a_closed_store_is_not_listened_to(state: StateConnection) -> None:
    await state.close()
    with pytest.raises(StateUnavailable):
        await state.listen("channel", on_subscribed=pytest.fail, on_message=pytest.fail)


# A server


async def test_all_connections_hear_it_within_half_a_second(server: RedisServer) -> None:
    async with (
        connected(server.url) as first,
        connected(server.url) as second,
        listening(first) as one,
        listening(second) as other,
    ):
        await first.call("PUBLISH", keys.PUSH_CHANNEL, "say for all")
        assert await until(lambda: one.messages == other.messages == [b"for all"]) < HEARD_S


async def test_a_listener_that_ends_leaves_nothing_behind(server: RedisServer) -> None:
    async with connected(server.url) as state:
        async with listening(state):
            assert subscribers(server) == 1
        await until(lambda: subscribers(server) == 0)


async def test_databases_of_one_server_share_the_channel(server: RedisServer) -> None:
    async with connected(f"{server.url}?db=3") as third, listening(third) as ear:
        server.ask("PUBLISH", keys.PUSH_CHANNEL, "say from the first")
        await until(lambda: ear.messages == [b"from the first"])


async def test_user_and_password_are_used(redis_servers: RedisServers) -> None:
    server = redis_servers("--user", "gateway", "on", ">p@ss", "~*", "&cw:*", "+@all", "-client")
    async with connected(server.url.replace("unix://", "unix://gateway:p%40ss@")) as state, listening(state) as ear:
        await state.call("PUBLISH", keys.PUSH_CHANNEL, "say heard")
        await until(lambda: ear.messages == [b"heard"])


async def test_a_user_without_the_channel_is_refused_by_name(redis_servers: RedisServers) -> None:
    server = redis_servers("--user", "gateway", "on", ">secret", "~*", "resetchannels", "+@all")
    async with connected(server.url.replace("unix://", "unix://gateway:secret@")) as state:
        with pytest.raises(StateError, match=r"subscribe to channel \(NOPERM\)") as caught:
            await state.listen("channel", on_subscribed=pytest.fail, on_message=pytest.fail)
    assert not isinstance(caught.value, StateUnavailable)


async def test_a_restarted_server_is_heard_again_after_a_gap(server: RedisServer) -> None:
    async with connected(server.url) as state, listening(state) as ear:
        server.kill()
        await asyncio.sleep(0.5)
        server.start()
        assert await until(lambda: ear.gaps == 2) < 2.0
        server.ask("PUBLISH", keys.PUSH_CHANNEL, "say back")
        await until(lambda: ear.messages == [b"back"])


async def test_a_server_that_comes_late_is_heard(redis_servers: RedisServers) -> None:
    server = redis_servers()
    server.kill()
    async with connected(server.url) as state:
        ear = Listening(state)
        task = asyncio.create_task(ear.run())
        await asyncio.sleep(0.5)
        server.start()
        assert await until(lambda: ear.gaps == 1) < 2.0
        task.cancel()


async def test_a_frozen_server_is_noticed_and_found_again(server: RedisServer) -> None:
    async with connected(server.url) as state, listening(state) as ear:
        server.freeze()
        await asyncio.sleep(3.0)
        server.thaw()
        assert await until(lambda: ear.gaps >= 2) < 3.0
        server.ask("PUBLISH", keys.PUSH_CHANNEL, "say back")
        await until(lambda: ear.messages[-1:] == [b"back"])
        assert subscribers(server) == 1


async def test_a_black_hole_is_left_for_a_new_connection(server: RedisServer) -> None:
    async with (
        fault_proxy(server.socket_file) as proxy,
        connected(f"redis://127.0.0.1:{proxy.port}") as state,
        listening(state) as ear,
    ):
        proxy.black_hole = True
        await asyncio.sleep(3.0)
        proxy.black_hole = False
        await until(lambda: ear.gaps >= 2)
        server.ask("PUBLISH", keys.PUSH_CHANNEL, "say back")
        await until(lambda: ear.messages == [b"back"])


async def test_attempts_to_listen_are_bounded(server: RedisServer) -> None:
    async with (
        fault_proxy(server.socket_file) as proxy,
        connected(f"redis://127.0.0.1:{proxy.port}") as state,
        listening(state),
    ):
        proxy.cut_after_bytes = 0
        proxy.reset_all()
        before = proxy.accepted
        await asyncio.sleep(3.0)
        assert proxy.accepted - before <= 10


async def test_tls_verifies_as_the_main_connection_does(
    shared_server: RedisServer, proxy: FaultProxy, certificate: Path
) -> None:
    good = f"rediss://localhost:{proxy.port}?ssl_ca_certs={certificate}"
    async with connected(good) as state, listening(state) as ear:
        shared_server.ask("PUBLISH", keys.PUSH_CHANNEL, "say over TLS")
        await until(lambda: ear.messages == [b"over TLS"])


@pytest.mark.parametrize("url", ["rediss://localhost:{port}", "rediss://127.0.0.1:{port}?ssl_ca_certs={certificate}"])
async def test_a_server_that_does_not_prove_itself_is_not_heard(proxy: FaultProxy, certificate: Path, url: str) -> None:
    async with connected(url.format(port=proxy.port, certificate=certificate)) as state:
        with pytest.raises(StateUnavailable):
            await state.listen("channel", on_subscribed=pytest.fail, on_message=pytest.fail)
