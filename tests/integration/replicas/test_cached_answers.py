"""A hit compares equal with the miss that made it: field by field, delta by delta, whoever asks for it in which form.

The simulator answers equal requests alike, so that what was cached can also be compared with what a call would bring.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest

from tests.support.chat_frames import frames
from tests.support.chat_wire import Reply
from tests.support.conversation import QUESTION, TOOLS
from tests.support.redis import RedisServer, shared_server
from tests.support.replicas import Key
from tests.support.replicas_here import ReplicasHere, replicas_here
from tests.support.simulator import Simulator, running_simulator

__all__ = ["shared_server"]

CACHED = {"cache-control": "max-age=60"}
FRESH = {"cache-control": "no-store"}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "sights": {"type": "array", "items": {"type": "string"}}},
    "required": ["city", "sights"],
    "additionalProperties": False,
}
FUNCTION: dict[str, Any] = TOOLS[0]["function"]
SHELL = {"type": "custom", "custom": {"name": "shell", "description": "Runs a command."}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}

#: Everything that has a form of its own in an answer. ``said`` is what the user says, with the topic before it.
CASES: dict[str, dict[str, Any]] = {
    "text": {"said": "Say something."},
    "text of a model that does not think": {"model": "claude-haiku-4-5", "said": "Say something."},
    "ignored and adjusted parameters": {"said": "Say.", "temperature": 0.3, "logit_bias": {"50256": -100}},
    "a stop sequence": {"model": "claude-haiku-4-5", "said": "Say something.", "stop": ["said"]},
    "reasoning": {"said": "Think.", "reasoning_effort": "high"},
    "reasoning in OpenRouter's form": {
        "said": "Think.",
        "reasoning_effort": "high",
        "include_reasoning": "details",
    },
    "redacted reasoning": {"said": "Think. [[sim: redacted]]", "reasoning_effort": "high"},
    "parallel tools": {"model": "claude-haiku-4-5", "said": QUESTION, "tools": TOOLS},
    "reasoning, text and parallel tools": {
        "said": f"{QUESTION} [[sim: preface='I look it up.']]",
        "tools": TOOLS,
        "reasoning_effort": "medium",
    },
    "a custom tool": {"said": "Please call shell.", "tools": [SHELL], "reasoning_effort": "low"},
    "a legacy function": {
        "model": "claude-haiku-4-5",
        "said": "Please call get_weather for Rome.",
        "functions": [FUNCTION],
    },
    "json_schema": {"said": "Describe Rome.", "response_format": FORMAT},
    "json_object": {"said": "Describe Rome.", "response_format": {"type": "json_object"}},
    "a forced call": {
        "model": "claude-haiku-4-5",
        "said": "Rome.",
        "tools": TOOLS[:1],
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
    },
    "a forced call as a structured answer": {
        "said": "Rome.",
        "tools": TOOLS[:1],
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
    },
    "a web search": {"said": "Search the web for the latest news.", "web_search_options": {}},
    "a web search that pauses twice": {
        "said": "Search the web for the latest news. [[sim: pause=2]]",
        "web_search_options": {},
        "reasoning_effort": "medium",
    },
    "two choices": {"said": "Say something.", "n": 2},
    "two choices with tools and reasoning": {"said": QUESTION, "tools": TOOLS, "reasoning_effort": "medium", "n": 2},
    "a bound that Anthropic answers only as a stream": {"said": "Say something.", "max_tokens": 60_000},
}

each_case = pytest.mark.parametrize("case", CASES)
both_forms = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])

#: Belongs to one reply, whatever it says.
OF_THE_REPLY = ("x-claude-wrapper-cache", "age", "x-request-id", "content-length", "x-ratelimit-")


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(journal=2000) as simulator:
        yield simulator


@pytest.fixture
async def replicas(shared_server: RedisServer, simulator: Simulator) -> AsyncIterator[ReplicasHere]:
    async with replicas_here(shared_server, simulator, count=2) as replicas:
        yield replicas


@pytest.fixture
async def key(replicas: ReplicasHere) -> Key:
    """Nobody else's, so that nothing is cached for it."""
    return await replicas.create_key("acme")


def request(case: str, topic: str, **fields: Any) -> bytes:
    """The request of a case; the topic makes it another one upstream."""
    given = {"model": "claude-sonnet-5-5", "max_tokens": 9000, **CASES[case], **fields}
    given["messages"] = [{"role": "user", "content": f"{topic}: {given.pop('said')}"}]
    return json.dumps(given).encode()


async def asked(
    replicas: ReplicasHere, key: Key, body: bytes, headers: Mapping[str, str] = CACHED, *, expected: str
) -> Reply:
    """An answer, on the next replica, once everything that goes with it is done."""
    reply = await replicas.ask(body, key, headers)
    assert (reply.status, reply.headers["x-claude-wrapper-cache"]) == (200, expected), reply.body
    await replicas.at_rest()
    return reply


def telling(reply: Reply) -> dict[str, str]:
    """The headers that say something of the answer."""
    return {name: value for name, value in reply.headers.items() if not name.startswith(OF_THE_REPLY)}


def completion(reply: Reply) -> tuple[dict[str, Any], Any]:
    """A plain answer without its mark, and the mark."""
    body = json.loads(reply.body)
    return body, body["usage"].pop("response_cache", None)


def chunks(reply: Reply) -> tuple[list[Any], Any]:
    """A streamed answer without its mark, comments included, and the mark."""
    sent, mark = frames(reply.body), None
    for frame in sent:
        if isinstance(frame, dict) and frame.get("usage"):
            mark = frame["usage"].pop("response_cache", None)
    assert sent[-1] == "[DONE]"
    return sent, mark


def choices(reply: Reply) -> list[Any]:
    """What the choices of an answer come to, plain or streamed: finish reason and message, without what is empty."""
    if reply.headers["content-type"] == "application/json":
        given = {choice["index"]: choice for choice in json.loads(reply.body)["choices"]}
        return [_shown(given[index]["message"], given[index]["finish_reason"]) for index in sorted(given)]
    streamed = by_choice(chunks(reply)[0])
    return [_shown(_added_up(streamed[index]), streamed[index][-1][1]) for index in sorted(streamed)]


def by_choice(sent: list[Any]) -> dict[int, list[Any]]:
    """Deltas and finish reasons of each choice, in order; between choices the order is chance."""
    found: dict[int, list[Any]] = {}
    for frame in sent:
        if isinstance(frame, dict):
            for choice in frame["choices"]:
                found.setdefault(choice["index"], []).append((choice["delta"], choice["finish_reason"]))
    return found


def _added_up(deltas: list[Any]) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for delta, _ in deltas:
        _add(total, delta)
    return total


def _add(total: dict[str, Any], delta: Mapping[str, Any]) -> None:
    """As OpenAI's clients add up deltas: texts grow, parts with an index grow each for itself, others are new."""
    for name, value in delta.items():
        match value:
            case str() if name not in ("role", "type", "id", "format"):
                total[name] = (total.get(name) or "") + value
            case dict():
                _add(total.setdefault(name, {}), value)
            case list():
                parts = total.setdefault(name, [])
                for part in value:
                    known = [one for one in parts if "index" in part and one.get("index") == part["index"]]
                    _add(known[0], part) if known else parts.append(json.loads(json.dumps(part)))
            case _:
                total[name] = value


def _shown(message: dict[str, Any], finish_reason: str) -> tuple[str, Any]:
    """Without the index of parts, which only deltas need."""
    for parts in (value for value in message.values() if isinstance(value, list)):
        for part in parts:
            part.pop("index", None)
    return finish_reason, {name: value for name, value in message.items() if value}


@both_forms
@each_case
async def test_a_hit_is_the_answer_that_was_given_the_first_time(
    replicas: ReplicasHere, key: Key, case: str, stream: bool
) -> None:
    topic, usage = f"same {case} {stream}", {"stream_options": {"include_usage": True}}
    body = request(case, topic, stream=stream, **(usage if stream else {}))
    miss = await asked(replicas, key, body, expected="MISS")
    calls = len(await replicas.upstream(f"{topic}: "))
    hit = await asked(replicas, key, body, expected="HIT")
    read = chunks if stream else completion
    (first, no_mark), (again, mark) = read(miss), read(hit)
    assert first == again
    assert (no_mark, mark) == (None, "hit")
    assert telling(miss) == telling(hit)
    assert int(hit.headers["age"]) <= 5
    assert len(await replicas.upstream(f"{topic}: ")) == calls


@both_forms
@each_case
async def test_one_entry_serves_both_forms(replicas: ReplicasHere, key: Key, case: str, stream: bool) -> None:
    """What was asked for plain and is then asked for streamed, or the other way round, on another replica."""
    topic = f"other {case} {stream}"
    first = await asked(replicas, key, request(case, topic, stream=stream), expected="MISS")
    calls = len(await replicas.upstream(f"{topic}: "))
    other = await asked(replicas, key, request(case, topic, stream=not stream), expected="HIT")
    fresh = await asked(replicas, key, request(case, topic, stream=not stream), FRESH, expected="BYPASS")
    assert choices(other) == choices(first) == choices(fresh)
    if stream:
        (given, _), (made, _) = completion(other), completion(fresh)
        assert given["created"] == chunks(first)[0][0]["created"]
        assert {**given, "created": 0} == {**made, "created": 0}
    assert len(await replicas.upstream(f"{topic}: ")) == 2 * calls


@each_case
async def test_what_is_cached_is_what_a_call_would_bring(replicas: ReplicasHere, key: Key, case: str) -> None:
    """Delta by delta, where nothing but the time and the marks of one reply may differ."""
    body = request(case, "fresh", stream=True)
    await asked(replicas, key, body, expected="MISS")
    hit = await asked(replicas, key, body, expected="HIT")
    fresh = await asked(replicas, key, body, FRESH, expected="BYPASS")
    assert by_choice(chunks(hit)[0]) == by_choice(chunks(fresh)[0])


async def test_usage_in_a_stream_is_shown_to_who_asks_for_it(replicas: ReplicasHere, key: Key) -> None:
    """One entry, with and without ``stream_options.include_usage``, in either order."""
    wants = [{}, {"stream_options": {"include_usage": True}}, {"stream_options": {"include_usage": False}}]
    replies = [
        await asked(replicas, key, request("text", "usage", stream=True, **fields), expected=word)
        for fields, word in zip(wants, ("MISS", "HIT", "HIT"), strict=True)
    ]
    plain = await asked(replicas, key, request("text", "usage"), expected="HIT")
    without, with_usage, explicit = (chunks(reply)[0] for reply in replies)
    assert without == explicit
    assert [frame for frame in with_usage if isinstance(frame, dict) and not frame.get("usage")] == [
        {**frame, "usage": None} for frame in without if isinstance(frame, dict)
    ]
    (shown,) = [frame for frame in with_usage if isinstance(frame, dict) and frame.get("usage")]
    assert shown["usage"] == completion(plain)[0]["usage"]
    assert len(await replicas.upstream("usage: Say something.")) == 1


async def test_without_a_bound_of_its_own_either_form_is_the_same_request(replicas: ReplicasHere, key: Key) -> None:
    """The default of ``max_tokens`` differs between them; only answers that are not cut off are kept."""
    plain, streamed = (request("text", "unbounded", stream=stream, max_tokens=None) for stream in (False, True))
    first = await asked(replicas, key, streamed, expected="MISS")
    assert choices(await asked(replicas, key, plain, expected="HIT")) == choices(first)


async def test_many_at_once_get_the_same_hit(replicas: ReplicasHere, key: Key) -> None:
    """60 on three replicas, plain and streamed."""
    miss = await asked(replicas, key, request("reasoning, text and parallel tools", "many"), expected="MISS")
    bodies = [request("reasoning, text and parallel tools", "many", stream=bool(n % 2)) for n in range(60)]
    hits = await asyncio.gather(*(replicas.ask(body, key, CACHED) for body in bodies))
    assert {hit.headers["x-claude-wrapper-cache"] for hit in hits} == {"HIT"}
    assert len({hit.body for hit in hits}) == 2
    assert completion(hits[0])[0] == completion(miss)[0]
    assert len(await replicas.upstream("many: ")) == 1
