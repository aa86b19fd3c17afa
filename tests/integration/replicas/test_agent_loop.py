"""An agent on the stock ``openai`` client: reasoning and parallel tools, each request to another of three replicas.

The client hands back role, content and tool calls, as stock clients do, and no thinking. The replicas have three
Anthropic keys, each an account of its own for the simulator, which checks signatures, prefixes and accounts of the
thinking that comes back.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import httpx
import pytest

from app.state.keys import KEPT_TTL_S
from tests.support.chat_frames import frames
from tests.support.conversation import (
    QUESTION,
    TOOLS,
    Agent,
    Step,
    Transcript,
    UpstreamCall,
    result_words,
    tool,
    upstream_calls,
)
from tests.support.redis import RedisServer, shared_server
from tests.support.replicas import Key, Replicas, running_replicas

__all__ = ["shared_server"]

UPSTREAM_KEYS = ("sk-ant-canary-one-0123456789", "sk-ant-canary-two-0123456789", "sk-ant-canary-three-0123456789")

#: Thinking of the first three is bound to everything before it, of the first two to an account, too; the last ones have
#: to be told a budget, and then want every answer with calls to begin with thinking.
MODELS = (
    "claude-sonnet-5-5",
    "claude-haiku-5-5",
    "claude-opus-5-5",
    "claude-opus-5",
    "claude-opus-4-6",
    "claude-sonnet-4-5",
    "claude-haiku-4-5",
)
BOUND, ADAPTIVE, ENABLED_ONLY = "claude-sonnet-5-5", "claude-opus-5", "claude-haiku-4-5"

TURNS = 10

each_model = pytest.mark.parametrize("model", MODELS)
each_kind = pytest.mark.parametrize("model", [BOUND, ADAPTIVE, ENABLED_ONLY])
both_forms = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


@pytest.fixture(scope="module")
def replicas(shared_server: RedisServer) -> Iterator[Replicas]:
    env = {"ANTHROPIC_API_KEY": UPSTREAM_KEYS[0], "CLAUDE_WRAPPER_ANTHROPIC_API_KEYS": ",".join(UPSTREAM_KEYS[1:])}
    with running_replicas(shared_server, env=env, keys=",".join(UPSTREAM_KEYS)) as running:
        yield running


@pytest.fixture(scope="module")
def key(replicas: Replicas) -> Key:
    return replicas.create_key("agents")


@pytest.fixture(autouse=True)
def _forget(replicas: Replicas) -> None:
    """The journal holds the requests of one test."""
    replicas.simulator.reset()


class Talk:
    """A conversation that goes on from call to call.

    Args:
        replicas: that are asked in turn.
        key: of the client.
        agent: arguments of the ``Agent``.
    """

    def __init__(self, replicas: Replicas, key: Key, **agent: Any) -> None:
        self._replicas = replicas
        self.topic = f"topic-{uuid.uuid4().hex[:12]}"
        self.messages: list[dict[str, Any]] = []
        self.asked_as(key, **agent)

    def asked_as(self, key: Key, **agent: Any) -> None:
        """From now on by this client."""
        urls = [f"http://127.0.0.1:{port}/v1" for port in self._replicas.ports]
        self._agent = Agent(urls, api_key=key.text, **agent)

    async def go_on(self, turns: int, *, question: str = QUESTION, **fields: Any) -> Sequence[Step]:
        """So many turns more, each with three parallel calls and the answer to their results."""
        questions = [question] * turns
        if not self.messages:
            questions[0] = f"About {self.topic}: {question}"
        fields = {"reasoning_effort": "medium", **fields}
        transcript: Transcript = await self._agent.converse(questions, before=self.messages, **fields)
        self.messages = [dict(message) for message in transcript.messages]
        return transcript.steps

    async def upstream(self) -> list[UpstreamCall]:
        """Its requests as the simulator saw them."""
        return upstream_calls(await asyncio.to_thread(self._replicas.simulator.journal), about=f"About {self.topic}:")


def faults(calls: Sequence[UpstreamCall]) -> list[UpstreamCall]:
    """The requests that were refused, or that lacked thinking, or whose thinking was not read."""
    return [call for call in calls if call.rejected or call.bare or call.dropped]


def told(steps: Sequence[Step]) -> list[tuple[int, int]]:
    """What the replies say of thinking: restored and lost."""
    found = [re.fullmatch(r"restored=(\d+), lost=(\d+)", step.headers.get(THINKING_HEADER, "")) for step in steps]
    return [(int(one[1]), int(one[2])) if one else (0, 0) for one in found]


THINKING_HEADER = "x-claude-wrapper-thinking"


@both_forms
@each_model
async def test_ten_turns_on_three_replicas_keep_all_their_thinking(
    replicas: Replicas, key: Key, model: str, stream: bool
) -> None:
    talk = Talk(replicas, key, model=model, stream=stream)
    steps = await talk.go_on(TURNS)
    calls = await talk.upstream()
    assert len(steps) == len(calls) == 2 * TURNS
    assert [len(step.call_ids) for step in steps] == [3, 0] * TURNS
    assert len({step.base_url for step in steps}) == 3
    assert faults(calls) == []
    assert [call.answers for call in calls] == [(n + 1) // 2 for n in range(2 * TURNS)]
    assert all(call.thoughts >= call.answers for call in calls)
    assert told(steps) == [((n + 1) // 2, 0) for n in range(2 * TURNS)]
    assert len({call.organization for call in calls}) == 1


@both_forms
@each_kind
async def test_ten_turns_of_a_session_keep_all_their_thinking(
    replicas: Replicas, key: Key, model: str, stream: bool
) -> None:
    """The client sends only what is new."""
    talk = Talk(replicas, key, model=model, stream=stream, session=f"agent-{uuid.uuid4().hex}")
    steps = await talk.go_on(TURNS)
    calls = await talk.upstream()
    assert len(steps) == len(calls) == 2 * TURNS
    assert faults(calls) == []
    assert [call.answers for call in calls] == [(n + 1) // 2 for n in range(2 * TURNS)]
    assert [int(step.headers["x-claude-wrapper-session-messages"]) for step in steps] == [
        messages for turn in range(TURNS) for messages in (6 * turn, 6 * turn + 2)
    ]
    assert len({call.organization for call in calls}) == 1


@both_forms
@each_kind
async def test_a_turn_may_take_several_rounds_of_calls(replicas: Replicas, key: Key, model: str, stream: bool) -> None:
    """Thinking, text and calls, again and again within one turn, then another turn."""
    talk = Talk(replicas, key, model=model, stream=stream)
    word = result_words(1)
    for calls in ("get_time", "get_weather,get_time", "get_weather"):
        replicas.simulator.script(match=word, calls=calls, preface="One thing more.", times=1)
    try:
        steps = await talk.go_on(2)
    finally:
        replicas.simulator.reset()
    assert faults(await talk.upstream()) == []
    assert len(steps) >= 5
    assert {lost for _, lost in told(steps)} == {0}


@both_forms
async def test_many_agents_at_once_do_not_disturb_each_other(replicas: Replicas, key: Key, stream: bool) -> None:
    """12 agents of three models, 4 turns each, at the same time."""
    talks = [Talk(replicas, key, model=MODELS[n % 3], stream=stream) for n in range(12)]
    await asyncio.gather(*(talk.go_on(4) for talk in talks))
    for talk in talks:
        assert faults(await talk.upstream()) == []


@each_kind
async def test_forms_and_replicas_may_change_within_a_conversation(replicas: Replicas, key: Key, model: str) -> None:
    talk = Talk(replicas, key, model=model)
    for turn in range(6):
        talk.asked_as(key, model=model, stream=bool(turn % 2))
        await talk.go_on(1)
    assert faults(await talk.upstream()) == []


async def test_another_key_of_the_tenant_may_go_on(replicas: Replicas, key: Key) -> None:
    talk = Talk(replicas, key, model=BOUND)
    await talk.go_on(2)
    talk.asked_as(replicas.create_key("agents"), model=BOUND)
    assert told(await talk.go_on(1)) == [(2, 0), (3, 0)]
    assert faults(await talk.upstream()) == []


@each_kind
async def test_another_tenant_gets_nothing_of_it(replicas: Replicas, key: Key, model: str) -> None:
    """It has the ids of the calls and every word of the conversation, and still only its own thinking."""
    talk = Talk(replicas, key, model=model)
    await talk.go_on(2)
    before = len(await talk.upstream())
    talk.asked_as(replicas.create_key("strangers"), model=model)
    assert told(await talk.go_on(1)) == [(0, 2), (1, 2)]
    calls = (await talk.upstream())[before:]
    assert [(call.rejected, call.bare) for call in calls] == [(False, 2), (False, 2)]


# What is lost, damaged or edited


def kept_name(replicas: Replicas, key: Key, call_id: str) -> str:
    """The key in Redis of the answer that a call belongs to, which is the first one of it."""
    return f"cw:{{{key.tag}:{hashlib.sha256(call_id.encode()).hexdigest()[:32]}}}:kept:v1"


def first_calls(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """The id of the first call of each answer that has calls."""
    return [message["tool_calls"][0]["id"] for message in messages if message.get("tool_calls")]


EDITS = ("text", "arguments", "fewer calls", "order", "id", "name")
DAMAGES = ("cut", "nonsense", "another type", "another content", "empty")


def missing(model: str, which: int) -> int:
    """How many answers come without thinking when that of one is gone: a bound model takes only an unbroken run."""
    return which + 1 if model == BOUND else 1


@both_forms
@each_kind
async def test_thinking_that_is_gone_is_said_and_the_conversation_goes_on(
    replicas: Replicas, key: Key, model: str, stream: bool
) -> None:
    """All of it is gone after three turns, as after its time to live."""
    talk = Talk(replicas, key, model=model, stream=stream)
    await talk.go_on(3)
    for call_id in first_calls(talk.messages):
        assert replicas.server.ask("DEL", kept_name(replicas, key, call_id)) == 1
    assert told(await talk.go_on(3)) == [(n, 3) for n in (0, 1, 1, 2, 2, 3)]
    calls = await talk.upstream()
    assert [call.rejected for call in calls] == [False] * 12
    assert [call.bare for call in calls[6:]] == [3] * 6


@pytest.mark.parametrize(
    ("damage", "which"),
    [*(("gone", which) for which in range(3)), *((damage, 1) for damage in DAMAGES)],
)
@each_kind
async def test_one_answer_that_cannot_be_had_harms_no_other(
    replicas: Replicas, key: Key, model: str, damage: str, which: int
) -> None:
    talk = Talk(replicas, key, model=model)
    await talk.go_on(3)
    name = kept_name(replicas, key, first_calls(talk.messages)[which])
    other = kept_name(replicas, key, first_calls(talk.messages)[which - 1])
    whole = cast("bytes", replicas.server.ask("GET", name))
    replicas.server.ask("DEL", name)
    match damage:
        case "cut":
            replicas.server.ask("SET", name, whole[:-20], "EX", "1000")
        case "nonsense":
            replicas.server.ask("SET", name, b"\x00nonsense", "EX", "1000")
        case "another type":
            replicas.server.ask("HSET", name, "a", "b")
            replicas.server.ask("EXPIRE", name, "1000")
        case "another content":
            replicas.server.ask("COPY", other, name)
        case "empty":
            replicas.server.ask("SET", name, b"", "EX", "1000")
    assert told(await talk.go_on(2)) == [(2, 1), (3, 1), (3, 1), (4, 1)]
    calls = await talk.upstream()
    assert [call.rejected for call in calls] == [False] * 10
    assert [call.bare for call in calls[6:]] == [missing(model, which)] * 4
    assert not [call.dropped for call in calls if call.dropped]


@pytest.mark.parametrize(
    ("edit", "open_turn"), [*((edit, False) for edit in EDITS), ("text", True), ("arguments", True)]
)
@each_kind
async def test_an_answer_that_the_client_has_edited_stands_as_the_client_says(
    replicas: Replicas, key: Key, model: str, edit: str, open_turn: bool
) -> None:
    """Its thinking does not come back, nobody minds, and what was not edited stays."""
    talk = Talk(replicas, key, model=model)
    await talk.go_on(2)
    at = [n for n, message in enumerate(talk.messages) if message.get("tool_calls")][-1]
    answer = json.loads(json.dumps(talk.messages[at]))
    results = talk.messages[at + 1 : at + 4]
    calls = answer["tool_calls"]
    match edit:
        case "text":
            answer["content"] = "I have thought better of it."
        case "arguments":
            calls[1]["function"]["arguments"] = '{"city": "Bergen"}'
        case "fewer calls":
            del calls[2], results[2]
        case "order":
            calls.reverse()
        case "id":
            calls[1]["id"] = results[1]["tool_call_id"] = "call_of_the_client"
        case "name":
            calls[1]["function"]["name"] = "get_time"
            calls[1]["function"]["arguments"] = '{"zone": "Oslo"}'
    rest = [] if open_turn else talk.messages[at + 4 :]
    talk.messages = [*talk.messages[:at], answer, *results, *rest]
    before = len(await talk.upstream())
    steps = await talk.go_on(2)
    assert told(steps) == [(1, 1), (2, 1), (2, 1), (3, 1)]
    calls_upstream = (await talk.upstream())[before:]
    bare = [missing(model, 1)] * 4
    if open_turn and model == ENABLED_ONLY:  # a turn that has lost its beginning goes on without thinking
        bare[1:] = [2, 2, 2]
    assert [(call.rejected, call.bare) for call in calls_upstream] == [(False, one) for one in bare]


@each_kind
async def test_arguments_that_are_only_written_differently_are_the_same(
    replicas: Replicas, key: Key, model: str
) -> None:
    """Clients parse them and write them again, with spaces and in another order."""
    talk = Talk(replicas, key, model=model)
    await talk.go_on(2)
    for message in talk.messages:
        for call in message.get("tool_calls", ()):
            arguments = json.loads(call["function"]["arguments"])
            call["function"]["arguments"] = json.dumps(arguments, indent=2, ensure_ascii=True)
        if message["role"] == "assistant" and message.get("content"):
            message["content"] = [{"type": "text", "text": message["content"]}]
    assert told(await talk.go_on(1)) == [(2, 0), (3, 0)]
    assert faults(await talk.upstream()) == []


@each_kind
async def test_a_client_may_drop_its_oldest_turns(replicas: Replicas, key: Key, model: str) -> None:
    """A window that slides: what is left was thought after other words, which bound models are told to leave out."""
    talk = Talk(replicas, key, model=model)
    await talk.go_on(4)
    talk.messages = talk.messages[:1] + talk.messages[13:]
    before = len(await talk.upstream())
    await talk.go_on(2)
    calls = (await talk.upstream())[before:]
    assert [call.rejected for call in calls] == [False] * 4
    if model != BOUND:
        assert faults(calls) == []


# What else may happen in a conversation


@both_forms
@each_kind
@pytest.mark.parametrize("role", ["system", "developer"])
async def test_instructions_may_come_later(replicas: Replicas, key: Key, model: str, stream: bool, role: str) -> None:
    """Before the first turn, between turns, and again; the thinking before and after them stays."""
    talk = Talk(replicas, key, model=model, stream=stream)
    talk.messages = [{"role": role, "content": f"About {talk.topic}: be brief."}]
    for turn in range(3):
        await talk.go_on(2)
        talk.messages.append({"role": role, "content": f"Be {turn} times as brief."})
    steps = await talk.go_on(1)
    assert told(steps) == [(6, 0), (7, 0)]
    assert faults(await talk.upstream()) == []


async def test_a_conversation_may_change_its_model(replicas: Replicas, key: Key) -> None:
    """Through all of them, two turns each: whatever they may read of each other, none refuses."""
    talk = Talk(replicas, key, model=MODELS[0])
    for model in (*MODELS, *MODELS[:3]):
        talk.asked_as(key, model=model)
        await talk.go_on(2)
    assert [call for call in await talk.upstream() if call.rejected] == []


@each_kind
async def test_a_conversation_may_change_how_hard_it_thinks(replicas: Replicas, key: Key, model: str) -> None:
    talk = Talk(replicas, key, model=model)
    for effort in ("low", "none", "high", "minimal", "none", "medium"):
        await talk.go_on(1, reasoning_effort=effort)
    calls = await talk.upstream()
    assert [call for call in calls if call.rejected] == []


@each_kind
async def test_a_conversation_may_change_its_tools(replicas: Replicas, key: Key, model: str) -> None:
    """Bound thinking does not outlive other tools; nothing is refused."""
    talk = Talk(replicas, key, model=model)
    await talk.go_on(2)
    await talk.go_on(2, tools=[*TOOLS, tool("get_tide", "port")])
    await talk.go_on(1, tools=TOOLS[:1], question="Please call get_weather for Rome.")
    assert [call for call in await talk.upstream() if call.rejected] == []


@both_forms
async def test_redacted_thinking_is_kept_too(replicas: Replicas, key: Key, stream: bool) -> None:
    talk = Talk(replicas, key, model=ADAPTIVE, stream=stream)
    replicas.simulator.script(match=talk.topic, redacted=True)
    try:
        await talk.go_on(3)
    finally:
        calls = await talk.upstream()
        replicas.simulator.reset()
    assert faults(calls) == []
    assert len(calls) == 6


@both_forms
@each_kind
async def test_answers_of_the_cache_have_their_thinking_too(
    replicas: Replicas, key: Key, model: str, stream: bool
) -> None:
    """The second conversation gets every answer from the cache, and goes on with a call of its own."""
    first, second = Talk(replicas, key, model=model, stream=stream), Talk(replicas, key, model=model, stream=stream)
    second.topic = first.topic
    cached = {"extra_headers": {"cache-control": "max-age=600"}}
    assert {step.headers["x-claude-wrapper-cache"] for step in await first.go_on(3, **cached)} == {"MISS"}
    assert {step.headers["x-claude-wrapper-cache"] for step in await second.go_on(3, **cached)} == {"HIT"}
    assert second.messages == first.messages
    assert told(await second.go_on(1)) == [(3, 0), (4, 0)]
    assert faults(await first.upstream()) == []


@each_kind
async def test_strict_conversations_keep_their_thinking_too(replicas: Replicas, key: Key, model: str) -> None:
    """Nothing is refused before it is known what is kept; what is lost then is."""
    talk = Talk(replicas, key, model=model)
    strict = {"extra_headers": {"x-claude-wrapper-strict": "true"}}
    assert told(await talk.go_on(3, **strict)) == [(0, 0), (1, 0), (1, 0), (2, 0), (2, 0), (3, 0)]
    assert faults(await talk.upstream()) == []


CUSTOM = {"type": "custom", "custom": {"name": "shell", "description": "Runs a command."}}
FORCED = {"tools": TOOLS[:1], "tool_choice": {"type": "function", "function": {"name": "get_weather"}}}


@both_forms
@pytest.mark.parametrize("fields", [{"tools": [CUSTOM]}, FORCED], ids=["custom tool", "forced call"])
@each_kind
async def test_calls_in_another_form_keep_their_thinking(
    replicas: Replicas, key: Key, model: str, fields: dict[str, Any], stream: bool
) -> None:
    """A tool with free text, and a call that is forced on a model that cannot be forced: three rounds of either."""
    topic = f"topic-{uuid.uuid4().hex[:12]}"
    messages: list[dict[str, Any]] = [{"role": "user", "content": f"About {topic}: please call shell in Rome."}]
    restored = 0
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {key.text}"}, verify=False, timeout=30) as client:
        for turn in range(3):
            body = {"model": model, "messages": messages, "reasoning_effort": "medium", "stream": stream, **fields}
            port = replicas.ports[turn % 3]
            reply = await client.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body)
            assert reply.status_code == 200, reply.text
            answer = added_up(reply) if stream else reply.json()["choices"][0]["message"]
            restored = max(restored, int(reply.headers.get(THINKING_HEADER, "restored=0").split("=")[1].split(",")[0]))
            assert "lost=0" in reply.headers.get(THINKING_HEADER, "lost=0")
            calls = [{name: call[name] for name in call if name != "index"} for call in answer["tool_calls"]]
            messages.append({"role": "assistant", "content": answer.get("content"), "tool_calls": calls})
            messages += [{"role": "tool", "tool_call_id": call["id"], "content": "done"} for call in calls]
            messages.append({"role": "user", "content": "Please call shell once more."})
    journal = await asyncio.to_thread(replicas.simulator.journal)
    upstream = upstream_calls(journal, about=f"About {topic}:")
    assert [call.rejected for call in upstream] == [False] * len(upstream)
    thinks = not (model == ENABLED_ONLY and fields is FORCED)  # a budget does not go with a forced call
    assert restored == (2 if thinks else 0)


def added_up(reply: httpx.Response) -> dict[str, Any]:
    """The message of a streamed answer with one call."""
    deltas = [frame["choices"][0]["delta"] for frame in frames(reply.content) if isinstance(frame, dict)]
    call: dict[str, Any] = {}
    for part in (part for delta in deltas for part in delta.get("tool_calls", ())):
        call = call or {"id": part["id"], "type": part["type"], part["type"]: {"name": part[part["type"]]["name"]}}
        field = "arguments" if call["type"] == "function" else "input"
        said = part.get(call["type"], {}).get(field) or ""
        call[call["type"]][field] = call[call["type"]].get(field, "") + said
    return {"content": "".join(delta.get("content") or "" for delta in deltas) or None, "tool_calls": [call]}


async def test_what_is_kept_lives_for_two_days(replicas: Replicas, key: Key) -> None:
    talk = Talk(replicas, key, model=BOUND)
    await talk.go_on(1)
    (call_id,) = first_calls(talk.messages)
    left_s = cast("int", replicas.server.ask("TTL", kept_name(replicas, key, call_id)))
    assert KEPT_TTL_S - 60 < left_s <= KEPT_TTL_S == 48 * 3600


async def test_a_client_that_does_not_reason_keeps_nothing(replicas: Replicas) -> None:
    key = replicas.create_key("does-not-reason")
    talk = Talk(replicas, key, model=ENABLED_ONLY)
    steps = await talk.go_on(2, reasoning_effort="none")
    assert not [step for step in steps if THINKING_HEADER in step.headers]
    assert replicas.server.ask("KEYS", f"cw:{{{key.tag}:*}}:kept:v1") == []


@each_kind
async def test_the_sessions_history_can_be_read_and_its_thinking_is_whole(
    replicas: Replicas, key: Key, model: str
) -> None:
    session = f"agent-{uuid.uuid4().hex}"
    talk = Talk(replicas, key, model=model, session=session)
    await talk.go_on(2)
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {key.text}"}) as client:
        for port in replicas.ports:
            reply = await client.get(f"http://127.0.0.1:{port}/v1/sessions/{session}")
            messages = reply.json()["messages"]
            roles = ["user", "assistant", "tool", "tool", "tool", "assistant"]
            assert [message["role"] for message in messages] == roles * 2
            assert all(message["thinking_blocks"] for message in messages if message.get("tool_calls"))
