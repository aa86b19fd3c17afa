"""A server, or something between, that answers a call with the reply to another: nobody gets it, and all goes on.

The server here is a few lines that speak the protocol and misbehave at the told command, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import hiredis
import pytest

from app.errors import StateUnavailable
from app.state import connect
from app.state.connection import StateConnection
from app.state.scripts import ScriptCall, script_from_text

SCRIPT = script_from_text("echo", b"return { ARGV[1] }", echoes=True)

Words = list[bytes]


class OddServer:
    """Answers scripts with the id of their call, unless ``odd`` says otherwise.

    Attributes:
        odd: may take a command's place; gets its words and its number on this connection.
        connections: accepted so far.
        commands: names of the commands that came in.
        knows: the script is known; until then ``EVALSHA`` is refused.
    """

    def __init__(self) -> None:
        self.odd: Callable[[Words, int], bytes | None] = lambda words, number: None
        self.connections = 0
        self.commands: list[bytes] = []
        self.knows = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        parser, scripts = hiredis.Reader(), 0
        while data := await reader.read(65536):
            parser.feed(data)
            while (words := parser.gets()) is not False:
                self.commands.append(words[0])
                scripts += words[0] in (b"EVAL", b"EVALSHA")
                writer.write(self._answer(words, scripts))
        writer.close()

    def _answer(self, words: Words, number: int) -> bytes:
        match words[0]:
            case b"EVALSHA" if not self.knows:
                return b"-NOSCRIPT No matching script.\r\n"
            case b"EVAL" | b"EVALSHA":
                odd = self.odd(words, number)
                return echo(words[3]) if odd is None else odd
            case _:
                return b"+OK\r\n"


def echo(id_: bytes) -> bytes:
    return b"*1\r\n$%d\r\n%b\r\n" % (len(id_), id_)


@pytest.fixture
async def odd(tmp_path: Path) -> AsyncIterator[OddServer]:
    server = OddServer()
    listener = await asyncio.start_unix_server(server.serve, tmp_path / "s")
    yield server
    listener.close()


@pytest.fixture
async def state(odd: OddServer, tmp_path: Path) -> AsyncIterator[StateConnection]:
    connection = connect(f"unix://{tmp_path / 's'}", timeout_s=5.0)
    await connection.call("PING")
    yield connection
    await connection.close()


async def ask(state: StateConnection, id_: bytes) -> bytes:
    reply = await state.run_script(SCRIPT, (), (id_,))
    assert len(reply) == 1
    return bytes(reply[0])


async def outcomes(calls: list[Any]) -> list[Any]:
    """Replies, and errors by their class."""
    done = await asyncio.gather(*calls, return_exceptions=True)
    return [type(one) if isinstance(one, BaseException) else one for one in done]


async def test_a_reply_with_another_id_fails_what_is_in_flight_and_nothing_else(
    state: StateConnection, odd: OddServer
) -> None:
    odd.odd = _once(odd, at=3, reply=echo(b"r9"))
    calls = [ask(state, b"r%d" % number) for number in range(6)]
    assert await outcomes(calls) == [b"r0", b"r1", *[StateUnavailable] * 4]
    assert await ask(state, b"r7") == b"r7"
    assert odd.connections == 2
    assert state.available


async def test_a_reply_that_is_missing_shifts_nothing(state: StateConnection, odd: OddServer) -> None:
    odd.odd = _once(odd, at=2, reply=b"")
    calls = [ask(state, b"r%d" % number) for number in range(4)]
    assert await outcomes(calls) == [b"r0", *[StateUnavailable] * 3]
    assert await ask(state, b"r0") == b"r0"


async def test_a_reply_that_comes_twice_shifts_nothing(state: StateConnection, odd: OddServer) -> None:
    odd.odd = _once(odd, at=2, reply=echo(b"r1") * 2)
    calls = [ask(state, b"r%d" % number) for number in range(4)]
    assert await outcomes(calls) == [b"r0", b"r1", StateUnavailable, StateUnavailable]
    assert await ask(state, b"r2") == b"r2"


async def test_a_pipeline_gets_all_its_replies_or_none(state: StateConnection, odd: OddServer) -> None:
    odd.odd = _once(odd, at=2, reply=echo(b"other"))
    pipeline = [ScriptCall(SCRIPT, (), (b"r1",)), ("PING",), ScriptCall(SCRIPT, (), (b"r2",))]
    with pytest.raises(StateUnavailable):
        await state.pipeline(pipeline)
    assert await state.pipeline(pipeline) == [[b"r1"], b"OK", [b"r2"]]


async def test_the_reply_of_an_abandoned_call_is_checked_too(state: StateConnection, odd: OddServer) -> None:
    odd.odd = _once(odd, at=1, reply=echo(b"waiting"))
    abandoned = asyncio.ensure_future(ask(state, b"abandoned"))
    waiting = asyncio.ensure_future(ask(state, b"waiting"))
    await asyncio.sleep(0)
    abandoned.cancel()
    assert await outcomes([abandoned, waiting]) == [asyncio.CancelledError, StateUnavailable]
    assert await ask(state, b"next") == b"next"


async def test_a_script_that_has_to_be_sent_whole_is_still_checked(state: StateConnection, odd: OddServer) -> None:
    odd.knows = False
    assert await ask(state, b"r1") == b"r1"
    odd.odd = lambda words, number: echo(b"other") if words[3] == b"r2" else None
    with pytest.raises(StateUnavailable):
        await ask(state, b"r2")
    assert await ask(state, b"r3") == b"r3"
    assert [name for name in odd.commands if name.startswith(b"EVAL")] == [b"EVALSHA", b"EVAL"] * 3
    assert odd.connections == 2


def _once(odd: OddServer, *, at: int, reply: bytes) -> Callable[[Words, int], bytes | None]:
    """Misbehaves at one script of the first connection."""
    return lambda words, number: reply if number == at and odd.connections == 1 else None
