"""An agent on the stock ``openai`` client, each request to another replica, and what its requests were upstream.

agent = Agent([f"{root}/v1" for root in replicas], api_key=key, stream=True)
transcript = await agent.converse([QUESTION] * 10, reasoning_effort="medium")
calls = upstream_calls(simulator.journal(), about=topic)
assert not [call for call in calls if call.rejected or call.bare]

The agent echoes what a stock client carries (role, content, tool calls), so thinking comes back only by the gateway's
doing. The simulator calls the tools that a question names, and none right after their results; a script makes a turn
longer: ``simulator.script(match=result_words(3), calls="get_time", times=1)``.
"""

from __future__ import annotations

import itertools
import json
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from msgspec import Struct
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from openai.lib.streaming.chat import ChatCompletionStreamState

from tests.support.questions import MODEL

#: What a client that knows nothing of Anthropic hands back of an answer.
CARRIED: Final = ("role", "content", "tool_calls")

#: Three parallel calls of two tools.
QUESTION: Final = "Please call get_weather for Rome, get_weather for Oslo, and get_time for Tokyo."

#: Replicas are on loopback; a client that reads the certificates of the machine takes long to make.
_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

#: More requests than this for one question: the agent is lost.
_MOST_REQUESTS: Final = 20


def tool(name: str, *properties: str) -> dict[str, Any]:
    """A function whose arguments are texts."""
    parameters = {
        "type": "object",
        "properties": {one: {"type": "string"} for one in properties},
        "required": list(properties),
    }
    return {"type": "function", "function": {"name": name, "description": f"It does {name}.", "parameters": parameters}}


TOOLS: Final = (tool("get_weather", "city"), tool("get_time", "zone"))


def result_words(turn: int) -> str:
    """What every tool result of a turn contains; turns are counted from 1."""
    return f"(a result of turn {turn})"


class Step(Struct, frozen=True, kw_only=True):
    """One request and its answer.

    Args:
        turn: of the question that it belongs to, from 1.
        base_url: of the replica.
        headers: of the reply, names in lower case.
        message: the answer as OpenAI's client understood it, with fields it does not know.
        finish_reason: why it ended.
        reasoning_tokens: what the usage says.
    """

    turn: int
    base_url: str
    headers: Mapping[str, str]
    message: Mapping[str, Any]
    finish_reason: str
    reasoning_tokens: int

    @property
    def call_ids(self) -> list[str]:
        """Of the tools that the answer calls."""
        return [call["id"] for call in self.message.get("tool_calls") or ()]


class Transcript(Struct, frozen=True, kw_only=True):
    """A conversation.

    Args:
        messages: as the client would send them next.
        steps: its requests, in order.
    """

    messages: Sequence[Mapping[str, Any]]
    steps: Sequence[Step]


class Agent:
    """A loop that asks, runs the tools that are called, and asks again until there is an answer.

    Args:
        base_urls: of the replicas, each with ``/v1``; every request goes to the next one.
        api_key: the client's key of the gateway.
        model: that is asked.
        stream: answers are streamed.
        carried: fields of an answer that are handed back.
        session: its id; only what is new is sent then, and the gateway knows the rest.
    """

    def __init__(
        self,
        base_urls: Sequence[str],
        *,
        api_key: str = "none",
        model: str = MODEL,
        stream: bool = False,
        carried: Sequence[str] = CARRIED,
        session: str = "",
    ) -> None:
        self._base_urls = base_urls
        self._api_key = api_key
        self._model = model
        self._stream = stream
        self._carried = carried
        self._session = session

    async def converse(
        self,
        questions: Sequence[str],
        *,
        tools: Sequence[Mapping[str, Any]] = TOOLS,
        before: Sequence[Mapping[str, Any]] = (),
        **fields: Any,
    ) -> Transcript:
        """Asks one question after the other, each in a turn of its own.

        Args:
            questions: of the user.
            tools: that may be called.
            before: the messages that the conversation begins with.
            fields: further fields of every request, such as ``reasoning_effort``.

        Raises:
            openai.APIError: a request was not answered; the clients do not repeat.
        """
        messages = [dict(message) for message in before]
        known = 0  # to the gateway, by its session
        steps: list[Step] = []
        async with AsyncExitStack() as stack:
            clients = itertools.cycle([await stack.enter_async_context(self._client(url)) for url in self._base_urls])
            for turn, question in enumerate(questions, 1):
                messages.append({"role": "user", "content": question})
                for _ in range(_MOST_REQUESTS):
                    request = {"model": self._model, "messages": messages[known:], "tools": list(tools), **fields}
                    steps.append(await self._ask(next(clients), turn, request))
                    answer = steps[-1].message
                    messages.append({name: answer[name] for name in self._carried if name in answer})
                    known = len(messages) if self._session else 0
                    if not steps[-1].call_ids:
                        break
                    messages += _results(answer, turn)
                else:
                    raise AssertionError(f"turn {turn} has taken {_MOST_REQUESTS} requests")
        return Transcript(messages=messages, steps=steps)

    def _client(self, base_url: str) -> AsyncOpenAI:
        http = DefaultAsyncHttpxClient(verify=_NO_TLS)
        return AsyncOpenAI(base_url=base_url, api_key=self._api_key, max_retries=0, timeout=60, http_client=http)

    async def _ask(self, client: AsyncOpenAI, turn: int, request: Mapping[str, Any]) -> Step:
        create: Any = client.chat.completions.with_raw_response.create
        if self._session:
            request = {**request, "extra_body": {"session_id": self._session}}
        completion: Any
        if self._stream:
            reply = await create(**request, stream=True, stream_options={"include_usage": True})
            state = ChatCompletionStreamState()
            async for chunk in reply.parse():
                state.handle_chunk(chunk)
            completion = state.get_final_completion()
        else:
            reply = await create(**request)
            completion = reply.parse()
        (choice,) = completion.choices
        details = completion.usage.completion_tokens_details
        return Step(
            turn=turn,
            base_url=str(client.base_url),
            headers={name.lower(): value for name, value in reply.headers.items()},
            message=choice.message.to_dict(exclude_none=True),
            finish_reason=choice.finish_reason,
            reasoning_tokens=(details.reasoning_tokens or 0) if details else 0,
        )


def _results(answer: Mapping[str, Any], turn: int) -> Iterator[dict[str, Any]]:
    """The tool messages that answer the calls of an answer."""
    for call in answer["tool_calls"]:
        arguments = json.loads(call["function"]["arguments"])
        content = f"{call['function']['name']} of {', '.join(map(str, arguments.values()))}: fine {result_words(turn)}"
        yield {"role": "tool", "tool_call_id": call["id"], "content": content}


class UpstreamCall(Struct, frozen=True, kw_only=True):
    """A Messages request as the simulator saw it.

    Args:
        status: of the reply.
        rejected: it was answered with an error.
        organization: whose key it came with.
        answers: assistant messages in it that call tools.
        bare: those of them that have no thinking.
        thoughts: thinking blocks in it.
        dropped: why thinking blocks were not seen by the model, one reason a block.
        cached_tokens: what was read from the prompt cache.
    """

    status: int
    rejected: bool
    organization: str
    answers: int
    bare: int
    thoughts: int
    dropped: tuple[str, ...]
    cached_tokens: int


def upstream_calls(journal: Sequence[Mapping[str, Any]], *, about: str = "") -> list[UpstreamCall]:
    """What the Messages requests of a conversation were like, oldest first.

    Args:
        journal: of the simulator, as JSON; its ``journal_body_bytes`` must have room for the requests.
        about: a text that only the requests of the conversation contain.
    """
    entries = [entry for entry in journal if entry["path"] == "/v1/messages"]
    return [_call(entry) for entry in entries if about in json.dumps(entry["body"], ensure_ascii=False)]


def _call(entry: Mapping[str, Any]) -> UpstreamCall:
    contents = [message["content"] for message in entry["body"]["messages"] if message["role"] == "assistant"]
    kinds = [[block["type"] for block in content] for content in contents if isinstance(content, list)]
    thoughts = [sum(kind in ("thinking", "redacted_thinking") for kind in answer) for answer in kinds]
    calling = [thought for answer, thought in zip(kinds, thoughts, strict=True) if "tool_use" in answer]
    return UpstreamCall(
        status=entry["status"],
        rejected=entry["outcome"] == "refused",
        organization=entry["organization"],
        answers=len(calling),
        bare=calling.count(0),
        thoughts=sum(thoughts),
        dropped=tuple(dropped["reason"] for dropped in entry["dropped"]),
        cached_tokens=(entry["billed"] or {}).get("cache_read_input_tokens", 0),
    )
