"""Three replicas with three Anthropic keys: a conversation stays with one of them, so that its thinking stays readable.

The model's thinking is bound to the account that made it, and the simulator takes every key for an account of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.conversation import CARRIED, QUESTION, Agent, Transcript, upstream_calls
from tests.support.redis import RedisServer, shared_server
from tests.support.replicas import Key, Replicas, running_replicas

__all__ = ["shared_server"]

MODEL = "claude-haiku-5-5"
KEYS = ("sk-ant-canary-one-0123456789", "sk-ant-canary-two-0123456789", "sk-ant-canary-three-0123456789")
TOPICS = ("amber", "birch", "cedar", "dahlia", "elm", "fern", "gorse", "hazel")
TURNS = 3

#: Long enough for the prompt cache, which an account has for itself.
INSTRUCTIONS = {"role": "system", "content": "Be brief, and call what you are asked to call. " * 400}


@pytest.fixture(scope="module")
def replicas(shared_server: RedisServer) -> Iterator[Replicas]:
    env = {"ANTHROPIC_API_KEY": KEYS[0], "CLAUDE_WRAPPER_ANTHROPIC_API_KEYS": ",".join(KEYS[1:])}
    with running_replicas(shared_server, env=env, keys=",".join(KEYS)) as running:
        yield running


@pytest.fixture(scope="module")
def key(replicas: Replicas) -> Key:
    return replicas.create_key("several-upstream-keys")


async def converse(replicas: Replicas, key: Key, topic: str, *, stream: bool = False, **fields: object) -> Transcript:
    """A conversation of a client that carries thinking itself, each request to another replica."""
    urls = [f"http://127.0.0.1:{port}/v1" for port in replicas.ports]
    agent = Agent(urls, api_key=key.text, model=MODEL, stream=stream, carried=(*CARRIED, "thinking_blocks"))
    questions = [f"About {topic}: {QUESTION}"] + [QUESTION] * (TURNS - 1)
    return await agent.converse(questions, before=[INSTRUCTIONS], reasoning_effort="medium", **fields)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("named", [True, False], ids=["prompt_cache_key", "by_its_beginning"])
async def test_thinking_comes_back_to_the_key_that_made_it(
    replicas: Replicas, key: Key, stream: bool, named: bool
) -> None:
    topics = [f"{topic}-{stream}-{named}" for topic in TOPICS]
    fields = [{"prompt_cache_key": topic} if named else {} for topic in topics]
    await asyncio.gather(
        *(converse(replicas, key, topic, stream=stream, **more) for topic, more in zip(topics, fields, strict=True))
    )
    journal = replicas.simulator.journal()
    conversations = [upstream_calls(journal, about=f"About {topic}:") for topic in topics]
    for calls in conversations:
        assert len(calls) == 2 * TURNS
        assert [(call.rejected, call.bare, call.dropped) for call in calls] == [(False, 0, ())] * len(calls)
        assert [call.answers for call in calls] == [0, 1, 1, 2, 2, 3]
        assert len({call.organization for call in calls}) == 1
        assert calls[-1].cached_tokens > 0
    assert len({calls[0].organization for calls in conversations}) > 1


async def test_no_replica_prints_a_key(replicas: Replicas, key: Key) -> None:
    await converse(replicas, key, "printing")
    assert not [gateway for gateway in replicas.gateways if "canary" in gateway.logs]
