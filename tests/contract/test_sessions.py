"""Sessions as a user of the official client has them: turns by ``session_id``, the routes by its plain requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests.support.mock_gateway import MockGateway, mock_gateway
from tests.support.questions import MODEL, ask

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Place(BaseModel):
    """A structured answer."""

    city: str
    country: str


@pytest.fixture(scope="module")
def gateway() -> Iterator[MockGateway]:
    with mock_gateway(env={"CLAUDE_WRAPPER_SESSION_MAX_MESSAGES": "6"}) as gateway:
        yield gateway


@pytest.fixture
def session(topic: str) -> str:
    """The id of a session that no other test has."""
    return f"session-{topic}"


def told(client: OpenAI, path: str = "") -> dict[str, Any]:
    answered: dict[str, Any] = client.get(f"/sessions{path}", cast_to=dict[str, Any])
    return answered


def sent(client: OpenAI, path: str = "", body: dict[str, Any] | None = None) -> dict[str, Any]:
    answered: dict[str, Any] = client.post(f"/sessions{path}", body=body or {}, cast_to=dict[str, Any])
    return answered


def texts(shown: dict[str, Any]) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in shown["messages"]]


def asked_upstream(gateway: MockGateway, topic: str) -> list[str]:
    """The roles of the messages of the last call about a topic."""
    return [message["role"] for message in gateway.upstream_calls(topic)[-1]["body"]["messages"]]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_sends_only_what_is_new(
    client: OpenAI, gateway: MockGateway, topic: str, session: str, stream: bool
) -> None:
    said = []
    for text in (f"First {topic}", f"Second {topic}"):
        reply = client.chat.completions.create(
            model=MODEL, messages=ask(text), stream=stream, extra_body={"session_id": session}
        )
        if stream:
            said.append("".join(chunk.choices[0].delta.content or "" for chunk in reply if chunk.choices))
        else:
            said.append(reply.choices[0].message.content)
    assert asked_upstream(gateway, topic) == ["user", "assistant", "user"]
    shown = told(client, f"/{session}")
    assert texts(shown) == [
        ("user", f"First {topic}"),
        ("assistant", said[0]),
        ("user", f"Second {topic}"),
        ("assistant", said[1]),
    ]
    assert shown["message_count"] == 4


def test_a_turn_goes_on_from_what_the_routes_have_written(
    client: OpenAI, gateway: MockGateway, topic: str, session: str
) -> None:
    sent(client, "", {"id": session, "messages": [{"role": "system", "content": f"Rules of {topic}"}]})
    appended = [{"role": "user", "content": "Earlier."}, {"role": "assistant", "content": "Noted."}]
    assert sent(client, f"/{session}/messages", {"messages": appended})["message_count"] == 3
    client.chat.completions.create(model=MODEL, messages=ask("And now?"), extra_headers={"X-Session-ID": session})
    assert asked_upstream(gateway, topic) == ["user", "assistant", "user"]
    assert topic in str(gateway.upstream_calls(topic)[-1]["body"]["system"])
    assert told(client, f"/{session}")["message_count"] == 5


def test_a_fork_goes_its_own_way(client: OpenAI, topic: str, session: str) -> None:
    client.chat.completions.create(model=MODEL, messages=ask(topic), extra_body={"session_id": session})
    copy = sent(client, f"/{session}/fork")["id"]
    client.chat.completions.create(model=MODEL, messages=ask("On."), extra_body={"session_id": copy})
    assert (told(client, f"/{session}")["message_count"], told(client, f"/{copy}")["message_count"]) == (2, 4)
    assert texts(told(client, f"/{copy}"))[:2] == texts(told(client, f"/{session}"))


def test_what_had_to_go_is_whole_turns_and_is_said(client: OpenAI, session: str) -> None:
    for number in range(3):
        client.chat.completions.create(model=MODEL, messages=ask(f"Q{number}"), extra_body={"session_id": session})
    reply = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=ask("Q3"), extra_body={"session_id": session}
    )
    assert reply.headers["x-claude-wrapper-session-dropped"] == "2"
    shown = told(client, f"/{session}")
    assert [text for role, text in texts(shown) if role == "user"] == ["Q1", "Q2", "Q3"]
    assert (shown["message_count"], shown["dropped_messages"]) == (6, 2)


def test_sessions_are_listed_and_counted(client: OpenAI, session: str) -> None:
    sent(client, "", {"id": session})
    page = client.get("/sessions", cast_to=dict[str, Any], options={"params": {"limit": 1}})
    assert (page["object"], [one["id"] for one in page["data"]]) == ("list", [session])
    assert told(client, "/stats")["activeSessions"] >= 1


def test_a_session_that_is_gone_is_not_found(client: OpenAI, session: str) -> None:
    sent(client, "", {"id": session})
    assert client.delete(f"/sessions/{session}", cast_to=dict[str, Any])["deleted"] is True
    with pytest.raises(openai.NotFoundError) as caught:
        told(client, f"/{session}")
    assert caught.value.code == "session_not_found"


def test_what_is_there_is_a_conflict(client: OpenAI, session: str) -> None:
    sent(client, "", {"id": session})
    with pytest.raises(openai.ConflictError) as caught:
        sent(client, "", {"id": session})
    assert (caught.value.code, caught.value.param) == ("session_exists", "id")


def test_a_wrong_message_is_named_by_its_path(client: OpenAI, session: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sent(client, "", {"id": session, "messages": [{"role": "user", "content": "x"}, {"role": "user"}]})
    assert caught.value.param == "messages[1].content"


@pytest.mark.parametrize("where", ["body", "header"])
def test_the_stream_helper_goes_on_with_a_session(
    client: OpenAI, gateway: MockGateway, topic: str, session: str, where: str
) -> None:
    named: Any = (
        {"extra_body": {"session_id": session}} if where == "body" else {"extra_headers": {"X-Session-ID": session}}
    )
    for text in (f"First {topic}", f"Second {topic}"):
        with client.chat.completions.stream(model=MODEL, messages=ask(text), **named) as stream:
            assert stream.get_final_completion().choices[0].message.content
    roles = [message["role"] for message in gateway.upstream_calls(topic)[-1]["body"]["messages"]]
    assert roles == ["user", "assistant", "user"]


async def test_the_async_client_goes_on_with_a_session(
    async_client: AsyncOpenAI, gateway: MockGateway, topic: str, session: str
) -> None:
    named: Any = {"extra_body": {"session_id": session}}
    await async_client.chat.completions.create(model=MODEL, messages=ask(f"First {topic}"), **named)
    await async_client.post(
        f"/sessions/{session}/messages",
        body={"messages": [{"role": "user", "content": "By the way."}, {"role": "assistant", "content": "I see."}]},
        cast_to=dict[str, Any],
    )
    await async_client.chat.completions.create(model=MODEL, messages=ask(f"Third {topic}"), **named)
    roles = [message["role"] for message in gateway.upstream_calls(topic)[-1]["body"]["messages"]]
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    shown: Any = await async_client.get(f"/sessions/{session}", cast_to=dict[str, Any])
    assert shown["message_count"] == 6


def test_tools_and_parsed_answers_of_a_session(client: OpenAI, topic: str, session: str) -> None:
    """The client answers a call by its id alone, and then wants a structured answer."""
    named: Any = {"extra_body": {"session_id": session}, "model": MODEL}
    asked = client.chat.completions.create(
        messages=ask(f"{topic}: what is the weather in Rome?"), tools=[WEATHER], reasoning_effort="medium", **named
    )
    (call,) = asked.choices[0].message.tool_calls or []
    results: Any = [{"role": "tool", "tool_call_id": call.id, "content": "twenty degrees"}]
    answer = client.chat.completions.create(messages=results, tools=[WEATHER], reasoning_effort="medium", **named)
    assert "twenty degrees" in (answer.choices[0].message.content or "")
    parsed = client.chat.completions.parse(messages=ask("Where was that?"), response_format=Place, **named)
    assert isinstance(parsed.choices[0].message.parsed, Place)


def test_a_session_and_several_answers_do_not_go_together(client: OpenAI, topic: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model=MODEL, messages=ask(topic), n=2, extra_body={"session_id": f"session-{topic}"}
        )
    assert caught.value.param == "n"
