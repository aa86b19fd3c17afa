"""A client that goes away: the call to Anthropic ends within 100 ms, in every phase of it.

The simulator's journal says when the gateway closed the upstream connection, by the clock of this machine. A busy
machine only ever adds to the time, so the best of three counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI

from tests.support.mock_gateway import MockGateway
from tests.support.questions import MODEL, ask

WITHIN_S = 0.1
TRIES = 3

PACED = "[[sim: output_tokens=400 tokens_per_second=50 delta_tokens=1 thinking_tokens=1]]"
SILENT = "[[sim: silent]]"
SLOW_START = "[[sim: header_delay_ms=20000]]"
SLOW_TOKEN = "[[sim: ttft_ms=20000]]"


async def best_of(gateway: MockGateway, topic: str, leave: Callable[[str], Awaitable[float]], calls: int = 1) -> float:
    """Seconds from leaving to the last upstream call being closed, in the best of some tries.

    Args:
        leave: opens a request about a text, leaves it, and returns when it left, in Unix seconds.
        calls: upstream calls of one request.
    """
    taken = []
    for number in range(TRIES):
        about = f"{topic}-{number}"
        left_at = await leave(about)
        closed_at = await asyncio.to_thread(gateway.wait_for_cancelled_calls, about, calls)
        assert len(closed_at) == calls
        taken.append(max(closed_at) - left_at)
    return min(taken)


async def cancelled(gateway: MockGateway, about: str, request: Awaitable[Any], calls: int = 1) -> float:
    """Cancels a request once it has reached the upstream; when, in Unix seconds."""
    task = asyncio.ensure_future(request)
    await asyncio.to_thread(gateway.wait_for_calls, about, calls)
    left_at = time.time()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return left_at


@pytest.mark.parametrize("n", [1, 3])
async def test_leaving_in_the_middle_of_a_stream(
    async_client: AsyncOpenAI, gateway: MockGateway, topic: str, n: int
) -> None:
    async def leave(about: str) -> float:
        stream = await async_client.chat.completions.create(
            model=MODEL, messages=ask(f"{about} {PACED}"), stream=True, n=n
        )
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        await asyncio.to_thread(gateway.wait_for_calls, about, n)
        left_at = time.time()
        await stream.close()
        return left_at

    assert await best_of(gateway, topic, leave, n) < WITHIN_S


def test_leaving_a_stream_of_the_synchronous_client(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    with client.chat.completions.create(model=MODEL, messages=ask(f"{topic} {PACED}"), stream=True) as stream:
        next(iter(stream))

    assert len(gateway.wait_for_cancelled_calls(topic)) == 1


@pytest.mark.parametrize("phase", [SILENT, SLOW_START, SLOW_TOKEN], ids=["silent", "before headers", "before a token"])
async def test_leaving_before_the_first_token_of_a_stream(
    async_client: AsyncOpenAI, gateway: MockGateway, topic: str, phase: str
) -> None:
    async def leave(about: str) -> float:
        async def run() -> None:
            stream = await async_client.chat.completions.create(
                model=MODEL, messages=ask(f"{about} {phase}"), stream=True
            )
            async with stream:
                async for _ in stream:
                    pass

        return await cancelled(gateway, about, run())

    assert await best_of(gateway, topic, leave) < WITHIN_S


@pytest.mark.parametrize("phase", [SILENT, SLOW_TOKEN], ids=["silent", "before a token"])
@pytest.mark.parametrize("n", [1, 3])
async def test_leaving_a_plain_request(
    async_client: AsyncOpenAI, gateway: MockGateway, topic: str, phase: str, n: int
) -> None:
    async def leave(about: str) -> float:
        request = async_client.chat.completions.create(model=MODEL, messages=ask(f"{about} {phase}"), n=n)
        return await cancelled(gateway, about, request, n)

    assert await best_of(gateway, topic, leave, n) < WITHIN_S


async def test_leaving_a_plain_request_that_runs_as_a_stream_upstream(
    async_client: AsyncOpenAI, gateway: MockGateway, topic: str
) -> None:
    """Anthropic wants long answers streamed: more than 21,333 tokens."""

    async def leave(about: str) -> float:
        request = async_client.chat.completions.create(model=MODEL, messages=ask(f"{about} {PACED}"), max_tokens=64_000)
        return await cancelled(gateway, about, request)

    assert await best_of(gateway, topic, leave) < WITHIN_S


async def test_leaving_while_the_gateway_waits_to_retry(
    async_client: AsyncOpenAI, gateway: MockGateway, topic: str
) -> None:
    """Nothing is sent again for somebody who has left."""
    request = async_client.chat.completions.create(
        model=MODEL, messages=ask(f"{topic} [[sim: status=429 retry_after=1]]")
    )
    await cancelled(gateway, topic, request)
    await asyncio.sleep(1.5)  # the time of the retry that must not come

    assert len(gateway.upstream_calls(topic)) == 1


async def test_the_others_go_on_when_one_leaves(async_client: AsyncOpenAI, gateway: MockGateway, topic: str) -> None:
    async def read(about: str) -> str:
        stream = await async_client.chat.completions.create(
            model=MODEL,
            messages=ask(f"{about} [[sim: output_tokens=40 tokens_per_second=50 thinking_tokens=1]]"),
            stream=True,
        )
        async with stream:
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    staying = [asyncio.create_task(read(f"{topic}-{number}")) for number in range(5)]
    leaving = [asyncio.create_task(read(f"{topic}-left-{number}")) for number in range(5)]
    await asyncio.to_thread(gateway.wait_for_calls, topic, 10)
    for task in leaving:
        task.cancel()
    texts = await asyncio.gather(*staying)
    await asyncio.gather(*leaving, return_exceptions=True)

    assert [f"{topic}-{number}" in text for number, text in enumerate(texts)] == [True] * 5
